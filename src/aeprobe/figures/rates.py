"""What to draw, as rate and distortion: bytes of an image against what is lost."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from aeprobe.figures.charts import DARK, GREY, ORANGE, Drawing, new_axes
from aeprobe.wording import counted, number

SIZE, PLACE = (6.6, 4.6), (0.145, 0.125, 0.83, 0.79)  # a phone shows it at half its size: with large letters
LETTERS = 11
Points = Sequence[tuple[float, float]]  # bytes and MSE


def compression(numbers: Mapping[str, Any]) -> Drawing:
    """Bytes of an image against its MSE, of quantised codes, of PCA's and of files of pictures.

    Args:
        numbers: as `evaluation.compression.Compression` found them.
    """
    ours, linear, files = numbers["rates"], numbers["pca"], numbers["files"]
    uniform = [row for row in ours if row["kind"] == "uniform"]
    coded = [(row["entropy_bytes"], row["mse"]) for row in uniform]
    curves: dict[str, tuple[str, str, bool, Points]] = {
        f"code, {_bits(uniform)} and floats": ("o-", DARK, True, _points(ours)),
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
    data = {name: [list(point) for point in points] for name, (*_, points) in curves.items()}
    data["lossless"] = [[row["format"], row["bytes"]] for row in files if row["quality"] is None]
    return Drawing([], title, _said(numbers), figure, data)


def _bits(rows: Sequence[Mapping[str, Any]]) -> str:
    few, many = rows[0]["bits"], rows[-1]["bits"]
    return f"{few} to {many} bits" if few < many else f"{few} bit{'s' if few > 1 else ''}"


def _points(rows: Any) -> Points:
    return [(row["bytes"], row["mse"]) for row in rows if row.get("quality", "") is not None]


def _log_scales(axes: Axes) -> None:
    """Where something is lost, on both axes; a lossless format alone has no MSE to show."""
    lossy = any(line.get_marker() != "None" for line in axes.lines)
    axes.set_xscale("log")
    axes.set_yscale("log" if lossy else "linear")
    for axis, steps in ((axes.xaxis, (1, 2, 5)), (axes.yaxis, (1,))) if lossy else ((axes.xaxis, (1, 2, 5)),):
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
        axis.label.set_fontsize(LETTERS)
    axes.tick_params(labelsize=LETTERS)


def _said(numbers: Mapping[str, Any]) -> str:
    uniform = [row for row in numbers["rates"] if row["kind"] == "uniform"]
    few, last = uniform[0], uniform[-1]
    ends = f"{last['bytes']:.4g} bytes at {last['bits']} bits a number (MSE {number(last['mse'])})"
    if few is not last:
        ends = f"from {few['bytes']:.4g} bytes at {few['bits']} bits a number (MSE {number(few['mse'])}) to {ends}"
    images = counted(numbers["images"], "test")
    linear = next(row for row in numbers["pca"] if row["bits"] == last["bits"])
    text = f"The codes of {images} take {ends}; PCA at {last['bits']} bits has an MSE of {number(linear['mse'])}."
    for name in ("JPEG", "WebP"):
        rows = [row for row in numbers["files"] if row["format"] == name and row["quality"] is not None]
        if rows:
            low, high = (pick(rows, key=lambda row: float(row["bytes"])) for pick in (min, max))
            text += f" {name} takes from {low['bytes']:.0f} bytes ({number(low['mse'])})"
            text += f" to {high['bytes']:.0f} ({number(high['mse'])})."
    for row in numbers["files"]:
        if row["format"] == "PNG":
            text += f" PNG loses nothing in {row['bytes']:.0f} bytes."
    return text
