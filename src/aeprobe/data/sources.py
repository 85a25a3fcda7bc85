"""The seam for images: one class for each kind of source. A dataset of one's own is a class of this kind."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from aeprobe.data.idx_files import Identity
from aeprobe.errors import AeprobeError

NO_LABEL = -1  # of an image whose class is not known
MOST_CLASSES = 2**12  # their confusion matrix takes 134 MB


class Source(ABC):
    """Images, perhaps with labels, and the names of their classes.

    A subclass implements `read`. Its arguments are the keys of `data.source`; one called `root` is `data.root`.

    Attributes:
        files: "bytes" and "sha256" of each file by its name, after `read`: a run goes on with no others. If a
            subclass leaves it empty, the images themselves are summed up.
    """

    class_names: Sequence[str] = ()  # of the labels 0, 1, …; empty where classes are called by their numbers
    noun = "class"  # the word for a class, in figures and sentences
    handwritten = False  # a person's picture is prepared as MNIST's makers did before it is encoded
    known_by_root = False  # `data.root` tells these images from others of the same name
    fetched = False  # `prepare` puts the files below `root`, so that a checkpoint's data may lie elsewhere now
    parts: Mapping[str, slice] = {}  # of the test images that are measured apart too, by their names
    remark = ""  # a sentence on the comparison of splits and parts

    def __init__(self) -> None:
        self.files: dict[str, Identity] = {}

    def missing(self) -> Path | None:
        """Return a file that `prepare` would put in place; None: there is none."""
        return None

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Put the files in place, by unpacking or downloading; called before `read`, in every process."""

    @abstractmethod
    def read(self, split: str) -> tuple[Tensor, Tensor | None]:
        """Return the images, uint8 (N, channels, height, width), and labels, int64 (N,), of "train" or "test".

        Labels may be None: stage 1 needs none.
        """


def checked(source: Source, split: str) -> tuple[Tensor, Tensor, dict[str, Identity]]:
    """Read a split and hold it against the promise of `Source.read`; return images, labels and files' identities.

    Without labels, each is NO_LABEL.
    """
    name = f"data.source ({type(source).__name__}), {split}"
    source.files = {}
    try:
        images, labels = source.read(split)
    except AeprobeError:
        raise
    except Exception as error:  # of any kind, from a class of somebody's own
        raise AeprobeError(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    right = isinstance(images, Tensor) and images.dtype == torch.uint8 and images.ndim == 4 and images.numel()
    if labels is not None and right:
        right = isinstance(labels, Tensor) and labels.dtype == torch.int64 and labels.shape == images.shape[:1]
    if not right:
        given = " and ".join(
            f"{one.dtype} {tuple(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
            for one in (images, labels)
        )
        raise AeprobeError(
            f"{name}: gives {given}: expected images, uint8 (N, channels, height, width), and labels, int64 (N,) "
            "or None, at least one of each"
        )
    names = [*source.class_names]
    if not all(isinstance(one, str) and one for one in names) or not len({*names}) == len(names) <= MOST_CLASSES:
        raise AeprobeError(f"{name}: class_names={names!s:.80}: expected up to {MOST_CLASSES} different texts")
    most = len(names) or MOST_CLASSES
    if labels is None:
        labels = torch.full((len(images),), NO_LABEL)
    elif not 0 <= labels.min() <= labels.max() < most:
        raise AeprobeError(f"{name}: labels from {labels.min()} to {labels.max()}: expected 0 to {most - 1}")
    if source.files:
        return images, labels, source.files
    identities = {}  # other names of classes give another sum
    for kind, tensor, more in (("images", images, images.shape[1:]), ("labels", labels, names)):
        digest = hashlib.sha256(repr([*more]).encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        identities[f"{split}-{kind}"] = {"bytes": tensor.nbytes, "sha256": digest.hexdigest()}
    return images, labels, identities
