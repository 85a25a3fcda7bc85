"""The README and docs/: short, their commands run, their code is the code, their files and numbers are there."""

import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest
from conftest import REPO, TINY, composed, metrics, python, train
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image, ImageDraw

from aeprobe_tools.use.codes import encode_command

README = (REPO / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
LINES = [line for _, block in BLOCKS for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", README)
COMMANDS = sorted(
    {line.partition("#")[0].strip() for line in LINES if line.startswith(("python train.py", "aeprobe ", "make "))}
)


def test_it_is_short_and_begins_with_what_a_visitor_looks_for() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:28])
    for part in ("![", "| the report's recipe |", "make run", "make tensorboard"):
        assert part in first
    assert len(COMMANDS) >= 18


def test_the_training_step_that_it_shows_is_the_one_that_trains() -> None:
    (shown,) = (block for language, block in BLOCKS if language == "python" and "def training_step" in block)
    source = (REPO / "src" / "aeprobe" / "models" / "autoencoder.py").read_text()
    assert textwrap.indent(shown, "    ") in source


def test_every_file_and_folder_that_it_names_is_there() -> None:
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (REPO / name).exists(), name
    (tree,) = (block for _, block in BLOCKS if "src/aeprobe/ " in block)
    for package, of_it in re.findall(r"^src/(\w+)/ .*\n((?:  .*\n)+)", tree, re.MULTILINE):
        folders = {path.parent.name for path in (REPO / "src" / package).glob("*/__init__.py")}
        assert {*re.findall(r"(\w+)/ ", of_it)} == folders
    for name in re.findall(r"`((?:docs|conf|src|training|models|data|cli)/[\w./]+\.\w+)`", README):
        assert any((REPO / root / name).exists() for root in ("", "src/aeprobe")), name


def test_it_says_how_many_lines_one_reads() -> None:
    (reading,) = (part for part in README.split("\n\n") if "To know what trains, read" in part)
    said = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) lines", reading)]
    files = re.findall(r"`(\w+/\w+\.py)`", reading)
    assert len(files) == 6
    package = REPO / "src" / "aeprobe"
    counted = [
        sum(len(path.read_text().splitlines()) for path in paths)
        for paths in ([package / file for file in files], package.rglob("*.py"))
    ]
    assert said == [pytest.approx(number, rel=0.05) for number in counted]


def test_the_changelog_begins_with_this_version() -> None:
    version = re.search(r'^version = "(.*)"', (REPO / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert (REPO / "CHANGELOG.md").read_text().splitlines()[2] == f"## {version[1]}"


@pytest.mark.parametrize(
    "name", ["SECURITY.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in (REPO / "docs").glob("*.md"))]
)
def test_every_file_that_a_document_names_is_there(name: str) -> None:
    text = (REPO / name).read_text()
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
        assert ((REPO / name).parent / link).exists(), link
    for path in re.findall(r"`((?:tests|src|conf|docs|bench)/[\w./]+\.\w+)`", text):
        assert (REPO / path).exists(), path


def commands_of(text: str) -> list[list[str]]:
    """What is typed after `python train.py`, of a multirun its first job; neither `resume=` nor a recipe."""
    text = re.sub(r"^# .*", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    commands = set[tuple[str, ...]]()
    for typed in re.findall(r"python train\.py((?: +(?:-m|'[^'\n]+'|[^ `\n=]+=[^ `\n]+))+)", text):
        parse = OverridesParser.create().parse_override
        words = [parse(word.replace("seed=S", "seed=1")) for word in shlex.split(typed) if word != "-m"]
        if not any(word.key_or_group == "resume" for word in words):
            jobs = ([*word.sweep_string_iterator()] if word.is_sweep_override() else [] for word in words)
            firsts = (
                f"{word.get_key_element()}={job[0]}" if job else str(word.input_line)
                for word, job in zip(words, jobs, strict=True)
            )
            commands.add(tuple(firsts))
    return [[*command] for command in sorted(commands)]


@pytest.mark.parametrize("path", sorted((REPO / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_every_command_of_a_document_is_accepted(path: Path) -> None:
    for command in commands_of(path.read_text()):
        composed(command)


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
def test_the_keys_of_the_metrics_are_documented(finished: Path) -> None:
    (keys,) = re.findall(
        r"### The keys of metrics\.json\n(.*?)\n## ", (REPO / "docs" / "RUNS.md").read_text(), re.DOTALL
    )
    documented = {
        name for row in re.findall(r"^\| (`.*?) \|", keys, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert documented == {
        key
        for stage in ("autoencoder", "classifier")
        for key in metrics(finished / "outputs" / "all" / "RUN" / stage)
    }


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
        done = python("-m", *words, cwd=finished)
        assert (done.status, done.err) == (0, "")
        return
    tiny = () if any(word.startswith("resume=") for word in words) else (*TINY, f"data.root={root}")
    typed = [word.replace("NAME", "report") for word in words[2:]]
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
