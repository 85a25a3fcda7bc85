"""The runs of Python and notebooks: those of the command line, each in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from aeprobe.cli.failures import one_line
from aeprobe.cli.main import checked
from aeprobe.cli.resume import resume
from aeprobe.config.overrides import argument
from aeprobe.config.schema import STAGES
from aeprobe.errors import AeprobeError
from aeprobe.paths import CONF, absolute
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
    """Train as `aeprobe.train` says."""
    if wrong := next((one for one in overrides if one.startswith("-")), None):
        raise AeprobeError(f"{wrong}: aeprobe.train has one run, and takes KEY=VALUE: type it on the command line")
    try:
        arguments = checked(overrides)
        if any(one.startswith("resume=") for one in arguments):
            directory = absolute(resume(arguments).directory)
        else:
            with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
                cfg = compose("config", arguments, return_hydra_config=True)
            directory = absolute(cfg.hydra.run.dir)
            arguments = [one for one in arguments if not one.startswith("hydra.run.dir=")]
            arguments.append(argument("hydra.run.dir", str(directory)))
    except Exception as error:
        raise AeprobeError(one_line(error)) from (None if isinstance(error, AeprobeError) else error)
    _run_child(arguments)
    return Run(directory)


def _run_child(arguments: Sequence[str]) -> None:
    """Run the command line, show its output here, pass Ctrl-C on to it once, and wait for it.

    Raises:
        AeprobeError: it failed; the child's own line.
        KeyboardInterrupt: it was interrupted; the line to go on.
    """
    child = subprocess.Popen(  # noqa: S603 - no shell
        [sys.executable, "-m", "aeprobe", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        start_new_session=True,  # else a terminal, or Jupyter, would interrupt it a second time
    )
    assert child.stdout
    error, interrupted, status = "", False, None
    while status is None:
        try:
            for line in child.stdout:
                if line.startswith("error: "):
                    error = line.removeprefix("error: ").strip()
                else:
                    print(line, end="", flush=True)
            status = child.wait()
        except KeyboardInterrupt:
            if not interrupted:
                os.killpg(child.pid, signal.SIGINT)
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt(error)
    if status:
        raise AeprobeError(error or f"its process ended with {status}")
