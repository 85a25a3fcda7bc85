"""What the README says: it is short, every command in it runs, and the code that it shows is the code."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import REPO, TINY, train
from PIL import Image, ImageDraw

from aeprobe_tools.use.codes import encode_command

README = (REPO / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
LINES = [line for _, block in BLOCKS for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", README)
COMMANDS = sorted(
    {line.partition("#")[0].strip() for line in LINES if line.startswith(("python train.py", "aeprobe ", "make "))}
)
NAMES = ("report", "report_softmax", "speedrun", "best", "best_long", "wide_head")


def test_it_is_short_and_begins_with_what_a_visitor_looks_for() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:28])
    for part in ("![", "| its protocol |", "make run", "make tensorboard"):
        assert part in first
    assert len(COMMANDS) >= 18


def test_the_training_step_that_it_shows_is_the_one_that_trains() -> None:
    (shown,) = (block for language, block in BLOCKS if language == "python" and "def training_step" in block)
    source = (REPO / "src" / "aeprobe" / "models" / "autoencoder.py").read_text()
    assert textwrap.indent(shown, "    ") in source


def test_every_file_and_folder_that_it_names_is_there() -> None:
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (REPO / name).exists(), name
    (tree,) = (block for _, block in BLOCKS if "src/aeprobe/\n" in block)
    named = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    assert named == {path.parent.name for path in (REPO / "src" / "aeprobe").glob("*/__init__.py")}
    for name in re.findall(r"`((?:docs|conf|src|training|models|data|cli)/[\w./]+\.\w+)`", README):
        assert any((REPO / root / name).exists() for root in ("", "src/aeprobe")), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A directory to type the commands in, with a run in it."""
    cwd = tmp_path_factory.mktemp("readme")
    result = train(*TINY, f"data.root={root}", "hydra.run.dir=outputs/all/RUN", cwd=cwd)
    assert result.status == 0, result.err
    digit = Image.new("L", (200, 200), "white")
    ImageDraw.Draw(digit).line([(60, 40), (140, 40), (90, 170)], fill="black", width=12)
    digit.save(cwd / "digit.png")
    return cwd


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("make")])
def test_every_command_runs(command: str, finished: Path, root: Path) -> None:
    words = shlex.split(command.replace("DIR", "outputs").replace("RUN", "outputs/all/RUN"))
    if words[:2] == ["aeprobe", "encode"]:
        words[words.index("PICTURES")] = str(root / "MNIST" / "raw" / "t10k-images-idx3-ubyte")
    if words[:2] == ["aeprobe", "decode"]:
        Image.new("L", (28, 28)).save(finished / "0.png")
        codes = words[3] = "others.npz"
        assert (
            encode_command([str(finished / words[2]), str(finished / "0.png"), "-o", str(finished / codes)]) == 0
        )
    if words[0] == "aeprobe":
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=finished, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return
    tiny = () if any(word.startswith("resume=") for word in words) else (*TINY, f"data.root={root}")
    for name in NAMES if "experiment=NAME" in words else ("",):
        typed = [word.replace("NAME", name) for word in words[2:]]
        own = [word for word in tiny if word not in typed]
        if "stage=test" in typed:
            own = ["trainer.limit_test_batches=1", f"data.root={root}", "trainer.figures=false"]
        result = train(*typed, *own, cwd=finished)
        assert (result.status, result.err) == (0, "")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make")])
def test_every_target_is_there(command: str) -> None:
    done = subprocess.run(
        ["make", "-n", *shlex.split(command)[1:]], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
