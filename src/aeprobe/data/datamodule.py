"""The images: unpacked and checked once, kept as uint8 in memory, handed out in whole batches."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import MNIST

from aeprobe.data.idx_files import BUNDLE, FILES, Identity, IdxFile, unpack
from aeprobe.data.pixels import as_pixels
from aeprobe.data.sampler import EpochBatches, batches_in_order, loader, seeded_permutation
from aeprobe.errors import AeprobeError

PART = 1_000  # images whose pixels and activations are floats at one time: 10 MB


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images, uint8 (N, 1, 28, 28), or their codes, float (N, code), and labels, int64 (N,), in memory.

    A DataLoader asks for a whole batch at a time, by a tensor of indices.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice | Tensor) -> tuple[Tensor, Tensor]:
        """One image, float (1, 28, 28) in [0, 1], and its label; for several indices a batch of them."""
        if isinstance(index, Tensor):  # a seventh of the time of images[index]
            index = index.to(self.images.device)
            images, labels = self.images.index_select(0, index), self.labels.index_select(0, index)
        else:
            images, labels = self.images[index], self.labels[index]
        return as_pixels(images), labels


class MNISTDataModule(L.LightningDataModule):
    """MNIST, or a folder of IDX files of the same form, split into train, val and test.

    Batches are floats in [0, 1]: what an encoder makes of a pixel before its first layer is its own matter.

    Args:
        name: "mnist" (ROOT/MNIST/raw, unpacked from the bundle) or "folder" (ROOT itself).
        root: a directory.
        val_size: training images held out by a permutation seeded with `split_seed`; with 0 the test set
            doubles as validation.
        split_seed: chooses the held-out images.
        batch_size: of training, of all processes together.
        eval_batch_size: of validation and test, the same.
        seed: the order of the training batches, with the epoch.
        augmentation: changes the training images, float (N, 1, 28, 28) in [0, 1], anew in every epoch; where it
            has `epochs`, only in the first so many.

    Attributes:
        splits: "train", "val" and "test", after `setup`.
        files: "bytes" and "sha256" of each file by its name, as it was read by `setup`; checkpoints keep them.
    """

    def __init__(
        self,
        name: str = "mnist",
        root: str = "data",
        val_size: int = 5000,
        split_seed: int = 0,
        batch_size: int = 100,
        eval_batch_size: int = 1000,
        seed: int = 0,
        augmentation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name, self.root, self.val_size, self.split_seed = name, Path(root), val_size, split_seed
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.augmentation = augmentation
        self.identity = {"name": name, "val_size": val_size, "split_seed": split_seed}
        self.save_hyperparameters(self.identity | {"root": root, "seed": seed}, logger=False)
        self.splits: dict[str, ImageDataset] = {}
        self.files: dict[str, Identity] = {}

    def prepare_data(self) -> None:
        """Puts MNIST's files in place and checks them.

        Raises:
            AeprobeError: a file has another checksum, or the directory cannot be written.
        """
        if self.name == "mnist" and BUNDLE.is_dir():
            unpack(self.root / "MNIST" / "raw")
        elif self.name == "mnist":  # a copy of the project without its data: torchvision's mirrors
            MNIST(self.root, download=True)

    def setup(self, stage: str | None = None) -> None:
        """Reads the files and splits them, once.

        Raises:
            AeprobeError: a file is missing, malformed or changed meanwhile, or `val_size` leaves nothing to
                train on.
        """
        if self.splits:
            return
        train, val = self._read("train", self.val_size)
        test, _ = self._read("test")
        self.splits = {"train": train, "val": val if self.val_size else test, "test": test}
        self.hparams["files"] = self.files

    def to(self, device: torch.device | str) -> None:
        """Keeps the splits on a device, as they are: a batch is gathered, and becomes float, where it is used."""
        self._replace(tuple(self.splits), lambda split: (split.images.to(device), split.labels.to(device)))

    @torch.no_grad()
    def encode(
        self, encoder: Callable[[Tensor], Tensor], splits: Sequence[str] = ("train", "val", "test")
    ) -> None:
        """Replaces the images of some splits by `encoder(images)`, computed once and kept as float."""
        self._replace(splits, lambda split: (torch.cat([*map(encoder, _in_parts(split))]), split.labels))

    def _replace(self, names: Sequence[str], new: Callable[[ImageDataset], tuple[Tensor, Tensor]]) -> None:
        shared = self.splits["val"] is self.splits["test"]
        for name in names:
            if not (shared and name == "val"):
                self.splits[name] = ImageDataset(*new(self.splits[name]))
        if shared:
            self.splits["val"] = self.splits["test"]

    def mean_image(self) -> Tensor:
        """The mean of the training images, float in [0, 1], (1, 28, 28)."""
        train = self.splits["train"]
        return torch.stack([images.sum(0) for images in _in_parts(train)]).sum(0) / len(train)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image: channels, height and width."""
        return tuple(self.splits["train"].images.shape[1:])

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return 1 + max(int(split.labels.max()) for split in self.splits.values())

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of (images or codes, labels), in a new order each epoch."""
        split = self.splits["train"]
        return loader(split, EpochBatches(len(split), self.batch_size, self.seed, *self._place()))

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the validation split, in its order."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of the test split, in its order."""
        return self._in_order("test")

    def _in_order(self, name: str) -> DataLoader[Any]:
        split = self.splits[name]
        return loader(split, batches_in_order(len(split), self.eval_batch_size, *self._place()))

    def _place(self) -> tuple[int, int]:
        """This process, and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments the training images."""
        trainer, augmentation = self.trainer, self.augmentation
        if augmentation is None or not trainer or not trainer.training:
            return batch
        epochs = getattr(augmentation, "epochs", None)
        if epochs is not None and trainer.current_epoch >= epochs:
            return batch
        return augmentation(batch[0]), batch[1]

    def _read(self, split: str, held_out: int = 0) -> tuple[ImageDataset, ImageDataset]:
        """A split's images and labels without those held out, and those held out; both in the file's order."""
        folder = self.root if self.name == "folder" else self.root / "MNIST" / "raw"
        paths = [folder / name for name in FILES[split]]
        images, labels = IdxFile(paths[0], 2051, (28, 28)), IdxFile(paths[1], 2049, ())
        count = images.count
        if count != labels.count:
            raise AeprobeError(
                f"{paths[0]} has {count} images, but {paths[1]} has {labels.count} labels: they must agree"
            )
        if not 0 <= held_out < count:
            raise AeprobeError(
                f"data.val_size={held_out}: {self.root} has {count} training images; hold out fewer, 0 or more"
            )
        apart = torch.zeros(count, dtype=torch.bool)
        apart[seeded_permutation(count, self.split_seed)[:held_out]] = True
        place = apart.int().argsort(stable=True).argsort()  # of each item: those held out come last
        sizes = [count - held_out, held_out]
        pixels, numbers = (_read_into_place(file, place).split(sizes) for file in (images, labels))
        self.files |= {file.path.name: file.identity for file in (images, labels)}
        kept, out = (ImageDataset(of.unsqueeze(1), by.long()) for of, by in zip(pixels, numbers, strict=True))
        return kept, out


def _read_into_place(file: IdxFile, place: Tensor) -> Tensor:
    """The items of a file, uint8 (items, *shape), each at its place, without a second copy of a large file."""
    whole = torch.empty(file.count, *file.shape, dtype=torch.uint8)
    first = 0
    for chunk in file.chunks():
        items = torch.frombuffer(chunk, dtype=torch.uint8).view(-1, *file.shape)
        whole[place[first : first + len(items)]] = items
        first += len(items)
    return whole


def _in_parts(split: ImageDataset) -> Iterator[Tensor]:
    """Its images as floats, some at a time."""
    return (split[first : first + PART][0] for first in range(0, len(split), PART))
