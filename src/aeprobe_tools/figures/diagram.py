"""The diagram of a stage's layers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.networks import Structure
from aeprobe_tools.figures.charts import DARK, DPI, GREY, PALE, Drawing

SPACE = 92  # pixels from one layer's middle to the next
MIDDLE = 190  # of the boxes


def architecture(module: Autoencoder | Classifier) -> Drawing:
    """Draw a stage's networks in a row: sizes at the boxes, activations and parameters between them."""
    stage, networks = 1 if module.stage == "autoencoder" else 2, module.structures()
    frozen = {"encoder"} if stage == 2 and not getattr(module, "trains_encoder", True) else set[str]()
    width, height = SPACE * sum(len(network.layers) for network in networks.values()) + 120, 380
    width, x = max(width, 640), 60 + max(0, 640 - width) / 2
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(0, height))
    total = sum(network.parameters for network in networks.values())
    trained = sum(network.parameters for name, network in networks.items() if name not in frozen)
    title = f"Stage {stage}: {total:,} parameters" + (f", {trained:,} of them trained" if trained < total else "")
    axes.text(14, height - 11, title, va="top", fontsize=12, fontweight="bold")
    said: list[str] = []
    data: dict[str, Any] = {}
    for name, network in networks.items():
        then = ["\n".join(layer.then) or "linear" for layer in network.layers]
        if name == "head":
            then[-1] = "Softmax"
        colour, kind = (PALE, " (frozen)") if name in frozen else (DARK, "")
        if not said:
            _box(axes, x, network.size, colour)
        _layers(axes, x, network, then, colour)
        end = x + SPACE * len(network.layers)
        axes.plot([x + 12, end - 12], [66, 66], color=GREY, lw=1.5)
        low = 33 if said and len(network.layers) == 1 else 58  # a short one's words would cover its neighbour's
        words = f"{name}{kind}\n{network.parameters:,} parameters"
        axes.text((x + end) / 2, low, words, ha="center", va="top", fontsize=10)
        x = end
        kept = ", frozen" if kind else ""
        said.append(f"{name} {network}, output {then[-1]}, {network.parameters:,} parameters{kept}")
        parameters = [layer.parameters for layer in network.layers]
        data[name] = {"sizes": network.sizes, "then": then, "parameters": parameters, "frozen": bool(kind)}
    report, alt = [4, 5, 6] if stage == 1 else [12], "; ".join(said)
    return Drawing(report, f"Stage {stage}: architecture", f"{alt[0].upper()}{alt[1:]}.", figure, data)


def _layers(axes: Axes, x: float, network: Structure, then: Sequence[str], colour: str) -> None:
    """Draw the layers of a network that begins at `x`, with the arrows that lead to them."""
    for i, (layer, name) in enumerate(zip(network.layers, then, strict=True), start=1):
        at = x + i * SPACE
        _box(axes, at, layer.size, colour)
        axes.annotate("", (at - 17, MIDDLE), (at - SPACE + 17, MIDDLE), arrowprops={"arrowstyle": "->"})
        axes.text(at - SPACE / 2, MIDDLE + 6, name, ha="center", va="bottom", fontsize=9, color="#a04a00")
        axes.text(at - SPACE / 2, MIDDLE - 7, f"{layer.parameters:,}", ha="center", va="top", fontsize=8.5)


def _box(axes: Axes, x: float, size: Sequence[int], colour: str) -> None:
    """Draw a layer's units as a box, its height by their logarithm."""
    height = 26 * np.log2(math.prod(size) + 1) ** 0.9
    shape = "round,pad=0,rounding_size=4"
    axes.add_patch(FancyBboxPatch((x - 13, MIDDLE - height / 2), 26, height, boxstyle=shape, fc=colour, ec="none"))
    name, fontsize = " × ".join(map(str, size)), 11 if len(size) == 1 else 8.5
    axes.text(x, MIDDLE + height / 2 + 4, name, ha="center", va="bottom", fontsize=fontsize, fontweight="bold")
