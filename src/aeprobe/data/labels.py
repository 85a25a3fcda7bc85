"""Which images may be known by their labels, where only some of them are."""

import torch
from torch import Tensor

from aeprobe.data.sampler import seeded_permutation
from aeprobe.errors import AeprobeError


def labelled(labels: Tensor, count: int, seed: int, key: str = "data.labels") -> Tensor:
    """The places of `count` images, int64 (count,), sorted: equally many of each class, chosen by the seed alone.

    What does not divide by the classes is one more image of some of them, which the seed chooses. More images of
    the same seed contain the fewer.

    Args:
        labels: int64 (N,); one below 0 is none, and its image is not chosen.
        count: at least one image of each class that there is.
        seed: from 0.
        key: the setting that asked for so many, for the error.

    Raises:
        AeprobeError: there are more classes than that, or a class has fewer images than its share.
    """
    places = (labels >= 0).nonzero().squeeze(1)
    classes, owners, sizes = labels[places].unique(return_inverse=True, return_counts=True)
    if not 0 < len(classes) <= count:
        raise AeprobeError(
            f"{key}={count}: the labels have {len(classes)} classes: give one image of each or more"
        )
    share, rest = divmod(count, len(classes))
    order = seeded_permutation(len(classes), seed, stream=1)
    more = order[sizes[order] > share][:rest]  # of the classes that have one more
    least = int(sizes.argmin())
    if sizes[least] < share or len(more) < rest:
        raise AeprobeError(
            f"{key}={count}: class {int(classes[least])} has {int(sizes[least])} training images, fewer than its "
            f"share; {len(classes) * int(sizes[least])} or fewer leave every class as many"
        )
    wanted = torch.full_like(sizes, share)
    wanted[more] += 1
    shuffled = seeded_permutation(len(places), seed)
    by_class = shuffled[owners[shuffled].argsort(stable=True)]
    number = torch.arange(len(places)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)  # within its class
    chosen: Tensor = places[by_class[number < wanted.repeat_interleave(sizes)]]
    return chosen.sort().values
