"""What to draw, as accuracies of simple classifiers over the number of labels."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, PercentFormatter

from aeprobe.figures.charts import DARK, DPI, GREY, ORANGE, PALE, Drawing
from aeprobe.wording import percent

METHODS = {"neighbours": "nearest neighbours", "logistic": "logistic regression"}
STYLES = {
    "codes": ("code", DARK, "o-"),
    "pca": ("PCA", ORANGE, "s-"),
    "pixels": ("pixels", GREY, "^--"),
    "random": ("code of a random encoder", PALE, "v--"),
}
LETTERS = 11


def probe(numbers: Mapping[str, Any]) -> Drawing:
    """The accuracy over the number of labels, with the standard deviation over draws: a panel for each method.

    Args:
        numbers: as `evaluation.probe.Probe` found them.
    """
    figure = Figure(figsize=(8.2, 4.4), dpi=DPI)
    title = "Accuracy of simple classifiers with few labels and with many"
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.02, ha="left")
    data: dict[str, list[list[Any]]] = {}
    first: Axes | None = None
    for i, (method, words) in enumerate(METHODS.items()):
        axes = figure.add_axes((0.08 + 0.47 * i, 0.14, 0.44, 0.71), sharey=first)
        first = first or axes
        axes.set_title(words, fontsize=LETTERS)
        for features, (name, colour, form) in STYLES.items():
            rows = [r for r in numbers["rows"] if (r["method"], r["features"]) == (method, features)]
            places = [row["labels"] or numbers["images"]["train"] for row in rows]
            bars = [row["sd"] or 0.0 for row in rows]
            axes.errorbar(
                places, [row["mean"] for row in rows], bars, fmt=form, color=colour, label=name, capsize=3, ms=5
            )
            data[f"{method}, {name}"] = [[row["labels"], row["mean"], row["sd"]] for row in rows]
        _scales(axes, [row["labels"] for row in numbers["rows"]], numbers["images"]["train"], i == 0)
    assert first
    first.legend(frameon=False, fontsize=10, loc="lower right")
    return Drawing([], title, _said(numbers), figure, data)


def _scales(axes: Axes, labels: list[int | None], whole: int, left: bool) -> None:
    counts = sorted({count or whole for count in labels})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter(
        FixedFormatter([f"{count:,}" if count < whole else f"all {whole:,}" for count in counts])
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("labelled training images", fontsize=LETTERS)
    axes.tick_params(labelsize=10, labelleft=left)
    axes.grid(axis="y", color="#e4e4e4")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _said(numbers: Mapping[str, Any]) -> str:
    """The best that the codes and that the others give with the fewest labels and with the most."""
    found = []
    for count in dict.fromkeys(row["labels"] for row in numbers["rows"]):
        best: dict[bool, float] = {True: 0.0, False: 0.0}
        for row in numbers["rows"]:
            if row["labels"] == count:
                code = row["features"] == "codes"
                best[code] = max(best[code], row["mean"])
        words = "all labels" if count is None else f"{count:,} labels"
        found.append(f"with {words} {percent(best[True])} on the code and {percent(best[False])} without it")
    return f"The better of both methods has, {'; '.join(found)}."
