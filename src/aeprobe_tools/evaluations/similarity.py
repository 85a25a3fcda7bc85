"""Structural similarity over windows that lie inside the image, as in Wang et al. 2004."""

import aeprobe.runtime  # noqa: F401

from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.functional.image import structural_similarity_index_measure

WINDOW = 11  # pixels of a window's side, with a standard deviation of 1.5


def structural_similarity(images: Tensor, clean: Tensor) -> Tensor:
    """Return the structural similarity of each image, (N,); both (N, channels, height, width), in [0, 1].

    torchmetrics' mean has windows over the border too, which see the image mirrored: they are cut off here.
    """
    if min(clean.shape[2:]) < WINDOW:
        raise ValueError(f"images of {tuple(clean.shape[2:])} pixels are smaller than a window of {WINDOW}")
    similarities = structural_similarity_index_measure(images, clean, data_range=1.0, return_full_image=True)[1]
    border = WINDOW // 2
    inside: Tensor = similarities[..., border:-border, border:-border].flatten(1).mean(1)
    return inside


class StructuralSimilarity(MeanMetric):
    """The mean over the images of `structural_similarity`."""

    higher_is_better = True  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(nan_strategy="disable")  # or what is no number would be left out

    def update(self, images: Tensor, clean: Tensor) -> None:  # type: ignore[override]
        """Add a batch, as `structural_similarity` takes it."""
        super().update(structural_similarity(images, clean))
