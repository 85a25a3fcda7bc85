"""Which training images have a label, where there are few."""

import torch
from torch import Tensor

from aeprobe.data.sampler import seeded_permutation
from aeprobe.errors import AeprobeError


def labelled(labels: Tensor, count: int, seed: int) -> Tensor:
    """So many images, equally many of each class, as sorted indices, int64 (count,).

    Where the classes do not divide `count`, some of them, which the seed chooses, have one more.

    Args:
        labels: of all images, int64 (N,), 0 or above.
        count: at least one for each class.
        seed: chooses the images.

    Raises:
        AeprobeError: there are fewer than one for each class, or a class has fewer images than its share.
    """
    classes = labels.unique()
    if count < len(classes):
        raise AeprobeError(f"data.labels={count}: there are {len(classes)} classes; give each a label or more")
    order = seeded_permutation(len(labels), seed)
    shares = torch.full((len(classes),), count // len(classes))
    shares[seeded_permutation(len(classes), seed)[: count % len(classes)]] += 1
    chosen, fewest = [], int(labels.unique(return_counts=True)[1].min())
    for label, share in zip(classes.tolist(), shares.tolist(), strict=True):
        of_class = order[labels[order] == label]
        if len(of_class) < share:
            raise AeprobeError(
                f"data.labels={count}: class {label} has {len(of_class)} training images, fewer than its share of "
                f"{share}; give {fewest * len(classes)} or fewer, or null for all"
            )
        chosen.append(of_class[:share])
    return torch.cat(chosen).sort().values
