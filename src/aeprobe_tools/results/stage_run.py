"""The stages of finished runs, read for tables and pages, and several seeds of one. Needs no torch."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import STAGES, Encoder, complete, experiment, value_of
from aeprobe.errors import AeprobeError
from aeprobe.files import read_file
from aeprobe.runs.metrics import MOST_BYTES, Metrics, parsed, read_metrics
from aeprobe_tools.wording import counted

FINISHED = ("test", "probe")  # the stages that look at a finished run again


@dataclass(frozen=True)
class Picture:
    """A figure of the run's figures/: the bytes of its PNG, and the texts of its JSON."""

    png: bytes
    title: str
    alt: str


@dataclass(frozen=True)
class StageRun:
    """One stage of one run: its directory and its metrics.json."""

    path: Path
    metrics: Metrics

    @property
    def stage(self) -> str:
        """One of "autoencoder", "classifier", "test" and "probe"; of a refused job "all", too."""
        return str(self.metrics["stage"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's configuration, with the neutral values of the keys that it lacks."""
        return complete(self.metrics["config"])

    def setting(self, key: str) -> Any:
        """Return a value of the configuration by its dotted key, or None."""
        return value_of(self.config, key)

    def settings(self) -> dict[str, Any]:
        """Return what makes this experiment what it is, by dotted keys; see `settings.experiment`.

        A probe's have those of its encoder, too; "encoder." goes before keys of the probe's own.
        """
        settings = experiment(self.metrics["config"], self.data, self.stage)
        of = self.metrics.get("of") or {}
        return settings | {f"encoder.{key}" if key in settings else key: value for key, value in of.items()}

    @property
    def encoder(self) -> str:
        """The encoder's part in stage 2 in words, such as "frozen"."""
        return Encoder(self.setting("classifier.encoder") or "frozen").words

    def layers(self, network: str) -> str:
        """Return the sizes of the "encoder", "decoder" or "head", such as "784-500-200-100-30"; "" if unknown."""
        return "-".join(map(str, value_of(self.metrics.get("networks", {}), f"{network}.sizes") or []))

    @property
    def length(self) -> str:
        """The length of the training in words."""
        words, part = counted(len(self.metrics["epochs"]), "epoch"), self.setting("trainer.limit_train_batches")
        return f"{words} (trainer.limit_train_batches={part})" if part else words

    @property
    def data(self) -> dict[str, Any]:
        """The data as they were used; `images` counts them by split."""
        data: dict[str, Any] = self.metrics.get("data") or self.metrics["config"].get("data", {})
        return data

    @property
    def dataset(self) -> str:
        """The dataset's name; for a person's own images, with their folder."""
        return str(self.data.get("title", self.data.get("name")))

    def class_name(self, label: int) -> str:
        """Return the name of a class, or its number."""
        names = self.data.get("class_names")
        return str(names[label]) if isinstance(names, list) and label < len(names) else str(label)

    def series(self, key: str) -> list[float | None]:
        """Return one number of every epoch that ended, None where it was not taken."""
        return [row.get(key) for row in self.metrics["epochs"]]

    def last(self, key: str) -> float | None:
        """Return the final number; for an unfinished run that of the last epoch that has one."""
        numbers = self.metrics["final"] | (self.metrics.get("test_parts") or {})
        values = (numbers.get(key), *reversed(self.series(key)))
        return next((value for value in values if value is not None), None)

    @property
    def higher_is_better(self) -> dict[str, Any]:
        """The direction of each metric, by its name."""
        better: dict[str, Any] = MEASURED["classifier"] | self.metrics.get("higher_is_better", {})
        return better

    @property
    def tested(self) -> int:
        """The number of test images; 0 where it is not known."""
        return sum(map(sum, self.metrics.get("confusion_matrix") or []))

    def picture(self, name: str) -> Picture | None:
        """Return a figure; None where it was not drawn."""
        try:
            png = read_file(self.path / "figures" / f"{name}.png", MOST_BYTES)
            words = parsed(read_file(self.path / "figures" / f"{name}.json", MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        title = str(words.get("title") or name.replace("_", " "))
        return Picture(png, title, str(words.get("alt") or title))


Runs = dict[str, list[StageRun]]  # by the stage's name


@dataclass(frozen=True)
class Spread:
    """The mean of one number over runs, its sample standard deviation (0 for one run), and their count."""

    mean: float
    sd: float
    n: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return mean and sample standard deviation of the numbers that are there."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else 0.0, len(known))


def across(runs: Sequence[StageRun], key: str) -> list[Spread | None]:
    """Return the spread of one number over the runs, for each epoch that one of them ended."""
    return [spread(values) for values in zip_longest(*(run.series(key) for run in runs))]


def gather(paths: Sequence[Path]) -> Runs:
    """Read the stages that some run directories hold, in the order given: other seeds of one experiment."""
    runs: Runs = {name: [] for name in (*STAGES, *FINISHED)}
    below = []
    for path in paths:
        below += [path / name for name in STAGES if (path / name / "metrics.json").exists()] or [path]
    for path in {stage.resolve(): stage for stage in below}.values():  # a run named twice counts once
        run = StageRun(path, read_metrics(path))
        if "versions" not in run.metrics:
            raise AeprobeError(f"{path} was refused before it began: {run.metrics.get('error')}")
        for other in runs[run.stage]:
            _require_another_seed(other, run)
        runs[run.stage].append(run)
    return runs


def _require_another_seed(first: StageRun, other: StageRun) -> None:
    """Refuse other settings, and the same seed, whose two numbers say nothing of the spread over seeds."""
    left, right = first.settings(), other.settings()
    for key in sorted(left.keys() | right.keys()):
        # An encoder may have been trained by the run itself or be that of ckpt=.
        of_encoder = key == "ckpt" or (key.startswith("autoencoder.") and first.stage == "classifier")
        if left.get(key) != right.get(key) and not of_encoder:
            raise AeprobeError(
                f"{first.path} has {key}={left.get(key)}, but {other.path} has {right.get(key)}: "
                "expected seeds of one experiment"
            )
    if all(first.metrics.get(key) == other.metrics.get(key) for key in ("seed", "ckpt")):
        raise AeprobeError(
            f"{first.path} and {other.path} are one experiment with the same seed, {other.metrics['seed']}: "
            "give one of them"
        )
