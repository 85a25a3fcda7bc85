"""What to draw, as curves: values per step and per epoch in, a matplotlib Figure out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from aeprobe.figures.charts import (
    DARK,
    DPI,
    ORANGE,
    PALE,
    Array,
    Drawing,
    keep_possible,
    new_axes,
    style,
    whole_numbers,
)
from aeprobe.wording import number

MOST_STEPS = 2_000  # points of a curve per step: more than a picture 800 pixels wide can show


def loss_per_epoch(epoch: Array, mean: Array, last: Array) -> Drawing:
    """Stage 1's training loss: over the epoch, and of its last batch, as the report prints it."""
    figure, axes = new_axes("Stage 1: training loss per epoch", "epoch", "MSE per pixel")
    _epochs(axes, epoch, last, "last batch", ORANGE, "s--")
    _epochs(axes, epoch, mean, "mean over the epoch", DARK, "o-")
    keep_possible(axes, "loss")
    axes.legend(frameon=False)
    alt = f"The mean training MSE {_change(mean, epoch)}; that of each epoch's last batch {_from_to(last)}."
    data = {"epoch": epoch.tolist(), "mean": mean.tolist(), "last": last.tolist()}
    return Drawing("loss_per_epoch", [8], "Stage 1: loss per epoch", alt, figure, data)


def loss_and_accuracy_per_epoch(epoch: Array, loss: Mapping[str, Array], accuracy: Mapping[str, Array]) -> Drawing:
    """Stage 2's training loss and accuracy: "mean" over the epoch, and of its "last" batch."""
    figure = Figure((8, 6), dpi=DPI)
    panels = {"loss": (loss, 0.59), "accuracy": (accuracy, 0.09)}
    for what, (values, bottom) in panels.items():
        unit = "cross-entropy" if what == "loss" else "accuracy"
        axes = figure.add_axes((0.12, bottom, 0.845, 0.345))
        style(axes, f"Stage 2: training {what} per epoch", "epoch", unit, what)
        _epochs(axes, epoch, values["last"], "last batch", ORANGE, "s--")
        _epochs(axes, epoch, values["mean"], "mean over the epoch", DARK, "o-")
        keep_possible(axes, what)
        axes.legend(frameon=False)
    alt = (
        f"The mean training loss {_change(loss['mean'], epoch)}; "
        f"the mean training accuracy {_change(accuracy['mean'], epoch, 'accuracy')}."
    )
    data: dict[str, Any] = {"epoch": epoch.tolist()}
    data |= {f"loss_{k}": v.tolist() for k, v in loss.items()}
    data |= {f"accuracy_{k}": v.tolist() for k, v in accuracy.items()}
    title = "Stage 2: loss and accuracy per epoch"
    return Drawing("loss_and_accuracy_per_epoch", [14], title, alt, figure, data)


def training_curve(
    stage: int, report: int, what: str, step: Array, value: Array, epoch_step: Array, epoch_mean: Array
) -> Drawing:
    """A training metric at every step, with each epoch's mean over it.

    Args:
        stage: 1 or 2.
        report: the number of the report's figure.
        what: "loss" or "accuracy".
        step: optimizer steps so far, (steps,).
        value: of that step, (steps,).
        epoch_step: optimizer steps at each epoch's end, (epochs,).
        epoch_mean: mean over that epoch's samples, (epochs,).
    """
    alt = (
        f"Over {epoch_step[-1]:,} step{'s' if epoch_step[-1] > 1 else ''} the training {what} "
        f"{_from_to(value, what)}; its mean over an epoch {_change(epoch_mean, None, what)}."
    )
    every = -(-len(step) // MOST_STEPS)
    step, value = step[::every], value[::every]
    title = f"Stage {stage}: training {what} per step"
    figure, axes = new_axes(title, "optimizer step", _unit(stage, what), what=what)
    label = "each step" if every == 1 else f"every {every}{_ordinal(every)} step"
    axes.plot(step, value, color=PALE, lw=0.9, label=label, marker="." if len(step) < 3 else "")
    edges = np.concatenate([[0], epoch_step])
    axes.stairs(epoch_mean, edges, baseline=None, color=DARK, lw=2, zorder=3, label="mean of each epoch")
    axes.set_xlim(0, epoch_step[-1])
    axes.xaxis.set_major_locator(whole_numbers())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if what == "loss":
        _log_scale(axes, value)
    keep_possible(axes, what)
    legend = axes.legend(frameon=False, loc="lower right" if what == "accuracy" else "upper right")
    legend.get_lines()[0].set_linewidth(3)
    data = {"step": step.tolist(), "value": value.tolist(), "every": every}
    data |= {"epoch_step": epoch_step.tolist(), "epoch_mean": epoch_mean.tolist()}
    return Drawing(f"train_{what}", [report], title, alt, figure, data)


def validation_curve(stage: int, report: int, what: str, epoch: Array, value: Array, train: Array) -> Drawing:
    """A validation metric after each epoch, with the mean of training behind it, all (epochs,)."""
    title = f"Stage {stage}: validation {what} per epoch"
    figure, axes = new_axes(title, "epoch", _unit(stage, what), what=what)
    _epochs(axes, epoch, train, "training, mean over the epoch", ORANGE, "s--")
    _epochs(axes, epoch, value, "validation, after the epoch", DARK, "o-")
    keep_possible(axes, what)
    axes.legend(frameon=False)
    alt = (
        f"The validation {what} {_change(value, epoch, what)}; "
        f"the training mean of that epoch is {_say(train[-1], what)}."
    )
    data = {"epoch": epoch.tolist(), "value": value.tolist(), "train": train.tolist()}
    return Drawing(f"val_{what}", [report], title, alt, figure, data)


def _epochs(axes: Axes, epoch: Array, values: Array, label: str, colour: str, style: str) -> None:
    axes.plot(epoch, values, style, color=colour, label=label, ms=5)
    axes.xaxis.set_major_locator(whole_numbers())
    axes.set_xlim(epoch[0] - 0.5, epoch[-1] + 0.5)


def _log_scale(axes: Axes, values: Array) -> None:
    """A loss falls steeply in the first steps: only a logarithmic axis shows those and the rest."""
    if not np.all(values > 0) or values.max() / values.min() < 1.5:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(f"{axes.get_ylabel()} (log scale)")


def _unit(stage: int, what: str) -> str:
    return "accuracy" if what == "accuracy" else "MSE per pixel" if stage == 1 else "cross-entropy"


def _ordinal(number: int) -> str:
    last = 0 if 10 < number % 100 < 14 else number % 10
    return {1: "st", 2: "nd", 3: "rd"}.get(last, "th")


def _say(value: float, what: str = "loss") -> str:
    return f"{value:.1%}" if what == "accuracy" else number(value)


def _from_to(values: Array, what: str = "loss") -> str:
    first, last = _say(values[0], what), _say(values[-1], what)
    if len(values) == 1:
        return f"is {first}"
    return f"is {first} at first and at last" if first == last else f"goes from {first} to {last}"


def _change(values: Array, epoch: Array | None, what: str = "loss") -> str:
    """A clause such as "falls from 0.0352 in epoch 1 to 0.0165 in epoch 10"."""
    first, last = _say(values[0], what), _say(values[-1], what)
    when = [f" in epoch {e}" for e in (epoch[0], epoch[-1])] if epoch is not None else ["", ""]
    if len(values) == 1:
        return f"is {first}{when[0]}"
    if first == last:
        return f"is {first}{when[0]} and{when[1]}" if epoch is not None else f"is {first} at first and at last"
    verb = "falls" if values[-1] < values[0] else "rises"
    return f"{verb} from {first}{when[0]} to {last}{when[1]}"
