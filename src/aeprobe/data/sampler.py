"""Random streams, the choice of labelled images, the order of an epoch, and each process's part of a batch."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from aeprobe.errors import AeprobeError

Batch = tuple[Tensor, Tensor]  # images or codes, and labels


def stream(purpose: str, seed: int, epoch: int = 0, rank: int = 0) -> int:
    """Return the seed of a random stream of its own, 64 bits, for each (purpose, seed, epoch, rank).

    torch's generator keeps the lower 32 bits of a seed; a hash spreads all four over them. Epochs count from 0.
    """
    text = f"{purpose} {seed} {epoch} {rank}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def seeded_permutation(size: int, seed: int, purpose: str, epoch: int = 0) -> Tensor:
    """Return a permutation of 0 … size-1, int64 (size,), drawn from the `stream` of these arguments."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(stream(purpose, seed, epoch)))


def evenly_spaced(count: int, most: int) -> Tensor:
    """Return at most `most` indices of `count` images, int64: MNIST's first test images are not like its last.

    >>> evenly_spaced(10, 4).tolist(), evenly_spaced(3, 4).tolist()
    ([0, 2, 5, 7], [0, 1, 2])
    """
    chosen = min(count, most)
    return torch.arange(chosen) * count // max(chosen, 1)


def labelled(labels: Tensor, count: int, seed: int, key: str = "data.labels") -> Tensor:
    """Choose `count` images, equally many of each class, by the seed alone; return their places, int64, sorted.

    If they cannot be equal, the seed chooses the classes with one more. More images of the same seed contain the
    fewer. An image whose label, of int64 (N,), is below 0 is not chosen; `key` is the setting that errors name.
    """
    places = (labels >= 0).nonzero().squeeze(1)
    classes, owners, sizes = labels[places].unique(return_inverse=True, return_counts=True)
    if not 0 < len(classes) <= count:
        raise AeprobeError(f"{key}={count}: the labels have {len(classes)} classes: give one image of each")
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


class EpochBatches(Sampler[Tensor]):
    """Batches of indices in a random order that depends on (seed, epoch) alone; Lightning calls `set_epoch`.

    Process `rank` of `world` takes every world-th index of each batch, so that together they take the same steps
    as one. No part has one sample alone, of which a batch norm has no variance: one that is left over joins the
    last batch, and a batch of fewer than two for each process is divided among the first of them. The others take
    its first two samples, with a share of 0: they are waited for.

    Args:
        size: number of samples in an epoch; of fewer `images` it takes each repeatedly.
        batch: their number in a step of all processes together; the last batch may be smaller, or larger by one.

    Attributes:
        sizes: the number of samples in each step of all processes together, float64 (steps,).
        shares: this process's part of each step, relative to an equal one, float64 (steps,). DDP takes the mean of
            the processes' gradients: with each one's mean over samples multiplied by its share, losses and metrics
            alike, the mean over the processes is that of the whole batch.
    """

    def __init__(
        self, size: int, batch: int, seed: int, rank: int = 0, world: int = 1, images: int | None = None
    ) -> None:
        self.size, self.seed, self.rank, self.world = size, seed, rank, world
        self.images = images or size
        self.epoch = 0
        count = steps(size, batch)
        self._sizes = [batch] * (count - 1) + [size - (count - 1) * batch]
        self.sizes = torch.tensor(self._sizes, dtype=torch.float64)
        self.shares = torch.tensor([self._share(size) for size in self._sizes], dtype=torch.float64)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: when a run is resumed, Lightning asks for the iterator before it sets the epoch.
        order = seeded_permutation(self.size, self.seed, "order", self.epoch)
        if self.images < self.size:
            order %= self.images
        for batch in order.split(self._sizes):
            parts = self._parts(len(batch))
            yield batch[self.rank :: parts] if self.rank < parts else batch[:2]

    def _share(self, size: int) -> float:
        parts = self._parts(size)
        return len(range(self.rank, size, parts)) * self.world / size if self.rank < parts else 0.0

    def _parts(self, size: int) -> int:
        """Return how many processes have a part of so many samples."""
        return max(1, min(self.world, size // 2))


def steps(size: int, batch: int) -> int:
    """Return how many batches of training so many samples make: one that is left over joins the last batch."""
    return -(-size // batch) - (size % batch == 1 and size > batch)


def batches_in_order(size: int, batch: int, rank: int = 0, world: int = 1) -> list[Tensor]:
    """Return batches of indices 0 … size-1, of which a process takes its part, every world-th index.

    Every process has as many batches, since the others wait for it at each; its part of a small one may be empty.
    """
    return [indices[rank::world] for indices in torch.arange(size).split(batch)]


def loader(split: Dataset[Any], batches: Iterable[Tensor]) -> DataLoader[Any]:
    """Return a loader that hands the indices of whole batches to the dataset: no Python runs per sample."""
    # Else an iterator draws from torch's own generator, and in a resumed run earlier than in the first one.
    alone = torch.Generator()
    return DataLoader(split, sampler=batches, batch_size=None, collate_fn=lambda batch: batch, generator=alone)
