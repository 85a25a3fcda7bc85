"""What Python and notebooks use: the command line's own path, without its process.

Everything that a run changes of the process is put back afterwards. Two things are the process's own and stay: the
threads that torch has started, and whether they take denormal numbers for zero (see `aeprobe.runtime`).
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from aeprobe.cli import main as cli
from aeprobe.cli.failures import one_line
from aeprobe.cli.resume import resume
from aeprobe.config.overrides import argument, as_typed, check_groups
from aeprobe.config.schema import STAGES
from aeprobe.errors import AeprobeError
from aeprobe.paths import CONF, shortest
from aeprobe.processes.launch import Child
from aeprobe.processes.restore import restored
from aeprobe.processes.signals import Interrupted
from aeprobe.runs.checks import check
from aeprobe.runs.metrics import Metrics, read_metrics

log = logging.getLogger("aeprobe")


@dataclass(frozen=True)
class Run(os.PathLike[str]):
    """A run's directory, wherever one is asked for, such as in `aeprobe.load(run)`.

    Attributes:
        path: the directory.
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__  # as in f"ckpt={run}"

    @property
    def metrics(self) -> dict[str, Metrics]:
        """metrics.json of each stage that there is, by the stage's name, as it is now (docs/RUNS.md has its keys).

        Raises:
            AeprobeError: there is none, or it is none of this project.
        """
        parts = [self.path / stage for stage in STAGES]
        found = [read_metrics(part) for part in parts if (part / "metrics.json").exists()]
        return {metrics["stage"]: metrics for metrics in found or [read_metrics(self.path)]}

    def frame(self) -> Any:
        """A pandas DataFrame with a row for each epoch of each stage, and the stage's name in the first column.

        Raises:
            AeprobeError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise AeprobeError("run.frame: pandas is not installed: python -m pip install pandas") from None
        rows = [{"stage": stage} | row for stage, metrics in self.metrics.items() for row in metrics["epochs"]]
        return pd.DataFrame(rows)


def train(overrides: Sequence[str], child: bool) -> Run:
    """As `aeprobe.train`."""
    if wrong := next((one for one in overrides if one.startswith("-")), None):
        raise AeprobeError(f"{wrong}: aeprobe.train has one run, and takes KEY=VALUE: type it on the command line")
    with restored(), _told():
        arguments = cli.checked(overrides)
        where: list[str] = []
        if any(one.startswith("resume=") for one in arguments):
            given = vars(resume(arguments)) | {"resume": True}
        else:
            given = _composed(arguments)
            where = [argument("hydra.run.dir", str(given["directory"]))]
        if child:
            others = [one for one in arguments if not (where and one.lstrip("+").startswith("hydra.run.dir="))]
            return _child([*others, *where], given["directory"])
        if (devices := given["config"].trainer.devices) > 1:
            raise AeprobeError(f"trainer.devices={devices}: a notebook is one process; add child=True")
        import aeprobe.runtime

        aeprobe.runtime.quieten()
        if not aeprobe.runtime.flushes_denormals():
            log.warning(
                "torch computed in parallel before aeprobe was imported: epochs may slow down tenfold, and last "
                "bits differ from the command line's; import aeprobe.runtime first, or give child=True"
            )
        cli.execute(**given)
        return Run(given["directory"])


def _composed(arguments: Sequence[str]) -> dict[str, Any]:
    """What Hydra makes of a command line: a new run's "config", checked, its "directory" and "overrides"."""
    check_groups(arguments)
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        cfg = compose("config", list(arguments), return_hydra_config=True)
    with open_dict(cfg.hydra):
        cfg.hydra.runtime.cwd = str(Path.cwd())
    HydraConfig.instance().set_config(cfg)
    directory, typed = shortest(Path.cwd() / cfg.hydra.run.dir), as_typed(cfg.hydra.overrides.task)
    with open_dict(cfg):
        del cfg["hydra"]
    return {"config": check(cfg, typed), "directory": directory, "overrides": typed}


def _child(arguments: Sequence[str], directory: Path) -> Run:
    """The run in a process of its own, whose output is shown here; Ctrl-C is passed on, and waited for."""
    command = [sys.executable, "-m", "aeprobe", "train", *arguments]
    child, error = Child(command, {}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT), ""
    assert child.stdout
    interrupted = False
    while True:
        try:
            for line in map(bytes.decode, child.stdout):
                if line.startswith("error: "):
                    error = line.removeprefix("error: ").strip()
                else:
                    print(line, end="", flush=True)
            status = child.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
            child.pass_on(signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt(error)
    if status:
        raise AeprobeError(error or f"its process ended with {status}")
    return Run(directory)


@contextmanager
def _told() -> Iterator[None]:
    """Meanwhile the run's lines are printed, and whatever goes wrong is one line of an `AeprobeError`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # a notebook's own handler would say each line twice
    try:
        yield
    except Interrupted as error:
        raise KeyboardInterrupt(error.what + error.advice) from None
    except Exception as error:
        expected = isinstance(error, AeprobeError)
        raise AeprobeError(one_line(error)) from (None if expected else error)
