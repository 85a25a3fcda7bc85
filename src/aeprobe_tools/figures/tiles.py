"""Images beside and below each other, with words, as one figure.

Images are float in [0, 1], (N, height, width) in grey or (N, height, width, 3) in colours; 0 is black. A pixel
becomes a square, so that nothing is resampled; of large images, squares become their means.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aeprobe_tools.figures.charts import DPI, Array

SIDE, GAP, LEFT = 56, 10, 124  # pixels of the figure: a tile's longer side, about; the gap, the rows' labels
MOST_BELOW = 10  # characters that fit below an image of the usual size
Row = tuple[str, Array, Sequence[str]]  # a label, the images, words below each image or none


def grid(title: str, rows: Sequence[Row]) -> Figure:
    """Draw rows of images, each with a label before it and perhaps words below each image."""
    rows = [(label, scaled(images, SIDE), words) for label, images, words in rows]
    height, width = rows[0][1].shape[1:3] if rows else (SIDE, SIDE)
    longest = max((len(line) for _, _, words in rows for word in words for line in word.split("\n")), default=0)
    step = max(width, SIDE, 6 * longest if longest > MOST_BELOW else 0) + GAP
    below = [14 * (1 + max((w.count("\n") for w in words), default=-1)) for _, _, words in rows]
    tops = list(accumulate((height + 10 + space for space in below), initial=38))
    most = max((len(images) for _, images, _ in rows), default=0)
    figure = canvas(max(LEFT + most * step + 10, 720), tops[-1] + 6, title)
    tiles = []
    for (label, images, words), top in zip(rows, tops, strict=False):
        write(figure, 14, top + height / 2, label, va="center", fontsize=10)
        for i, image in enumerate(images):
            left = LEFT + i * step
            tiles.append((left, top, image))
            if words:
                write(figure, left + width / 2, top + height + 2, words[i], ha="center", fontsize=8.5)
    put(figure, tiles)
    return figure


def canvas(width: int, height: int, title: str) -> Figure:
    """Return a figure without axes, which would take longer to make than all of its images."""
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    write(figure, 14, 11, title, fontsize=12, fontweight="bold")
    return figure


def write(figure: Figure, x: float, y: float, words: str, va: str = "top", **font: Any) -> None:
    """Write at a place that is given in pixels from the top left."""
    width, height = figure.get_size_inches() * DPI
    figure.text(x / width, 1 - y / height, words, va=va, **font)


def scaled(images: Array, side: int) -> Array:
    """Scale images to about so many pixels: a pixel becomes a square, or a square of pixels its mean."""
    height, width = images.shape[1:3]
    longer = max(height, width)
    zoom, part = max(1, round(side / longer)), max(1, math.ceil(longer / (1.5 * side)))
    if part > 1:
        high, wide = max(1, height // part), max(1, width // part)
        tall, broad = min(part, height), min(part, width)
        cut = images[:, : high * tall, : wide * broad]
        images = cut.reshape(len(images), high, tall, wide, broad, *images.shape[3:]).mean((2, 4))
    return images.repeat(zoom, 1).repeat(zoom, 2)


def put(figure: Figure, tiles: Iterable[tuple[int, int, Array]]) -> None:
    """Put images at their (left, top), all in one layer: to scale and blend each by itself takes longer."""
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    layer = np.zeros((height, width, 4), np.uint8)  # transparent
    for left, top, image in tiles:
        place = layer[top : top + image.shape[0], left : left + image.shape[1]]
        pixels = np.round(255 * image).astype(np.uint8)
        place[..., :3] = pixels if image.ndim == 3 else pixels[..., None]
        place[..., 3] = 255
    figure.figimage(layer, origin="upper")
