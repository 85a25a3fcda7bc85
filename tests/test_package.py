"""The project as it is shipped."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO, metrics
from PIL import Image, ImageDraw

from aeprobe.__main__ import COMMANDS


@pytest.mark.slow
def test_all_works_from_the_wheel_in_an_empty_directory(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(REPO)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("aeprobe-*.whl")
    assert wheel.stat().st_size < 13e6
    site = tmp_path / "site"
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()

    def aeprobe(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "aeprobe", *words],
            cwd=empty,
            env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(empty)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout

    assert [line.split()[0] for line in aeprobe("--help").splitlines() if line.startswith("  ")] == [*COMMANDS]
    (empty / "mine" / "experiment").mkdir(parents=True)
    (empty / "mine" / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    tiny = ("trainer=debug", "trainer.limit_train_batches=5", "hydra.run.dir=run")
    said = aeprobe("train", "--config-dir", "mine", *tiny, "experiment=mine").splitlines()
    assert "55,000 train, 5,000 val, 10,000 test" in said[0]
    assert said[-1] == "next: open run/report.html in a browser"
    assert {path.name for path in (empty / "run").iterdir()} >= {"report.html", "playground.html"}
    assert metrics(empty / "run" / "classifier")["seed"] == 7
    shutil.copytree(site / "aeprobe" / "conf", empty / "whole")
    (empty / "whole" / "experiment" / "other.yaml").write_text("# @package _global_\nseed: 8\n")
    shown = aeprobe("train", "--config-path", str(empty / "whole"), "--cfg", "job", "experiment=other")
    assert "seed: 8" in shown.splitlines()
    digit = Image.new("L", (200, 200), "white")
    ImageDraw.Draw(digit).line([(60, 40), (140, 40), (90, 170)], fill="black", width=12)
    digit.save(empty / "digit.png")
    assert "digit.png" in aeprobe("predict", "run", "digit.png")
    assert '"n": 1' in aeprobe("results", "run", "--json")
    assert not (site / "aeprobe" / "conf" / "__pycache__").exists()
    (empty / "whole").rename(empty / "conf")
    shutil.copy(REPO / "train.py", empty)  # a checkout's train.py, where the wheel is installed
    typo, variables = [sys.executable, "train.py", "experiment=other", "zzz=1"], {"PYTHONPATH": str(site)}
    told = subprocess.run(typo, cwd=empty, env=variables, capture_output=True, text=True, check=False).stderr
    assert f"`{sys.executable} train.py --cfg job` lists the keys" in told


def test_every_yaml_says_in_one_line_what_it_is_for() -> None:
    files = list((REPO / "conf").rglob("*.yaml"))
    assert len(files) >= 15
    for path in files:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
        assert re.match(r"# \w.{20,}", lines[0]), path


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "run", "test", "test-all", "lint", "bench", "tensorboard", "clean"):
        assert re.search(rf"^{target} +\w", shown, re.MULTILINE)


def test_constraints_pin_every_dependency_by_name_and_version_only() -> None:
    pins = (REPO / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    pinned = {pin.partition("==")[0].lower() for pin in pins}
    wanted = re.findall(r'^ +"([\w-]+)>=', (REPO / "pyproject.toml").read_text(), re.MULTILINE)
    assert {"torch", "lightning", "hydra-core"} <= set(wanted)
    assert set(wanted) <= pinned
