"""A run's recorded metrics, as the curves' arrays."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aeprobe.figures import curves
from aeprobe.figures.charts import Array, Drawing


class History:
    """A run's recorded metrics as arrays.

    Args:
        rows: as `epochs` in metrics.json.
        steps: "step" and the tags of every step, as training.Recorder keeps them.
        epoch_steps: optimizer steps at each epoch's end.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], steps: Mapping[str, Sequence[float]], epoch_steps: Sequence[int]
    ) -> None:
        self.rows, self.steps, self.epoch_steps = rows, steps, np.array(epoch_steps)

    def per_epoch(self, *tags: str) -> tuple[Array, ...]:
        """The epochs that have all these metrics, and the metrics."""
        rows = [row for row in self.rows if all(tag in row for tag in tags)]
        return tuple(np.array([row[tag] for row in rows]) for tag in ("epoch", *tags))

    def loss_per_epoch(self) -> Drawing:
        """Stage 1's training loss of each epoch."""
        return curves.loss_per_epoch(*self.per_epoch("train/loss", "train/loss_last"))

    def loss_and_accuracy_per_epoch(self) -> Drawing:
        """Stage 2's training loss and accuracy of each epoch."""
        epoch, *loss = self.per_epoch("train/loss", "train/loss_last")
        accuracy = self.per_epoch("train/accuracy", "train/accuracy_last")[1:]
        both = (dict(zip(("mean", "last"), values, strict=True)) for values in (loss, accuracy))
        return curves.loss_and_accuracy_per_epoch(epoch, *both)

    def training(self, stage: int, report: int, what: str) -> Drawing:
        """A training metric at every step."""
        step, value = (np.array(self.steps[tag]) for tag in ("step", f"train/{what}_step"))
        mean = self.per_epoch(f"train/{what}")[1][-len(self.epoch_steps) :]
        return curves.training_curve(stage, report, what, step, value, self.epoch_steps, mean)

    def validation(self, stage: int, report: int, what: str) -> Iterator[Drawing]:
        """A validation metric after each epoch that was validated, if any was."""
        epoch, value, train = self.per_epoch(f"val/{what}", f"train/{what}")
        if len(epoch):
            yield curves.validation_curve(stage, report, what, epoch, value, train)
