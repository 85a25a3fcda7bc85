"""Random streams, the order of the images in an epoch, and the part of each batch that a process takes."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Batch = tuple[Tensor, Tensor]  # images or codes, and labels


def stream(purpose: str, seed: int, epoch: int = 0, rank: int = 0) -> int:
    """Return the seed of a random stream of its own, 64 bits, for each (purpose, seed, epoch, rank).

    torch's generator on a CPU keeps the lower 32 bits of a seed, so numbers packed side by side would lose some of
    them; a hash (BLAKE2) spreads all of them over every bit. Epochs are counted from 0.
    """
    text = f"{purpose} {seed} {epoch} {rank}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def seeded_permutation(size: int, seed: int, purpose: str, epoch: int = 0) -> Tensor:
    """Return a permutation of 0 … size-1, int64 (size,), drawn from the `stream` of these arguments."""
    generator = torch.Generator().manual_seed(stream(purpose, seed, epoch))
    return torch.randperm(size, generator=generator)


def evenly_spaced(count: int, most: int) -> Tensor:
    """Return at most `most` indices of `count` images, int64: MNIST's first test images are not like its last.

    >>> evenly_spaced(10, 4).tolist(), evenly_spaced(3, 4).tolist()
    ([0, 2, 5, 7], [0, 1, 2])
    """
    chosen = min(count, most)
    return torch.arange(chosen) * count // max(chosen, 1)


class EpochBatches(Sampler[Tensor]):
    """Batches of indices in a random order that depends on (seed, epoch) alone; Lightning calls `set_epoch`.

    Of several processes, process `rank` of `world` takes every world-th index of each batch, so that
    together they take the same steps as one. No part has one sample alone, of which a batch norm has no variance:
    one that is left over joins the last batch, and a batch of fewer than two for each process is divided among the
    first of them. The others take its first two samples, with a share of 0: they are waited for.

    Args:
        size: number of samples in an epoch.
        batch: their number in a step of all processes together; the last batch may be smaller, or larger by one.
        seed: of the order.
        rank: this process.
        world: number of processes.
        images: their number, where it is below `size`: an epoch takes them repeatedly.
    """

    def __init__(
        self, size: int, batch: int, seed: int, rank: int = 0, world: int = 1, images: int | None = None
    ) -> None:
        self.size, self.batch, self.seed, self.rank, self.world = size, batch, seed, rank, world
        self.images = images or size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return steps(self.size, self.batch)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: when a run is resumed, Lightning asks for the iterator before it sets the epoch.
        order = seeded_permutation(self.size, self.seed, "order", self.epoch)
        if self.images < self.size:
            order %= self.images
        for batch in order.split([self._size(step) for step in range(len(self))]):
            parts = self._parts(len(batch))
            yield batch[self.rank :: parts] if self.rank < parts else batch[:2]

    @property
    def sizes(self) -> Tensor:
        """Count the samples in each step of all processes together, float64 (steps,)."""
        return torch.tensor([self._size(step) for step in range(len(self))], dtype=torch.float64)

    @property
    def shares(self) -> Tensor:
        """Return the `share` of each step, float64 (steps,)."""
        return torch.tensor([self.share(step) for step in range(len(self))], dtype=torch.float64)

    def share(self, step: int) -> float:
        """Return this process's part of a step, relative to an equal one: the mean over the processes is 1.

        DDP takes the mean of the processes' gradients. With each process's mean over samples multiplied by its
        share, losses and metrics alike, the mean over the processes is that of the whole batch.
        """
        size = self._size(step)
        parts = self._parts(size)
        return len(range(self.rank, size, parts)) * self.world / size if self.rank < parts else 0.0

    def _size(self, step: int) -> int:
        return self.batch if step < len(self) - 1 else self.size - step * self.batch

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
