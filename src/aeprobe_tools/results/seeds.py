"""Several seeds of one experiment, and the spread of their numbers. Needs no torch."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aeprobe.config.schema import STAGES, Stage
from aeprobe.errors import AeprobeError
from aeprobe.runs.metrics import read_metrics
from aeprobe_tools.results.stage_run import StageRun

Runs = dict[str, list[StageRun]]
FINISHED = ("test", "probe")  # the stages that look at a finished run again


@dataclass(frozen=True)
class Spread:
    """The mean of one number over runs, its sample standard deviation (0 for one run), and their count."""

    mean: float
    sd: float
    n: int


def gather(paths: Sequence[Path]) -> Runs:
    """Read the stages that some run directories hold, by the stage's name, in the order given.

    Raises:
        AeprobeError: one is no run, or they are no seeds of one experiment on one dataset.
    """
    runs: Runs = {name: [] for name in (*STAGES, *FINISHED)}
    below = [stage for path in paths for stage in _stage_directories(path)]
    for path in {stage.resolve(): stage for stage in below}.values():  # a run named twice counts once
        run = StageRun(path, read_metrics(path))
        if "versions" not in run.metrics:
            raise AeprobeError(f"{path} was refused before it began: {run.metrics.get('error')}")
        if run.stage not in runs:
            raise AeprobeError(f"{path} is a run of stage={run.stage}: expected one of {', '.join(Stage)}")
        runs[run.stage].append(run)
    first, *others = (run for of_stage in runs.values() for run in of_stage)
    for run in others:
        if run.dataset != first.dataset:
            raise AeprobeError(
                f"{first.path} is of dataset {first.dataset}, but {run.path} of {run.dataset}: "
                "expected runs of one dataset"
            )
        _require_same_experiment(runs[run.stage][0], run)
    return runs


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return mean and sample standard deviation of the numbers that are there."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else 0.0, len(known))


def across(runs: Sequence[StageRun], key: str) -> list[Spread | None]:
    """Return the spread of one number over the runs, for each epoch that one of them ended."""
    series = [run.series(key) for run in runs]
    longest = max(map(len, series), default=0)
    return [spread(s[i] for s in series if i < len(s)) for i in range(longest)]


def _stage_directories(path: Path) -> list[Path]:
    if (path / "metrics.json").exists():
        return [path]
    parts = [path / stage for stage in STAGES if (path / stage / "metrics.json").exists()]
    return parts or [path]  # which is no run: read_metrics says so


def _require_same_experiment(first: StageRun, other: StageRun) -> None:
    left, right = ({**run.encoder_settings(), "ckpt": None, **run.settings()} for run in (first, other))
    for key in sorted(left.keys() | right.keys()):
        # One of the two may have been trained on an encoder of its own run, the other on ckpt=.
        compared = ("data.", "trainer.", f"{first.stage}.", *(("",) if first.stage == "probe" else ()))
        if left.get(key) != right.get(key) and key.startswith(compared) and key != "ckpt":
            raise AeprobeError(
                f"{first.path} has {key}={left.get(key)}, but {other.path} has {right.get(key)}: "
                "expected seeds of one experiment"
            )


def require_seeds(runs: Runs) -> None:
    """Refuse one seed twice: its two numbers say nothing of the spread over seeds."""
    seen: dict[tuple[Any, ...], StageRun] = {}
    for run in (run for of_stage in runs.values() for run in of_stage):
        # The encoder in the ckpt= of a classifier's run alone may be that of another seed.
        before = seen.setdefault((run.stage, run.metrics["seed"], run.metrics.get("ckpt")), run)
        if before is not run:
            raise AeprobeError(
                f"{before.path} and {run.path} are one experiment with the same seed, {run.metrics['seed']}: "
                "give one of them"
            )
