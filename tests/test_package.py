"""The project as it is shipped."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO


@pytest.mark.slow
def test_the_wheel_installed_elsewhere_finds_its_data(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(REPO)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("aeprobe-*.whl")
    assert wheel.stat().st_size < 13e6
    site = tmp_path / "site"
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    code = (
        "import aeprobe; from aeprobe.data.datamodule import MNISTDataModule as D; d = D();"
        "d.prepare_data(); d.setup();"
        "print(aeprobe.__file__, len(d.splits['train']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(site / "aeprobe" / "__init__.py"), "55000"], done.stderr


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
