"""What to draw, as accuracies of simple classifiers over the number of labels."""

from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, PercentFormatter

from aeprobe.figures.charts import DARK, GREY, ORANGE, PALE, Drawing
from aeprobe.figures.panels import legend, panels
from aeprobe.wording import of_labels, percent

METHODS = {"neighbours": "nearest neighbours", "logistic": "logistic regression"}
STYLES = {
    "codes": ("code", DARK, "o-"),
    "pca": ("PCA", ORANGE, "s-"),
    "pixels": ("pixels", GREY, "^--"),
    "random": ("code of a random encoder", PALE, "v--"),
}


def probe(numbers: Mapping[str, Any]) -> Drawing:
    """The accuracy over the number of labels, with the standard deviation over draws: a panel for each method.

    Args:
        numbers: as `evaluation.probe.Probe` found them.
    """
    title = "Accuracy of simple classifiers with few labels and with many"
    figure, every = panels(title, [f"labels, for {words}" for words in METHODS.values()])
    whole = numbers["images"]["train"]
    data: dict[str, list[list[Any]]] = {}
    for method, axes in zip(METHODS, every, strict=True):
        for features, (name, colour, form) in STYLES.items():
            rows = [r for r in numbers["rows"] if (r["method"], r["features"]) == (method, features)]
            places, means = [row["labels"] or whole for row in rows], [row["mean"] for row in rows]
            bars = [row["sd"] or 0.0 for row in rows]
            axes.errorbar(places, means, bars, fmt=form, color=colour, label=name, capsize=3, ms=5)
            data[f"{method}, {name}"] = [[row["labels"], row["mean"], row["sd"]] for row in rows]
        counts = sorted({row["labels"] or whole for row in numbers["rows"]})
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{n:,}" if n < whole else "all" for n in counts]))
        axes.xaxis.set_minor_locator(NullLocator())
    every[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend(figure, every[0])
    return Drawing([], title, _said(numbers), figure, data)


def _said(numbers: Mapping[str, Any]) -> str:
    """The best that the codes and that the others give with the fewest labels and with the most."""
    found = []
    for count in dict.fromkeys(row["labels"] for row in numbers["rows"]):
        best: dict[bool, float] = {True: 0.0, False: 0.0}
        for row in numbers["rows"]:
            if row["labels"] == count:
                code = row["features"] == "codes"
                best[code] = max(best[code], row["mean"])
        found.append(
            f"with {of_labels(count)} {percent(best[True])} on the code and {percent(best[False])} without it"
        )
    return f"The better of both methods has, {'; '.join(found)}."
