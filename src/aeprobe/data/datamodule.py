"""The data module: images that are read once, kept as uint8 in memory, and handed out in whole batches."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from aeprobe.data.mnist import MNIST
from aeprobe.data.sampler import EpochBatches, batches_in_order, labelled, loader, seeded_permutation
from aeprobe.data.sources import NO_LABEL, Identity, Source, checked
from aeprobe.errors import AeprobeError

PART = 1_000  # images whose pixels and activations are floats at one time: 10 MB


def as_pixels(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return images as floats in [0, 1]: uint8 is divided by 255, floats pass as they are."""
    if images.is_floating_point():
        return images
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}: expected uint8, or floats in [0, 1]")
    return images.to(dtype).mul_(1 / 255)


def in_parts(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return `function(images)`, (N, …), computed some images at a time."""
    return torch.cat([function(part) for part in images.split(PART)])


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images, uint8 (N, channels, height, width), or their codes, float (N, code), and labels, int64 (N,)."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice | Tensor) -> tuple[Tensor, Tensor]:
        """Return one image, float in [0, 1], and its label; for several indices, such as a tensor's, a batch."""
        if isinstance(index, Tensor):  # a seventh of the time of images[index]
            index = index.to(self.images.device)
            images, labels = self.images.index_select(0, index), self.labels.index_select(0, index)
        else:
            images, labels = self.images[index], self.labels[index]
        return as_pixels(images), labels


class ImageDataModule(L.LightningDataModule):
    """The images of a source, MNIST by default, split into train, val and test. Batches are floats in [0, 1].

    Args:
        name: of the images.
        val_size: training images held out by a permutation seeded with `split_seed`, or a share of them, below 1;
            with 0 the test set doubles as validation.
        batch_size: of training, of all processes together; so is `eval_batch_size`, of validation and test.
        seed: the order of the training batches, with the epoch.
        augmentation: changes the training images, float (N, *shape) in [0, 1], anew in every epoch; one that has
            `epochs`, only in the first so many.
        source: of the images; None: MNIST below the root.
    """

    def __init__(
        self,
        name: str = "mnist",
        root: str = "data",
        val_size: float = 5000,
        split_seed: int = 0,
        batch_size: int = 100,
        eval_batch_size: int = 1000,
        seed: int = 0,
        augmentation: nn.Module | None = None,
        source: Source | None = None,
    ) -> None:
        super().__init__()
        self.name, self.root, self.val_size, self.split_seed = name, Path(root), val_size, split_seed
        self.source = source or MNIST(root)
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.augmentation = augmentation
        self.title = f"{name} {root}" if self.source.known_by_root else name  # in tables
        # The entries of the images in metrics.json and in checkpoints.
        self.identity = {"name": name, "val_size": val_size, "split_seed": split_seed, "title": self.title}
        self.identity |= {"noun": self.source.noun, "handwritten": self.source.handwritten}
        self.save_hyperparameters(self.identity | {"root": root, "seed": seed}, logger=False)
        self.splits: dict[str, ImageDataset] = {}  # "train", "val" and "test", after `setup`
        self.files: dict[str, Identity] = {}  # "bytes" and "sha256" of each by its name, after `setup`
        self.shape: tuple[int, ...] = ()  # of an image: channels, height and width
        self.class_names: list[str] = []
        self.labels: int | None = None  # how many training images have labels; None: all
        self.epoch_size = 0  # in images: as many as there are, so that few with labels come repeatedly

    def prepare_data(self) -> None:
        """Put the files in place and check them."""
        self.source.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Read the images and split them, once."""
        if self.splits:
            return
        images, labels, files = checked(self.source, "train")
        self.class_names, self.shape = [*self.source.class_names], tuple(images.shape[1:])
        test_images, test_labels, test_files = checked(self.source, "test")
        if test_images.shape[1:] != self.shape or [*self.source.class_names] != self.class_names:
            raise AeprobeError(
                f"data.source ({type(self.source).__name__}): its training images are {self.shape} of "
                f"{len(self.class_names)} named classes, its test images {tuple(test_images.shape[1:])} of "
                f"{len(self.source.class_names)}: they must agree"
            )
        count, held_out = len(images), self.val_size
        if isinstance(held_out, float):
            held_out = round(held_out * count)
        if not 0 <= held_out < count:
            raise AeprobeError(f"data.val_size={held_out}: must be below {count}, the images of {self.root}")
        order = seeded_permutation(count, self.split_seed, "validation")
        train, val = order[held_out:].sort().values, order[:held_out].sort().values
        test = ImageDataset(test_images, test_labels)
        self.splits = {
            "train": ImageDataset(images.index_select(0, train), labels[train]),
            "val": ImageDataset(images[val], labels[val]) if held_out else test,
            "test": test,
        }
        self.val_size, self.epoch_size, self.files = held_out, len(train), files | test_files
        self.identity |= {"val_size": held_out, "class_names": self.class_names}
        self.hparams.update(self.identity | {"files": self.files})

    def keep_labels(self, count: int | None, seed: int) -> None:
        """Train on so many images, equally many of each class, which the seed chooses; None: on all."""
        if count is None:
            return
        train, self.labels = self.splits["train"], count
        chosen = labelled(train.labels, count, seed)
        self.splits["train"] = ImageDataset(train.images[chosen], train.labels[chosen])

    def require_files(self, trained: Mapping[str, Identity], path: Path) -> None:
        """Raise AeprobeError where a file is not the one that the run or checkpoint in `path` had."""
        for name, now in self.files.items():
            before = trained.get(name, now)
            if before != now:
                raise AeprobeError(
                    f"data: {name} in {self.root} has {now['bytes']} bytes and SHA-256 {now['sha256']}, "
                    f"but {path} was trained on {before['bytes']} bytes with {before['sha256']}: "
                    "give that file back, or train anew"
                )

    def require_labels(self, *splits: str) -> None:
        """Raise AeprobeError where the images of a split have no labels."""
        if any((self.splits[split].labels == NO_LABEL).any() for split in splits):
            raise AeprobeError(
                f"data: the images of {self.root} have no labels, and a classifier learns from them: name the "
                "classes (a subfolder each, or an IDX file of labels); stage=autoencoder needs none"
            )

    def to(self, device: torch.device | str) -> None:
        """Keep the splits on a device, as they are: a batch is gathered, and becomes float, where it is used."""
        self._replace(tuple(self.splits), lambda split: (split.images.to(device), split.labels.to(device)))

    @torch.no_grad()
    def encode(
        self, encoder: Callable[[Tensor], Tensor], splits: Sequence[str] = ("train", "val", "test")
    ) -> None:
        """Replace the images of some splits by `encoder(images)`, computed once and kept as float."""
        self._replace(splits, lambda s: (in_parts(lambda part: encoder(as_pixels(part)), s.images), s.labels))

    def _replace(self, names: Sequence[str], new: Callable[[ImageDataset], tuple[Tensor, Tensor]]) -> None:
        shared = self.splits["val"] is self.splits["test"]
        for name in names:
            if not (shared and name == "val"):
                self.splits[name] = ImageDataset(*new(self.splits[name]))
        if shared:
            self.splits["val"] = self.splits["test"]

    def mean_image(self) -> Tensor:
        """Return the mean of the training images, float in [0, 1], of an image's shape."""
        images = self.splits["train"].images
        return in_parts(lambda part: as_pixels(part).sum(0, keepdim=True), images).sum(0) / len(images)

    @property
    def classes(self) -> int:
        """The number of class names; without any, one more than the largest label."""
        return len(self.class_names) or 1 + max(int(split.labels.max()) for split in self.splits.values())

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches of (images or codes, labels), in a new order each epoch."""
        split = self.splits["train"]
        batches = EpochBatches(self.epoch_size, self.batch_size, self.seed, *self._place(), images=len(split))
        return loader(split, batches)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches of the validation split, in its order."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return batches of the test split, in its order."""
        return self._in_order("test")

    def _in_order(self, name: str) -> DataLoader[Any]:
        split = self.splits[name]
        return loader(split, batches_in_order(len(split), self.eval_batch_size, *self._place()))

    def _place(self) -> tuple[int, int]:
        """Return the rank of this process, and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment the training images."""
        trainer, augmentation = self.trainer, self.augmentation
        if augmentation is None or not trainer or not trainer.training:
            return batch
        epochs = getattr(augmentation, "epochs", None)
        if epochs is not None and trainer.current_epoch >= epochs:
            return batch
        return augmentation(batch[0]), batch[1]
