"""The command line in this process."""

import contextlib
import io
import runpy
import signal
import sys
from unittest.mock import patch

import torch
from conftest import REPO, Result

SECONDS = 60  # more for one small run is a hang


def hang(*_: object) -> None:
    raise TimeoutError(f"no end after {SECONDS} seconds")


def command(*arguments: str) -> Result:
    """`python train.py ARGUMENTS` in this process: the same code, without the seconds of its imports."""
    out, err, status = io.StringIO(), io.StringIO(), -1
    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        with (
            patch.object(sys, "argv", ["train.py", *arguments]),
            patch.object(sys, "orig_argv", ["python", "train.py", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                runpy.run_path(str(REPO / "train.py"), run_name="__main__")
            except SystemExit as end:
                status = int(end.code or 0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        torch.use_deterministic_algorithms(False)
    return Result(status, out.getvalue(), err.getvalue())
