"""The choice of images whose labels are known, where only some are."""

import torch
from torch import Tensor

from aeprobe.data.sampler import seeded_permutation
from aeprobe.errors import AeprobeError


def labelled(labels: Tensor, count: int, seed: int, key: str = "data.labels") -> Tensor:
    """Choose `count` images, equally many of each class, by the seed alone; return their places, int64, sorted.

    The rest of a division by the classes is one more image of some of them, which the seed chooses. More images of
    the same seed contain the fewer. An image whose label, of int64 (N,), is below 0 is not chosen; `key` is the
    setting that errors name.
    """
    places = (labels >= 0).nonzero().squeeze(1)
    classes, owners, sizes = labels[places].unique(return_inverse=True, return_counts=True)
    if not 0 < len(classes) <= count:
        raise AeprobeError(
            f"{key}={count}: the labels have {len(classes)} classes: give one image of each or more"
        )
    share, rest = divmod(count, len(classes))
    order = seeded_permutation(len(classes), seed, "larger classes")
    more = order[sizes[order] > share][:rest]  # of the classes that have one more
    least = int(sizes.argmin())
    if sizes[least] < share or len(more) < rest:
        raise AeprobeError(
            f"{key}={count}: class {int(classes[least])} has {int(sizes[least])} training images, fewer than its "
            f"share; {len(classes) * int(sizes[least])} or fewer leave every class as many"
        )
    wanted = torch.full_like(sizes, share)
    wanted[more] += 1
    by_class, number = shuffled_by_class(owners, seed)
    chosen: Tensor = places[by_class[number < wanted.repeat_interleave(sizes)]]
    return chosen.sort().values


def shuffled_by_class(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the places of labels, int64 (N,), class after class and shuffled within, and each one's number there.

    >>> by_class, number = shuffled_by_class(torch.tensor([1, 0, 1, 1]), seed=0)
    >>> by_class[0].item(), sorted(by_class[1:].tolist()), number.tolist()
    (1, [0, 2, 3], [0, 0, 1, 2])
    """
    sizes = labels.unique(return_counts=True)[1]
    shuffled = seeded_permutation(len(labels), seed, "labels")
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    return by_class, torch.arange(len(labels)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
