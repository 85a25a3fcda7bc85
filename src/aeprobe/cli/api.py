"""The runs of Python and notebooks: those of the command line, each in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aeprobe.config.schema import STAGES
from aeprobe.errors import AeprobeError
from aeprobe.paths import absolute
from aeprobe.runs.metrics import Metrics, read_metrics


@dataclass(frozen=True)
class Run(os.PathLike[str]):
    """A run's directory, wherever one is asked for, such as in `aeprobe.load(run)`."""

    path: Path  # absolute

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__  # as in f"ckpt={run}"

    @property
    def metrics(self) -> dict[str, Metrics]:
        """metrics.json of each stage there is, by the stage's name, as it is now; docs/RUNS.md has its keys."""
        parts = [self.path / stage for stage in STAGES if (self.path / stage / "metrics.json").exists()]
        return {metrics["stage"]: metrics for metrics in map(read_metrics, parts or [self.path])}

    def frame(self) -> Any:
        """Return a pandas DataFrame: a row for each epoch of each stage, the stage's name in the first column."""
        import pandas as pd

        rows = [{"stage": stage} | row for stage, metrics in self.metrics.items() for row in metrics["epochs"]]
        return pd.DataFrame(rows)


def train(overrides: Sequence[str]) -> Run:
    """Run the command line, show its output here, pass Ctrl-C on to it once, and wait for it: `aeprobe.train`."""
    if wrong := next((one for one in overrides if one.startswith("-")), None):
        raise AeprobeError(f"{wrong}: aeprobe.train has one run, and takes KEY=VALUE: type it on the command line")
    here = Path.cwd()
    child = subprocess.Popen(  # noqa: S603 - no shell
        [sys.executable, "-m", "aeprobe", "train", *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        start_new_session=True,  # else a terminal, or Jupyter, would interrupt it a second time
    )
    assert child.stdout
    directory, error, interrupted, status = "", "", False, None
    while status is None:
        try:
            for line in child.stdout:
                if line.startswith("error: "):
                    error = line.removeprefix("error: ").strip()
                    continue
                print(line, end="", flush=True)
                if told := re.match("run directory: (.+)|(.+) is completed: nothing is left to do", line):
                    directory = told[1] or told[2]
            status = child.wait()
        except KeyboardInterrupt:
            if not interrupted:
                os.killpg(child.pid, signal.SIGINT)
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt(error)
    if status:
        raise AeprobeError(error or f"its process ended with {status}")
    return Run(absolute(here / directory))
