"""The diagram of a stage's layers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from aeprobe.models.structure import Structure
from aeprobe_tools.figures.charts import DARK, DPI, GREY, PALE, Drawing

SPACE = 92  # pixels from one layer's middle to the next


@dataclass(frozen=True)
class Part:
    """A network of a stage."""

    name: str  # "encoder", "decoder" or "head"
    structure: Structure
    output: str = ""  # the last arrow's word, if it is no module's
    frozen: bool = False

    @property
    def arrows(self) -> list[str]:
        """Activations and norms after each layer; "linear" for none."""
        names = ["\n".join(layer.then) or "linear" for layer in self.structure.layers]
        return [*names[:-1], self.output or names[-1]]


def architecture(stage: int, parts: Sequence[Part]) -> Drawing:
    """Draw a network's parts in a row: sizes at the boxes, activations and parameters between them."""
    layers = sum(len(part.structure.layers) for part in parts)
    width, height = SPACE * layers + 120, 380
    width, left = max(width, 640), 60 + max(0, 640 - width) / 2
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(0, height))
    total = sum(part.structure.parameters for part in parts)
    trained = sum(part.structure.parameters for part in parts if not part.frozen)
    title = f"Stage {stage}: {total:,} parameters" + (f", {trained:,} of them trained" if trained < total else "")
    axes.text(14, height - 11, title, va="top", fontsize=12, fontweight="bold")
    x = left
    for part in parts:
        _part(axes, part, x, first=part is parts[0])
        x += SPACE * len(part.structure.layers)
    alt = "; ".join(
        f"{part.name} {part.structure}, output {part.arrows[-1]}, {part.structure.parameters:,} parameters"
        f"{', frozen' if part.frozen else ''}"
        for part in parts
    )
    data = {
        part.name: {
            "sizes": part.structure.sizes,
            "then": part.arrows,
            "parameters": [layer.parameters for layer in part.structure.layers],
            "frozen": part.frozen,
        }
        for part in parts
    }
    report, name = [4, 5, 6] if stage == 1 else [12], f"Stage {stage}: architecture"
    return Drawing(report, name, f"{alt[0].upper()}{alt[1:]}.", figure, data)


def _part(axes: Axes, part: Part, x: float, first: bool) -> None:
    """Draw one part from `x` on; its first box is there already, unless it is the first part."""
    middle = 190
    colour, kind = (PALE, " (frozen)") if part.frozen else (DARK, "")
    layers = part.structure.layers
    end = x + SPACE * len(layers)
    axes.plot([x + 12, end - 12], [66, 66], color=GREY, lw=1.5)
    words = f"{part.name}{kind}\n{part.structure.parameters:,} parameters"
    low = 33 if not first and len(layers) == 1 else 58  # a short part's words would cover its neighbour's
    axes.text((x + end) / 2, low, words, ha="center", va="top", fontsize=10)
    if first:
        _box(axes, x, middle, part.structure.size, colour)
    for i, (layer, name) in enumerate(zip(layers, part.arrows, strict=True), start=1):
        at = x + i * SPACE
        _box(axes, at, middle, layer.size, colour)
        axes.annotate("", (at - 17, middle), (at - SPACE + 17, middle), arrowprops={"arrowstyle": "->"})
        axes.text(at - SPACE / 2, middle + 6, name, ha="center", va="bottom", fontsize=9, color="#a04a00")
        axes.text(at - SPACE / 2, middle - 7, f"{layer.parameters:,}", ha="center", va="top", fontsize=8.5)


def _box(axes: Axes, x: float, middle: float, size: Sequence[int], colour: str) -> None:
    """Draw a layer's units as a box, its height by their logarithm."""
    height = 26 * np.log2(math.prod(size) + 1) ** 0.9
    shape = "round,pad=0,rounding_size=4"
    axes.add_patch(FancyBboxPatch((x - 13, middle - height / 2), 26, height, boxstyle=shape, fc=colour, ec="none"))
    name, fontsize = " × ".join(map(str, size)), 11 if len(size) == 1 else 8.5
    axes.text(x, middle + height / 2 + 4, name, ha="center", va="bottom", fontsize=fontsize, fontweight="bold")
