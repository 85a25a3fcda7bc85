"""Figures of counts, made of arrays. Knows no Lightning and no files.

One style serves all figures: dark blue for what the figure is about, orange for what stands beside it, pale blue
behind. The three differ in lightness, so they survive greyscale and colour blindness.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from aeprobe.data.classes import DIGITS, Classes
from aeprobe.runs.metrics import REPORT_BATCH
from aeprobe_tools.wording import NOTHING, number

Array = NDArray[Any]

DARK, ORANGE, PALE, GREY = "#08457e", "#e07b00", "#a9cfec", "#606060"
DPI = 100
MOST_WORDS = 20  # classes of which each has its number written beside it


@dataclass(frozen=True)
class Drawing:
    """One figure of a run.

    Attributes:
        report: the numbers of the report's figures that it answers; none for what goes beyond the report.
        title: a heading.
        alt: one or two sentences that state the finding in numbers.
        figure: drawn at 100 dots per inch.
        data: the plotted numbers, as plain values for JSON.
    """

    report: list[int]
    title: str
    alt: str
    figure: Figure
    data: dict[str, Any]


def class_histogram(counts: Mapping[str, Array], same: bool = False, names: Classes = DIGITS) -> Drawing:
    """Draw the images per class in each split.

    Args:
        counts: of "train", "val" and "test", each int (classes,).
        same: whether the test set doubles as validation.
        names: what the classes are called.
    """
    labels = {"train": "training", "val": "validation", "test": "test"}
    if same:
        labels = {"train": "training", "test": "test = validation"}
    classes = np.arange(len(counts["train"]))
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
    train = counts["train"]
    sizes = ", ".join(f"{counts[name].sum():,} {label}" for name, label in labels.items())
    if train.max() > train.min():
        finding = (
            f"In the training split {names(int(train.argmax()))} is the most frequent with "
            f"{train.max():,} images and {names(int(train.argmin()))} the rarest with {train.min():,}."
        )
    elif len(train) > 1:
        finding = f"The training split has {train.max():,} of each {names.noun}."
    else:
        finding = f"All are of one {names.noun}."
    data = {name: values.tolist() for name, values in counts.items()}
    return Drawing([2], "Images per class", f"{sizes} images. {finding}", figure, data)


def error_histogram(errors: Array) -> Drawing:
    """Draw a histogram of the test images' reconstruction errors: MSE per pixel, (N,)."""
    mean, median = float(errors.mean()), float(np.median(errors))
    bins = min(60, max(5, len(errors) // 10))
    counts, edges = np.histogram(errors.astype(np.float64), bins=bins, range=_window(errors))
    title = "Reconstruction error of each test image"
    figure, axes = new_axes(title, "MSE per pixel", "images")
    axes.stairs(counts, edges, fill=True, color=PALE)
    axes.axvline(mean, color=DARK, lw=2, label=f"mean {number(mean)}")
    axes.axvline(median, color=ORANGE, lw=2, ls="--", label=f"median {number(median)}")
    axes.set_xlim(0, edges[-1])
    axes.yaxis.set_major_locator(whole_numbers())
    axes.legend(frameon=False)
    if len(errors) == 1:
        alt = f"The one test image has an error of {number(mean)}."
    elif number(errors.min()) == number(errors.max()):
        alt = f"All {len(errors):,} test images have an error of {number(mean)}."
    else:
        high, worst = number(np.quantile(errors, 0.95)), number(errors.max())
        few = f"5% have more than {high}, " if len(errors) >= 20 and high != worst else ""
        alt = (
            f"Of {len(errors):,} test images the mean error is {number(mean)} and the median {number(median)}; "
            f"{few}the worst has {worst}."
        )
    data = {"edges": edges.tolist(), "counts": counts.tolist(), "mean": mean, "median": median}
    return Drawing([], title, alt, figure, data)


def _window(errors: Array) -> tuple[float, float]:
    """Return a range of all errors, with some room if they are so alike that bins would have no width."""
    low, high = float(errors.min()), float(errors.max())
    room = max(0.05 * high, NOTHING) if high - low <= 1e-6 * high else 0.0
    return max(0.0, low - room), high + room


def batch_accuracy(values: Array, images: int) -> Drawing:
    """Draw the accuracy of each test batch, (batches,) in [0, 1]; the last batch has the rest of `images`."""
    last = images - REPORT_BATCH * (len(values) - 1)
    sizes = [REPORT_BATCH] * (len(values) - 1) + [last]
    mean = float(values.mean() if last == REPORT_BATCH else np.average(values, weights=sizes))
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
    smaller = f" (the last of {last})" if last != REPORT_BATCH else ""
    alt = (
        f"Over {len(values)} test batches of {REPORT_BATCH}{smaller} the accuracy has mean {mean:.2%} and "
        f"standard deviation {values.std():.2%}; the lowest is {values.min():.0%}, the highest {values.max():.0%}."
    )
    if len(values) == 1:
        alt = f"The one test batch, of {sizes[0]}, has an accuracy of {mean:.2%}."
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
        count = f"{matrix[i, j]}"
        axes.text(j, i, count, ha="center", va="center", color=colour, fontsize=small, fontweight=weight)
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
    alt = (
        f"{right:,} of {total:,} test images are classified right ({right / total:.2%}). {_ranked(recall, names)}"
    )
    data = {"matrix": matrix.tolist(), "class_accuracy": recall}
    return Drawing([21], "Confusion matrix", alt, figure, data)


def _ranked(recall: Sequence[float | None], names: Classes) -> str:
    """Name the classes that are recognised best and worst, of those that have images."""
    known = {i: share for i, share in enumerate(recall) if share is not None}
    best, worst = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    first = names(best) if names.names else names(best).capitalize()
    if len(known) == 1:
        return f"All of them are of {names(best)}."
    if known[best] == known[worst]:
        return f"Every {names.noun} is recognised as well as every other ({known[best]:.1%})."
    return f"{first} is recognised best ({known[best]:.1%}) and {names(worst)} worst ({known[worst]:.1%})."


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
    places = _thinned(np.arange(classes))
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


def _thinned(places: NDArray[Any]) -> NDArray[Any]:
    """Choose at most 20 of the places, so that their names do not cover one another."""
    return places[:: -(-len(places) // MOST_WORDS)]
