"""What runs left behind: their numbers, checked, and their pictures, for the page. Needs no torch."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aeprobe.config.schema import STAGES
from aeprobe.config.settings import experiment, upgraded
from aeprobe.errors import AeprobeError
from aeprobe.runs.metrics import Metrics, read_metrics

PNG = b"\x89PNG\r\n\x1a\n"
SHAPE: dict[str, type] = {
    "stage": str,
    "status": str,
    "seed": int,
    "overrides": list,
    "config": dict,
    "versions": dict,
    "seconds": dict,
    "epochs": list,
    "final": dict,
}


@dataclass(frozen=True)
class Picture:
    """A figure as the run's figures/ holds it: the bytes of its PNG, and what its JSON says."""

    png: bytes
    title: str
    alt: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """The mean of one number over runs, its sample standard deviation (0 for one run), and their count."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class StageRun:
    """One stage of one run: its directory and its metrics.json."""

    path: Path
    metrics: Metrics

    @property
    def stage(self) -> str:
        """Either "autoencoder" or "classifier"."""
        return str(self.metrics["stage"])

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows of the epochs that ended."""
        rows: list[dict[str, Any]] = self.metrics["epochs"]
        return rows

    @property
    def data(self) -> dict[str, Any]:
        """The data as they were used; `images` counts them by split."""
        data = self.metrics.get("data") or self.metrics["config"].get("data")
        return data if isinstance(data, dict) else {}

    @property
    def dataset(self) -> str:
        """The dataset's name; for a person's own images, with their folder."""
        name = str(self.data.get("name"))
        return f"{name} {self.data.get('root')}" if name == "folder" else name

    @cached_property
    def _config(self) -> dict[str, Any]:
        return upgraded(self.metrics["config"])

    def setting(self, key: str) -> Any:
        """A value of the configuration by its dotted key, or None."""
        node: Any = self._config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def series(self, key: str) -> list[float | None]:
        """One number of every epoch that ended, None where it was not taken."""
        return [row.get(key) for row in self.epochs]

    def last(self, key: str) -> float | None:
        """The final number; of an unfinished run that of the last epoch that has one."""
        known = [value for value in (*self.series(key), self.metrics["final"].get(key)) if value is not None]
        return known[-1] if known else None

    def picture(self, name: str) -> Picture | None:
        """A figure, or None where it was not drawn or one of its two files is damaged."""
        try:
            png = (self.path / "figures" / f"{name}.png").read_bytes()
            words = json.loads((self.path / "figures" / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None
        whole = png.startswith(PNG) and b"IEND" in png[-12:]
        if not whole or not isinstance(words, dict):
            return None
        title = str(words.get("title") or name.replace("_", " "))
        data = words.get("data")
        return Picture(png, title, str(words.get("alt") or title), data if isinstance(data, dict) else {})

    @property
    def not_drawn(self) -> dict[str, str]:
        """Why, by the name of each figure that could not be drawn."""
        found = self.metrics.get("not_drawn")
        return {str(name): str(why) for name, why in found.items()} if isinstance(found, dict) else {}

    def settings(self) -> dict[str, Any]:
        """What makes this experiment what it is, by dotted keys; see `settings.experiment`."""
        return experiment(self.metrics["config"], self.data, self.stage)


Runs = dict[str, list[StageRun]]


def gather(paths: Sequence[Path]) -> Runs:
    """The stages that some run directories hold, by the stage's name, in the order given.

    Args:
        paths: directories of an autoencoder's run, a classifier's, or of `stage=all`.

    Raises:
        AeprobeError: one is no run, they are no seeds of one experiment on one dataset.
    """
    runs: Runs = {name: [] for name in STAGES}
    below = [stage for path in paths for stage in _stage_directories(path)]
    for path in {stage.resolve(): stage for stage in below}.values():  # a run named twice counts once
        metrics = read_metrics(path)
        _check_shape(path, metrics)
        runs[metrics["stage"]].append(StageRun(path, metrics))
    every = [run for of_stage in runs.values() for run in of_stage]
    for run in every[1:]:
        if run.dataset != every[0].dataset:
            raise AeprobeError(
                f"{every[0].path} is of dataset {every[0].dataset}, but {run.path} of {run.dataset}: "
                "expected runs of one dataset"
            )
    for of_stage in runs.values():
        for run in of_stage[1:]:
            _require_same_experiment(of_stage[0], run)
    return runs


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and sample standard deviation of the numbers that are there."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else 0.0, len(known))


def across(runs: Sequence[StageRun], key: str) -> list[Spread | None]:
    """The spread of one number over the runs, for each epoch that one of them ended."""
    series = [run.series(key) for run in runs]
    longest = max(map(len, series), default=0)
    return [spread(s[i] for s in series if i < len(s)) for i in range(longest)]


def _stage_directories(path: Path) -> list[Path]:
    if (path / "metrics.json").exists():
        return [path]
    # A directory that belongs to no stage is handed on, and read_metrics says what is wrong with it.
    return [path / stage for stage in STAGES if (path / stage / "metrics.json").exists()] or [path]


def _check_shape(path: Path, metrics: Metrics) -> None:
    """Holds metrics.json against the contract, so that the page can rely on it."""
    file = path / "metrics.json"
    for key, kind in SHAPE.items():
        if not isinstance(metrics.get(key), kind):
            raise AeprobeError(
                f"{file} is not of this project: {key} is {metrics.get(key)!r:.40}, not a {kind.__name__}"
            )
    if metrics["stage"] not in STAGES:
        raise AeprobeError(
            f"{path} is a run of stage={metrics['stage']}: expected one of stage=all, autoencoder or classifier"
        )
    if not all(isinstance(row, dict) for row in metrics["epochs"]):
        raise AeprobeError(f"{file} is not of this project: its epochs are not objects")
    for row in (*metrics["epochs"], metrics["final"], metrics["seconds"]):
        for key, value in row.items():
            if value is not None and not isinstance(value, int | float):
                raise AeprobeError(f"{file} is not of this project: {key} is {value!r:.40}, not a number")
    matrix = metrics.get("confusion_matrix") or []
    square = isinstance(matrix, list) and all(isinstance(r, list) and len(r) == len(matrix) for r in matrix)
    if not square or not all(isinstance(count, int) for row in matrix for count in row):
        raise AeprobeError(
            f"{file} is not of this project: its confusion_matrix is not square, or holds no counts"
        )


def _require_same_experiment(first: StageRun, other: StageRun) -> None:
    left, right = first.settings(), other.settings()
    for key in sorted(left.keys() | right.keys()):
        # One of the two may have been trained on an encoder of its own run, the other on ckpt=.
        if left.get(key) != right.get(key) and key.startswith(("data.", "trainer.", f"{first.stage}.")):
            raise AeprobeError(
                f"{first.path} has {key}={left.get(key)}, but {other.path} has {right.get(key)}: "
                "expected seeds of one experiment"
            )


def require_seeds(runs: Runs) -> None:
    """Refuses one seed twice: its two numbers say nothing of the spread over seeds.

    Raises:
        AeprobeError: names both runs.
    """
    seen: dict[tuple[Any, ...], StageRun] = {}
    for run in (run for of_stage in runs.values() for run in of_stage):
        # Of a classifier's run alone, the encoder in its ckpt= may be that of another seed.
        before = seen.setdefault((run.stage, run.metrics["seed"], run.metrics.get("ckpt")), run)
        if before is not run:
            raise AeprobeError(
                f"{before.path} and {run.path} are one experiment with the same seed, {run.metrics['seed']}: "
                "give one of them"
            )
