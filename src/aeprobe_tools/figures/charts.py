"""Figures of counts and shares, made of arrays, and the style of all figures.

Dark blue is what a figure is about, orange what it is compared with, pale blue the background. They differ in
lightness, so that they survive greyscale and colour blindness.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from aeprobe.data.sources import DIGITS, Classes
from aeprobe.runs.metrics import REPORT_BATCH
from aeprobe_tools.wording import NOTHING, counted, number

Array = NDArray[Any]

DARK, ORANGE, PALE, GREY = "#08457e", "#e07b00", "#a9cfec", "#606060"
DPI = 100
LETTERS = 11  # points of a panel's letters: a phone shows the figure at half its size
MOST_WORDS = 20  # classes of which each has its number written beside it


@dataclass(frozen=True)
class Drawing:
    """One figure of a run."""

    report: list[int]  # the numbers of the report's figures that it answers
    title: str  # a heading
    alt: str  # one or two sentences that state the finding in numbers
    figure: Figure  # drawn at 100 dots per inch
    data: dict[str, Any]  # the plotted numbers, as plain values for JSON


def class_histogram(counts: Mapping[str, Array], same: bool = False, names: Classes = DIGITS) -> Drawing:
    """Draw the images per class in each split, int (classes,); `same`: the test set doubles as validation."""
    labels = {"train": "training", "val": "validation", "test": "test"}
    if same:
        labels = {"train": "training", "test": "test = validation"}
    train = counts["train"]
    classes = np.arange(len(train))
    place = (0.12, 0.13, 0.845, 0.77)
    figure, axes = new_axes("Images per class in each split", names.noun, "images", place=place)
    width = 0.84 / len(labels)
    for i, (name, colour) in enumerate(zip(labels, (DARK, ORANGE, PALE), strict=False)):
        left = classes + (i - (len(labels) - 1) / 2) * width
        label = f"{labels[name]} ({counts[name].sum():,})"
        bars = axes.bar(left, counts[name], width, color=colour, label=label)
        if name == "train" and len(classes) <= MOST_WORDS:
            axes.bar_label(bars, fmt="{:,.0f}", fontsize=8.5)
    name_ticks(axes, names, len(classes))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(whole_numbers())
    axes.set_ylim(0, 1.22 * max(1, *(int(counts[name].max()) for name in labels)))
    axes.set_xlim(-0.7, len(classes) - 0.3)
    axes.legend(loc="upper center", ncols=3, frameon=False)
    alt = (
        f"{', '.join(f'{counts[name].sum():,} {label}' for name, label in labels.items())} images. "
        f"Most frequent in training: {names(int(train.argmax()))} ({train.max():,} images); "
        f"rarest: {names(int(train.argmin()))} ({train.min():,})."
    )
    data = {name: values.tolist() for name, values in counts.items()}
    return Drawing([2], "Images per class", alt, figure, data)


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
    axes = figure.add_axes((0.075, 0.105, 0.66, 0.825))
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
    beside = figure.add_axes((0.76, axes.get_position().y0, 0.2, 0.93 - axes.get_position().y0))
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
    axes = figure.add_axes(place)
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
    """Name the classes at the lower axis, or at both; long names stand aslant, and get more room."""
    places = np.arange(0, classes, -(-classes // MOST_WORDS))
    words = [names.drawn(int(label)) for label in places]
    length = max(map(len, words))
    aslant = length > 3 and length * len(words) > 60
    axes.set_xticks(places, words, rotation=55 if aslant else 0, ha="right" if aslant else "center")
    if both:
        axes.set_yticks(places, words)
    if not names.names:
        return
    box = axes.get_position()
    extent = axes.get_window_extent()
    width, height = extent.width / box.width / 100, extent.height / box.height / 100  # inches, at 100 dots
    left = box.x0 + length * (0.08 if both else 0.03 if aslant else 0) / width  # of inches that a letter takes
    bottom = box.y0 + (0.075 * length / height if aslant else 0)
    axes.set_position((left, bottom, box.x1 - left, box.y1 - bottom))


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
