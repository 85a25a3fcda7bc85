"""Figures of curves, counts and shares, made of arrays, and the style of all figures.

Dark blue is what a figure is about, orange what it is compared with, pale blue the background. They differ in
lightness, so that they survive greyscale and colour blindness.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from aeprobe.data.sources import DIGITS, Classes
from aeprobe.runs.metrics import REPORT_BATCH
from aeprobe_tools.wording import NOTHING, counted, number

Array = NDArray[Any]

DARK, ORANGE, PALE, GREY = "#08457e", "#e07b00", "#a9cfec", "#606060"
DPI = 100
LETTERS = 11  # points of a panel's letters: a phone shows the figure at half its size
MOST_STEPS = 2_000  # points of a curve per step: more than a picture 800 pixels wide can show
MOST_WORDS = 20  # classes of which each has its number written beside it


@dataclass(frozen=True)
class Drawing:
    """One figure of a run."""

    report: list[int]  # the numbers of the report's figures that it answers
    title: str  # a heading
    alt: str  # one or two sentences that state the finding in numbers
    figure: Figure  # drawn at 100 dots per inch
    data: dict[str, Any]  # the plotted numbers, as plain values for JSON


class History:
    """The curves of a run: `rows` are `epochs` of metrics.json; the others as `Recorder` has them."""

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], steps: Mapping[str, Sequence[float]], epoch_steps: Sequence[int]
    ) -> None:
        self.rows, self.steps, self.epoch_steps = rows, steps, np.array(epoch_steps)

    def per_epoch(self, *tags: str) -> tuple[Array, ...]:
        """Return the epochs that have all these metrics, and the metrics."""
        rows = [row for row in self.rows if all(tag in row for tag in tags)]
        return tuple(np.array([row[tag] for row in rows]) for tag in ("epoch", *tags))

    def loss_per_epoch(self, unit: str) -> Drawing:
        """Draw stage 1's training loss: the mean of each epoch, and that of its last batch, as in the report."""
        epoch, mean, last = self.per_epoch("train/loss", "train/loss_last")
        figure, axes = new_axes("Stage 1: training loss per epoch", "epoch", unit)
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
            style(axes, f"Stage 2: training {what} per epoch", "epoch", name, what)
            _per_epoch(axes, epoch, {"last batch": last, "mean over the epoch": mean}, what)
            ends[what] = _ends(mean, "in epoch", epoch, what)
            data |= {"epoch": epoch.tolist(), f"{what}_mean": mean.tolist(), f"{what}_last": last.tolist()}
        alt = f"Mean training loss: {ends['loss']}; mean training accuracy: {ends['accuracy']}."
        return Drawing([14], "Stage 2: loss and accuracy per epoch", alt, figure, data)

    def training(self, stage: int, report: int, what: str, unit: str) -> Drawing:
        """Draw the "loss" or "accuracy" of training at every step, with each epoch's mean; the report's figure."""
        step, value = (np.array(self.steps[tag]) for tag in ("step", f"train/{what}_step"))
        epoch, mean = (values[-len(self.epoch_steps) :] for values in self.per_epoch(f"train/{what}"))
        alt = (
            f"Training {what}: {_ends(value, 'at step', step, what)}; "
            f"mean over the epoch: {_ends(mean, 'in epoch', epoch, what)}."
        )
        every = -(-len(step) // MOST_STEPS)
        step, value = step[::every], value[::every]
        title = f"Stage {stage}: training {what} per step"
        figure, axes = new_axes(title, "optimizer step", unit, what=what)
        label = "each step" if every == 1 else f"one step in {every}"
        axes.plot(step, value, color=PALE, lw=0.9, label=label, marker="." if len(step) < 3 else "")
        edges = np.concatenate([[0], self.epoch_steps])
        axes.stairs(mean, edges, baseline=None, color=DARK, lw=2, zorder=3, label="mean of each epoch")
        axes.set_xlim(0, self.epoch_steps[-1])
        axes.xaxis.set_major_locator(whole_numbers())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if what == "loss" and np.all(value > 0) and value.max() / value.min() >= 1.5:  # steep in the first steps
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_ylabel(f"{unit} (log scale)")
        keep_possible(axes, what)
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
        figure, axes = new_axes(title, "epoch", unit, what=what)
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
    axes.xaxis.set_major_locator(whole_numbers())
    axes.set_xlim(epoch[0] - 0.5, epoch[-1] + 0.5)
    keep_possible(axes, what)
    axes.legend(frameon=False)


def _ends(values: Array, unit: str, places: Array, what: str = "loss") -> str:
    """Return the first and the last value, such as "0.0352 in epoch 1, 0.0165 in epoch 10"."""
    words = dict.fromkeys(
        f"{f'{values[i]:.1%}' if what == 'accuracy' else number(values[i])} {unit} {places[i]:,}" for i in (0, -1)
    )
    return ", ".join(words)


def error_histogram(errors: Array) -> Drawing:
    """Draw a histogram of the test images' reconstruction errors: MSE per pixel, (N,)."""
    mean, median, high = float(errors.mean()), float(np.median(errors)), float(np.quantile(errors, 0.95))
    bins = min(60, max(5, len(errors) // 10))
    counts, edges = np.histogram(errors.astype(np.float64), bins, (0, max(float(errors.max()), NOTHING)))
    title = "Reconstruction error of each test image"
    figure, axes = new_axes(title, "MSE per pixel", "images")
    axes.stairs(counts, edges, fill=True, color=PALE)
    axes.axvline(mean, color=DARK, lw=2, label=f"mean {number(mean)}")
    axes.axvline(median, color=ORANGE, lw=2, ls="--", label=f"median {number(median)}")
    axes.set_xlim(0, edges[-1])
    axes.yaxis.set_major_locator(whole_numbers())
    axes.legend(frameon=False)
    alt = (
        f"MSE of {counted(len(errors), 'test image')}: mean {number(mean)}, median {number(median)}, "
        f"95th percentile {number(high)}, worst {number(errors.max())}."
    )
    data = {"edges": edges.tolist(), "counts": counts.tolist(), "mean": mean, "median": median}
    return Drawing([], title, alt, figure, data)


def batch_accuracy(values: Array, images: int) -> Drawing:
    """Draw the accuracy of each test batch, (batches,) in [0, 1]; the last batch has the rest of `images`."""
    sizes = [REPORT_BATCH] * (len(values) - 1) + [images - REPORT_BATCH * (len(values) - 1)]
    mean = float(np.average(values, weights=sizes))
    batch = np.arange(1, len(values) + 1)
    title = f"Accuracy of each test batch of {sizes[0]}"
    figure, axes = new_axes(title, "batch", "accuracy", what="accuracy")
    axes.plot(batch, values, "o-", color=DARK, lw=0.8, ms=4, label="one batch")
    axes.axhline(mean, color=ORANGE, lw=2, ls="--", label=f"mean {mean:.2%}")
    axes.xaxis.set_major_locator(whole_numbers())
    axes.set_xlim(0.5 - len(batch) / 100, len(batch) + 0.5 + len(batch) / 100)
    axes.legend(frameon=False, ncols=2)
    axes.margins(y=0.16)
    keep_possible(axes, "accuracy")
    alt = (
        f"{counted(images, 'test image')} in batches of {sizes[0]}: mean accuracy {mean:.2%}, standard deviation "
        f"{values.std():.2%}, lowest {values.min():.0%}, highest {values.max():.0%}."
    )
    data = {"batch": batch.tolist(), "value": values.tolist(), "mean": mean}
    return Drawing([20], title, alt, figure, data)


def confusion_matrix(matrix: Array, names: Classes = DIGITS) -> Drawing:
    """Draw a confusion matrix: counts, rows true, columns predicted, int (classes, classes)."""
    classes, total, right = len(matrix), int(matrix.sum()), int(np.trace(matrix))
    rows = matrix.sum(1)
    share = matrix / np.maximum(rows, 1)[:, None]
    recall = [float(share[i, i]) if rows[i] else None for i in range(classes)]  # None: no such image
    title = f"Confusion matrix: {right:,} of {total:,} test images right"
    figure = Figure((8, 6.4), dpi=DPI)
    axes, beside = figure.subplots(1, 2, width_ratios=(0.66, 0.2))
    figure.subplots_adjust(left=0.075, bottom=0.105, right=0.96, top=0.93, wspace=0.058)
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1, aspect="auto")  # sqrt: single errors stay visible
    small = min(9.5, 95 / classes)
    readable = classes <= MOST_WORDS
    for i, j in np.argwhere(matrix) if readable else ():
        colour = "white" if share[i, j] > 0.35 else "black"
        weight = "bold" if i == j else "normal"
        axes.text(j, i, matrix[i, j], ha="center", va="center", color=colour, fontsize=small, fontweight=weight)
    name_ticks(axes, names, classes, both=True)
    axes.set_xlabel(f"predicted {names.noun}")
    axes.set_ylabel(f"true {names.noun}")
    axes.set_title(title, loc="left", y=1, fontsize=12, fontweight="bold")
    beside.barh(range(classes), [r or 0 for r in recall], color=PALE)
    for i, value in enumerate(recall if readable else ()):
        text = "no image" if value is None else f"{value:.1%}"
        beside.text(0.03, i, text, va="center", fontsize=small)
    beside.set(ylim=(classes - 0.5, -0.5), xlim=(0, 1), yticks=[])
    beside.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    beside.set_xlabel("right, of each class")
    beside.spines[["top", "right"]].set_visible(False)
    known = {i: share for i, share in enumerate(recall) if share is not None}
    best, worst = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    alt = (
        f"{right:,} of {total:,} test images are classified right ({right / total:.2%}). Recognised best: "
        f"{names(best)} ({known[best]:.1%}); worst: {names(worst)} ({known[worst]:.1%})."
    )
    data = {"matrix": matrix.tolist(), "class_accuracy": recall}
    return Drawing([21], "Confusion matrix", alt, figure, data)


def new_axes(
    title: str,
    x: str,
    y: str,
    what: str = "",
    size: tuple[float, float] = (8, 4.2),
    place: tuple[float, float, float, float] = (0.12, 0.125, 0.845, 0.775),
) -> tuple[Figure, Axes]:
    """Return a figure of 800 x 420 pixels by default; margins are fixed, as a layout engine draws twice."""
    figure = Figure(size, dpi=DPI)
    axes = figure.add_subplot()
    left, bottom, width, height = place
    figure.subplots_adjust(left, bottom, left + width, bottom + height)
    style(axes, title, x, y, what)
    return figure, axes


def style(axes: Axes, title: str, x: str, y: str, what: str = "") -> None:
    """Add title, labels and grid; `what` is "accuracy" for an axis in percent."""
    axes.set_title(title, loc="left", y=1, fontsize=12, fontweight="bold")  # y: or its place is searched for
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", lw=0.8)
    axes.set_axisbelow(True)
    if what == "accuracy":
        axes.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6) + 0.0:.4g}%")


def whole_numbers() -> MaxNLocator:
    """Return ticks at whole numbers alone, however few there are."""
    return MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)


def keep_possible(axes: Axes, what: str) -> None:
    """Limit the axis to possible values: no loss or accuracy below 0, no accuracy above 1."""
    low, high = axes.get_ylim()
    if low < 0 and axes.get_yscale() == "linear":
        low = -0.02 * high
    if what == "accuracy":
        high = min(high, 1 + 0.02 * (1 - low))
    axes.set_ylim(low, high)


def name_ticks(axes: Axes, names: Classes, classes: int, both: bool = False) -> None:
    """Name the classes at the lower axis, or at both; names that take much room are written aslant."""
    places = np.arange(0, classes, -(-classes // MOST_WORDS))
    words = [names.drawn(int(label)) for label in places]
    length = max(map(len, words))
    aslant = length > 3 and length * len(words) > 60
    axes.set_xticks(places, words, rotation=55 if aslant else 0, ha="right" if aslant else "center")
    if both:
        axes.set_yticks(places, words)
    if names.names and isinstance(axes.figure, Figure):
        axes.figure.set_layout_engine("constrained")


def panels(title: str, below: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Return a figure with one or two panels over one vertical scale, each named by the words below it."""
    figure = Figure(figsize=(8.2, 4.6), dpi=DPI)
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.02, ha="left")
    every: list[Axes] = []
    for i, words in enumerate(below):
        axes = figure.add_axes((0.085 + 0.46 * i, 0.27, 0.43, 0.61), sharey=every[0] if every else None)
        style(axes, "", words, "")
        axes.xaxis.label.set_fontsize(LETTERS)
        axes.tick_params(labelsize=10, labelleft=i == 0)
        every.append(axes)
    return figure, every


def legend(figure: Figure, axes: Axes) -> None:
    """Add a legend below all panels; the curves of one panel stand for all."""
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=10, loc="lower center", ncols=4)
