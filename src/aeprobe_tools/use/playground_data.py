"""Data of the playground: networks, some test images, and how often the classifier's answers were right."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.labels import shuffled_by_class
from aeprobe.errors import AeprobeError
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.stage import AT_ONCE
from aeprobe_tools.use.plain_layers import packed, plain

MOST_IMAGES = 100
MOST_IMAGE_BYTES = 400_000  # of all of them
MOST_CODES = 2_000  # training images whose codes give the ranges


def networks(autoencoder: Autoencoder, classifier: Classifier | None) -> dict[str, Any]:
    """Return the networks as plain layers: "encoder", with its preprocessing, "decoder", and "head" or None."""
    shape, code = autoencoder.shape, (autoencoder.code_size,)
    if shape[0] not in (1, 3):
        raise AeprobeError(f"the run is of images with {shape[0]} channels: the playground shows one or three")
    before = plain(autoencoder.normalize, shape, "normalize") if autoencoder.normalize.changes else []
    return {
        "shape": [*shape],
        "encoder": before + plain(autoencoder.encoder, shape, "encoder"),
        "decoder": plain(autoencoder.decoder, code, "decoder"),
        "head": None if classifier is None else plain(classifier.head, code, "head"),
    }


@torch.no_grad()
def ranges(autoencoder: Autoencoder, train: Tensor) -> dict[str, str]:
    """Return each code number's least and largest value over at most `MOST_CODES` images, evenly spaced."""
    step = -(-len(train) // MOST_CODES)
    codes = torch.cat([autoencoder.encode(part) for part in train[::step].split(AT_ONCE)])
    low, high = codes.aminmax(dim=0)
    if not codes.isfinite().all():
        raise AeprobeError("the codes of its training images are not finite: there is nothing to play with")
    return {"low": packed(low), "high": packed(high)}


def pictures(test: ImageDataset, seed: int) -> dict[str, Any]:
    """Choose test images, uint8, with labels, sorted by these: as many of each class as there can be.

    Args:
        test: the test images; a label below 0 is none.
        seed: chooses them.
    """
    most = max(1, min(MOST_IMAGES, MOST_IMAGE_BYTES // test.images[0].numel()))
    by_class, number = shuffled_by_class(test.labels, seed)
    chosen = by_class[number.argsort(stable=True)[:most].sort().values]
    return {"images": packed(test.images[chosen]), "labels": test.labels[chosen].tolist()}


def answers(matrix: Sequence[Sequence[int]] | None) -> list[list[int]] | None:
    """Count for each predicted class how often that was wrong in the test.

    Args:
        matrix: counts of test images by their class and by the predicted class.

    Returns:
        For each class: how many images were predicted so, how many of them wrongly, which class these were most
        often, and how many were of that one, 0 where several classes are equally frequent.

    >>> answers([[8, 1, 1], [1, 9, 2], [0, 1, 7]])
    [[9, 1, 1, 1], [11, 2, 0, 0], [10, 3, 1, 2]]
    """
    if not matrix:
        return None
    found = []
    for answer, column in enumerate(zip(*matrix, strict=True)):
        wrong = [0 if true == answer else count for true, count in enumerate(column)]
        most = max(wrong)
        clear = wrong.count(most) == 1
        found.append([sum(column), sum(wrong), wrong.index(most), most if clear else 0])
    return found
