"""What to draw, as pictures beside what a run says of them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from aeprobe.figures.charts import Array
from aeprobe.figures.tiles import Row, grid

BAR = 3  # pixels of a class's bar


def answered(
    pictures: Array, seen: Array, reconstructions: Array | None, probabilities: Array | None, words: Sequence[str]
) -> Figure:
    """Some pictures, what the networks saw of them, the reconstructions, and a bar for each class's probability.

    Args:
        pictures: floats in [0, 1], (N, height, width) or (N, height, width, 3).
        seen: the same.
        reconstructions: the same, or None.
        probabilities: in [0, 1], (N, classes), or None.
        words: to stand below each.
    """
    rows: list[Row] = [("picture", pictures, []), ("what the\nnetwork saw", seen, [])]
    if reconstructions is not None:
        rows.append(("reconstruction", reconstructions, []))
    if probabilities is not None:
        rows.append(("probability\nof each class", bars(probabilities), []))
    rows[-1] = (*rows[-1][:2], words)
    return grid("What the run says of these pictures", rows)


def bars(probabilities: Array) -> Array:
    """A bar for each class as an image, dark on white, (N, height, width)."""
    classes = probabilities.shape[1]
    height = BAR * min(classes, 20)
    images = np.ones((len(probabilities), height, BAR * classes))
    filled = np.arange(height)[::-1, None] < height * probabilities[:, None]  # from the lowest row up
    images[filled.repeat(BAR, 2)] = 0.2
    images[:, -1] = np.minimum(images[:, -1], 0.6)  # the line on which they stand
    images[:, :, BAR - 1 :: BAR] = 1
    return images
