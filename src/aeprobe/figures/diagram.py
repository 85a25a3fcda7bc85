"""What to draw, as a diagram of a network: widths in, a matplotlib Figure out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from aeprobe.figures.charts import DARK, DPI, GREY, PALE, Drawing

SPACE = 92  # pixels from one layer's middle to the next


@dataclass(frozen=True)
class Part:
    """A stretch of fully connected layers.

    Attributes:
        name: "encoder", "decoder" or "head".
        widths: units from its input to its output.
        activation: between its layers.
        output: what follows its last layer; empty for nothing.
        frozen: whether its weights never change.
    """

    name: str
    widths: Sequence[int]
    activation: str
    output: str = ""
    frozen: bool = False

    @property
    def parameters(self) -> list[int]:
        """Weights and biases of each layer."""
        return [fan_in * fan_out + fan_out for fan_in, fan_out in pairwise(self.widths)]


def architecture(stage: int, parts: Sequence[Part]) -> Drawing:
    """A network's parts one after the other: widths in the boxes, activations and parameters between them."""
    widths = [parts[0].widths[0]] + [w for part in parts for w in part.widths[1:]]
    width, height = SPACE * (len(widths) - 1) + 120, 380
    width, left = max(width, 640), 60 + max(0, 640 - width) / 2
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(0, height))
    total = sum(sum(part.parameters) for part in parts)
    trained = sum(sum(part.parameters) for part in parts if not part.frozen)
    title = f"Stage {stage}: {total:,} parameters" + (f", {trained:,} of them trained" if trained < total else "")
    axes.text(14, height - 11, title, va="top", fontsize=12, fontweight="bold")
    x = left
    for part in parts:
        _part(axes, part, x, first=part is parts[0])
        x += SPACE * (len(part.widths) - 1)
    alt = "; ".join(
        f"{part.name} {'-'.join(map(str, part.widths))} with {part.activation}"
        f"{f' and {part.output} at its end' if part.output else ''}, {sum(part.parameters):,} parameters"
        f"{', frozen' if part.frozen else ''}"
        for part in parts
    )
    keys = ("widths", "activation", "output", "parameters", "frozen")
    data = {part.name: {key: getattr(part, key) for key in keys} for part in parts}
    report, name = [4, 5, 6] if stage == 1 else [12], f"Stage {stage}: architecture"
    return Drawing(report, name, f"{alt[0].upper()}{alt[1:]}.", figure, data)


def _part(axes: Axes, part: Part, x: float, first: bool) -> None:
    """One part from `x` on; its first box is there already, unless it is the first part."""
    middle = 190
    colour = PALE if part.frozen else DARK
    end = x + SPACE * (len(part.widths) - 1)
    axes.plot([x + 12, end - 12], [66, 66], color=GREY, lw=1.5)
    kind = " (frozen)" if part.frozen else ""
    words = f"{part.name}{kind}\n{sum(part.parameters):,} parameters"
    low = 33 if not first and len(part.widths) == 2 else 58  # a short part's words would cover its neighbour's
    axes.text((x + end) / 2, low, words, ha="center", va="top", fontsize=10)
    for i, width in enumerate(part.widths):
        at = x + i * SPACE
        if i or first:
            _box(axes, at, middle, width, colour)
        if i:
            last = i == len(part.widths) - 1
            name = (part.output or "linear") if last else part.activation
            axes.annotate("", (at - 17, middle), (at - SPACE + 17, middle), arrowprops={"arrowstyle": "->"})
            axes.text(at - SPACE / 2, middle + 6, name, ha="center", va="bottom", fontsize=9, color="#a04a00")
            axes.text(
                at - SPACE / 2, middle - 7, f"{part.parameters[i - 1]:,}", ha="center", va="top", fontsize=8.5
            )


def _box(axes: Axes, x: float, middle: float, width: int, colour: str) -> None:
    """A layer's units as a box, its height by their logarithm."""
    height = 26 * np.log2(width + 1) ** 0.9
    shape = "round,pad=0,rounding_size=4"
    axes.add_patch(FancyBboxPatch((x - 13, middle - height / 2), 26, height, boxstyle=shape, fc=colour, ec="none"))
    axes.text(x, middle + height / 2 + 4, str(width), ha="center", va="bottom", fontsize=11, fontweight="bold")
