"""The images of each batch: the order of an epoch, and the part of each of several processes."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Batch = tuple[Tensor, Tensor]  # images or codes, and labels


def seeded_permutation(size: int, seed: int, stream: int = 0) -> Tensor:
    """A permutation of 0 … size-1, int64 (size,), from its own generator: one for each (seed, stream)."""
    generator = torch.Generator().manual_seed(seed * 2**20 + stream)
    return torch.randperm(size, generator=generator)


class EpochBatches(Sampler[Tensor]):
    """Batches of indices in a random order that depends on (seed, epoch) alone; Lightning calls `set_epoch`.

    Of several processes, process `rank` of `world` takes every world-th index of each batch, so that
    together they take the same steps as one. Where a small last batch leaves nothing for some of them, they
    take its first sample, with a share of 0: the others wait for their gradients.

    Args:
        size: number of samples.
        batch: their number in a step of all processes together; the last batch may be smaller.
        seed: of the order.
        rank: this process.
        world: number of processes.
        images: how many there are, where they are fewer than `size`: an epoch takes them repeatedly.
    """

    def __init__(
        self, size: int, batch: int, seed: int, rank: int = 0, world: int = 1, images: int | None = None
    ) -> None:
        self.size, self.batch, self.seed, self.rank, self.world = size, batch, seed, rank, world
        self.images = images or size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.batch)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: when a run is resumed, Lightning asks for the iterator before it sets the epoch.
        order = seeded_permutation(self.size, self.seed, self.epoch + 1)
        if self.images < self.size:
            order %= self.images
        for batch in order.split(self.batch):
            part = batch[self.rank :: self.world]
            yield part if len(part) else batch[:1]

    @property
    def sizes(self) -> Tensor:
        """Samples in each step of all processes together, float64 (steps,)."""
        return torch.tensor([self._size(step) for step in range(len(self))], dtype=torch.float64)

    @property
    def shares(self) -> Tensor:
        """Of each step, float64 (steps,), as in `share`."""
        return torch.tensor([self.share(step) for step in range(len(self))], dtype=torch.float64)

    def share(self, step: int) -> float:
        """This process's part of a step, relative to an equal one: the mean over the processes is 1.

        DDP takes the mean of the processes' gradients. With each process's mean over samples multiplied by its
        share, losses and metrics alike, the mean over the processes is that of the whole batch.
        """
        whole = self._size(step)
        return len(range(self.rank, whole, self.world)) * self.world / whole

    def _size(self, step: int) -> int:
        return min(self.batch, self.size - step * self.batch)


def batches_in_order(size: int, batch: int, rank: int = 0, world: int = 1) -> list[Tensor]:
    """Batches of indices 0 … size-1, of which a process takes its part, every world-th index.

    Every process has as many batches, since the others wait for it at each; its part of a small one may be empty.

    Args:
        size: number of samples.
        batch: their number in a batch of all processes together.
        rank: this process.
        world: number of processes.
    """
    return [whole[rank::world] for whole in torch.arange(size).split(batch)]


def loader(split: Dataset[Any], batches: Iterable[Tensor]) -> DataLoader[Any]:
    """Hands the indices of whole batches to the dataset: no Python runs per sample."""
    # A generator beside torch's: else an iterator takes a number from that, earlier in a resumed run than else.
    alone = torch.Generator()
    return DataLoader(split, sampler=batches, batch_size=None, collate_fn=lambda batch: batch, generator=alone)
