"""What to draw, as rate and distortion: bytes of an image against what is lost."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from aeprobe.figures.charts import DARK, GREY, ORANGE, Drawing, new_axes
from aeprobe.wording import counted, number

SIZE, PLACE = (6.6, 4.6), (0.13, 0.125, 0.845, 0.79)  # a phone shows it at half its size: with large letters
LETTERS = 11
Points = Sequence[tuple[float, float]]  # bytes and MSE


def compression(numbers: Mapping[str, Any]) -> Drawing:
    """Bytes of an image against its MSE, of quantised codes, of PCA's and of files of pictures.

    Args:
        numbers: as `evaluation.compression.Compression` found them.
    """
    ours, linear, files = numbers["rates"], numbers["pca"], numbers["files"]
    coded = [(row["entropy_bytes"], row["mse"]) for row in ours if row["kind"] == "uniform"]
    curves: dict[str, tuple[str, str, bool, Points]] = {
        "code": ("o-", DARK, True, _points(ours)),
        "code, entropy-coded": ("o--", DARK, False, coded),
        "PCA": ("s-", ORANGE, True, _points(linear)),
        "JPEG": ("^-", GREY, True, _points(row for row in files if row["format"] == "JPEG")),
        "WebP": ("v--", GREY, False, _points(row for row in files if row["format"] == "WebP")),
    }
    title = "Bytes of an image and what they lose"
    figure, axes = new_axes(title, "bytes of an image (log scale)", "test MSE (log scale)", size=SIZE, place=PLACE)
    for name, (form, colour, filled, points) in curves.items():
        shown = [(x, y) for x, y in points if x > 0 and 0 < y < math.inf]
        if shown:
            face = colour if filled else "white"
            axes.plot(*zip(*shown, strict=True), form, color=colour, markerfacecolor=face, ms=5.5, label=name)
    for name, form in (("PNG", "-."), ("WebP", ":")):
        for row in files:
            if row["format"] == name and row["quality"] is None:
                axes.axvline(row["bytes"], color=GREY, ls=form, lw=1.2, label=f"{name}, lossless")
    if axes.lines:
        _log_scales(axes)
        axes.legend(frameon=False, fontsize=LETTERS, loc="lower left")
    for row in _ends([row for row in ours if row["kind"] == "uniform"]):
        if row["bytes"] > 0 and 0 < row["mse"] < math.inf:
            text = f"{row['bits']} bits" if row["bits"] > 1 else "1 bit"
            at, beside = (row["bytes"], row["mse"]), (5, 5)
            axes.annotate(text, at, beside, textcoords="offset points", color=DARK, fontsize=LETTERS)
    data = {name: [list(point) for point in points] for name, (*_, points) in curves.items()}
    data["lossless"] = [[row["format"], row["bytes"]] for row in files if row["quality"] is None]
    return Drawing([], title, _said(numbers), figure, data)


def _ends(rows: list[Any]) -> list[Any]:
    return rows if len(rows) < 2 else [rows[0], rows[-1]]


def _points(rows: Any) -> Points:
    return [(row["bytes"], row["mse"]) for row in rows if row.get("quality", "") is not None]


def _log_scales(axes: Axes) -> None:
    axes.set_xscale("log")
    if any(line.get_marker() != "None" for line in axes.lines):
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if axis is axes.xaxis else (1,)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
        axis.label.set_fontsize(LETTERS)
    axes.tick_params(labelsize=LETTERS)


def _said(numbers: Mapping[str, Any]) -> str:
    uniform = [row for row in numbers["rates"] if row["kind"] == "uniform"]
    last = uniform[-1]
    clauses = [
        f"{row['bytes']:.4g} bytes at {row['bits']} bits a number (MSE {number(row['mse'])})"
        for row in _ends(uniform)
    ]
    ends = clauses[0] if len(uniform) == 1 else f"from {' to '.join(clauses)}"
    images = counted(numbers["images"], "test")
    linear = next(row for row in numbers["pca"] if row["bits"] == last["bits"])
    text = f"The codes of {images} take {ends}; PCA at {last['bits']} bits has an MSE of {number(linear['mse'])}."
    for name in ("JPEG", "WebP"):
        rows = [row for row in numbers["files"] if row["format"] == name and row["quality"] is not None]
        if rows:
            few, many = (pick(rows, key=lambda row: row["bytes"]) for pick in (min, max))
            text += f" {name} takes from {few['bytes']:.0f} bytes ({number(few['mse'])})"
            text += f" to {many['bytes']:.0f} ({number(many['mse'])})."
    for row in numbers["files"]:
        if row["format"] == "PNG":
            text += f" PNG loses nothing in {row['bytes']:.0f} bytes."
    return text
