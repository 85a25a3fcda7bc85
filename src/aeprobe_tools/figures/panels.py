"""Panels of curves side by side, over one vertical scale."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aeprobe_tools.figures.charts import DPI

LETTERS = 11  # a phone shows the figure at half its size


def panels(title: str, below: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Return a figure with one or two panels, each named by the words below it, and room for a legend."""
    figure = Figure(figsize=(8.2, 4.6), dpi=DPI)
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.02, ha="left")
    every: list[Axes] = []
    for i, words in enumerate(below):
        axes = figure.add_axes((0.085 + 0.46 * i, 0.27, 0.43, 0.61), sharey=every[0] if every else None)
        axes.set_xlabel(words, fontsize=LETTERS)
        axes.tick_params(labelsize=10, labelleft=i == 0)
        axes.grid(axis="y", color="#e4e4e4")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        every.append(axes)
    return figure, every


def legend(figure: Figure, axes: Axes) -> None:
    """Add a legend below all panels; the curves of one panel stand for all."""
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=10, loc="lower center", ncols=4)
