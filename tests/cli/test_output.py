"""What commands print, where nobody reads it or the disk is full, and their refusals in one line."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from conftest import train
from finished_runs import write_run

from aeprobe.__main__ import COMMANDS


def shell(line: str, cwd: Path, **environment: str) -> tuple[int, str]:
    """The exit status of the first command of a pipe, and what came on standard error."""
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=cwd,
        env=os.environ | {"PYTHON": sys.executable} | environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
def test_a_table_whose_reader_has_gone_ends_silently(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{seed}", seed) for seed in range(3)]
    names = " ".join(map(str, runs))
    for form in ("", "--json"):
        status, err = shell(f"(sleep 1; exec $PYTHON -m aeprobe results {names} {form}) | true", tmp_path)
        assert status in (1, 141)  # 1: rich, which draws the table, has its own word
        assert "rror" not in err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_path_that_no_disk_can_hold_is_refused_in_a_line_by_every_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One command asks for a run, another for pictures: each is given the same for both."""
    monkeypatch.chdir(tmp_path)
    module, function, *_ = COMMANDS[name]
    long = "a" * 300
    typed = {
        "train": ["stage=test", f"ckpt={long}"],
        "predict": [long, "digit.png"],
        "encode": [long, "digit.png", "-o", "codes.npz"],
        "decode": [long, "codes.npz", "-o", "pictures"],
    }
    (tmp_path / "codes.npz").write_bytes(b"")
    if name in ("train", "probe"):  # they change what the process is
        done = subprocess.run(
            [sys.executable, "-m", "aeprobe", name, *typed.get(name, [long])],
            capture_output=True,
            text=True,
            check=False,
        )
        status, err = done.returncode, done.stderr
    else:
        status, err = getattr(import_module(module), function)(typed.get(name, [long])), capfd.readouterr().err
    assert (status, err.count("\n"), err[:7]) == (1, 1, "error: "), err
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npz"]


def test_hydra_full_error_is_asked_for_by_1_alone(tmp_path: Path) -> None:
    done = train("seed=-1", cwd=tmp_path, environment={"HYDRA_FULL_ERROR": "0"})
    assert done.err == "error: seed=-1: must be between 0 and 4294967295\n"
