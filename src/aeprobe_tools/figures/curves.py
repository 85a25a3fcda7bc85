"""Figures of curves over steps and epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from aeprobe_tools.figures import charts
from aeprobe_tools.figures.charts import DARK, DPI, ORANGE, PALE, Array, Drawing
from aeprobe_tools.wording import number

MOST_STEPS = 2_000  # points of a curve per step: more than a picture 800 pixels wide can show


class History:
    """A run's recorded metrics, and the curves of them.

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
        """Return the epochs that have all these metrics, and the metrics."""
        rows = [row for row in self.rows if all(tag in row for tag in tags)]
        return tuple(np.array([row[tag] for row in rows]) for tag in ("epoch", *tags))

    def loss_per_epoch(self, unit: str) -> Drawing:
        """Draw stage 1's training loss of each epoch: its mean, and that of its last batch, as in the report."""
        epoch, mean, last = self.per_epoch("train/loss", "train/loss_last")
        figure, axes = charts.new_axes("Stage 1: training loss per epoch", "epoch", unit)
        _per_epoch(axes, epoch, {"last batch": last, "mean over the epoch": mean}, "loss")
        alt = (
            f"Training loss ({unit}), mean over the epoch: {_ends(mean, 'in epoch', epoch)}; "
            f"of the last batch: {_ends(last, 'in epoch', epoch)}."
        )
        data = {"epoch": epoch.tolist(), "mean": mean.tolist(), "last": last.tolist()}
        return Drawing([8], "Stage 1: loss per epoch", alt, figure, data)

    def loss_and_accuracy_per_epoch(self, unit: str) -> Drawing:
        """Draw stage 2's training loss and accuracy: means of each epoch, and those of its last batch."""
        figure = Figure((8, 6), dpi=DPI)
        data: dict[str, Any] = {}
        ends = {}
        for what, name, bottom in (("loss", unit, 0.59), ("accuracy", "accuracy", 0.09)):
            epoch, mean, last = self.per_epoch(f"train/{what}", f"train/{what}_last")
            axes = figure.add_axes((0.12, bottom, 0.845, 0.345))
            charts.style(axes, f"Stage 2: training {what} per epoch", "epoch", name, what)
            _per_epoch(axes, epoch, {"last batch": last, "mean over the epoch": mean}, what)
            ends[what] = _ends(mean, "in epoch", epoch, what)
            data |= {"epoch": epoch.tolist(), f"{what}_mean": mean.tolist(), f"{what}_last": last.tolist()}
        alt = f"Mean training loss: {ends['loss']}; mean training accuracy: {ends['accuracy']}."
        return Drawing([14], "Stage 2: loss and accuracy per epoch", alt, figure, data)

    def training(self, stage: int, report: int, what: str, unit: str) -> Drawing:
        """Draw the "loss" or "accuracy", `what`, of training at every step, with each epoch's mean.

        It is the report's figure `report`; `unit` is the name of the loss, or "accuracy".
        """
        step, value = (np.array(self.steps[tag]) for tag in ("step", f"train/{what}_step"))
        epoch, mean = (values[-len(self.epoch_steps) :] for values in self.per_epoch(f"train/{what}"))
        alt = (
            f"Training {what}: {_ends(value, 'at step', step, what)}; "
            f"mean over the epoch: {_ends(mean, 'in epoch', epoch, what)}."
        )
        every = -(-len(step) // MOST_STEPS)
        step, value = step[::every], value[::every]
        title = f"Stage {stage}: training {what} per step"
        figure, axes = charts.new_axes(title, "optimizer step", unit, what=what)
        label = "each step" if every == 1 else f"one step in {every}"
        axes.plot(step, value, color=PALE, lw=0.9, label=label, marker="." if len(step) < 3 else "")
        edges = np.concatenate([[0], self.epoch_steps])
        axes.stairs(mean, edges, baseline=None, color=DARK, lw=2, zorder=3, label="mean of each epoch")
        axes.set_xlim(0, self.epoch_steps[-1])
        axes.xaxis.set_major_locator(charts.whole_numbers())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if what == "loss" and np.all(value > 0) and value.max() / value.min() >= 1.5:  # steep in the first steps
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_ylabel(f"{unit} (log scale)")
        charts.keep_possible(axes, what)
        legend = axes.legend(frameon=False, loc="lower right" if what == "accuracy" else "upper right")
        legend.get_lines()[0].set_linewidth(3)
        data = {"step": step.tolist(), "value": value.tolist(), "every": every}
        data |= {"epoch_step": self.epoch_steps.tolist(), "epoch_mean": mean.tolist()}
        return Drawing([report], title, alt, figure, data)

    def validation(self, stage: int, report: int, what: str, unit: str) -> Drawing | None:
        """Draw that of validation after each epoch, with the mean of training; None without validation."""
        epoch, value, train = self.per_epoch(f"val/{what}", f"train/{what}")
        if not len(epoch):
            return None
        title = f"Stage {stage}: validation {what} per epoch"
        figure, axes = charts.new_axes(title, "epoch", unit, what=what)
        both = {"training, mean over the epoch": train, "validation, after the epoch": value}
        _per_epoch(axes, epoch, both, what)
        alt = (
            f"Validation {what}: {_ends(value, 'in epoch', epoch, what)}; "
            f"mean training {what}: {_ends(train, 'in epoch', epoch, what)}."
        )
        data = {"epoch": epoch.tolist(), "value": value.tolist(), "train": train.tolist()}
        return Drawing([report], title, alt, figure, data)


def _per_epoch(axes: Axes, epoch: Array, curves: Mapping[str, Array], what: str) -> None:
    """Plot two curves over the epochs, by their labels: the one behind first."""
    for (label, values), (colour, form) in zip(curves.items(), ((ORANGE, "s--"), (DARK, "o-")), strict=True):
        axes.plot(epoch, values, form, color=colour, label=label, ms=5)
    axes.xaxis.set_major_locator(charts.whole_numbers())
    axes.set_xlim(epoch[0] - 0.5, epoch[-1] + 0.5)
    charts.keep_possible(axes, what)
    axes.legend(frameon=False)


def _ends(values: Array, unit: str, places: Array, what: str = "loss") -> str:
    """Return the first and the last value, such as "0.0352 in epoch 1, 0.0165 in epoch 10"."""
    words = dict.fromkeys(
        f"{f'{values[i]:.1%}' if what == 'accuracy' else number(values[i])} {unit} {places[i]:,}" for i in (0, -1)
    )
    return ", ".join(words)
