"""The seam for images: one class for each kind of source. A dataset of one's own is a class of this kind."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aeprobe.errors import AeprobeError, first_line

NO_LABEL = -1  # of an image whose class is not known
MOST_CLASSES = 2**12  # their confusion matrix takes 134 MB
LONGEST = 18  # characters of a class's name, in a figure
Identity = dict[str, Any]


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
        raise AeprobeError(f"{name}: {type(error).__name__}: {first_line(error)}") from error
    right = isinstance(images, Tensor) and images.dtype == torch.uint8 and images.ndim == 4 and images.numel()
    if labels is not None and right:
        right = isinstance(labels, Tensor) and labels.dtype == torch.int64 and labels.shape == images.shape[:1]
    if not right:
        given = (f"{getattr(one, 'dtype', type(one))} {[*getattr(one, 'shape', [])]}" for one in (images, labels))
        raise AeprobeError(
            f"{name}: gives {' and '.join(given)}: expected images, uint8 (N, channels, height, width), and "
            "labels, int64 (N,) or None, at least one of each"
        )
    names = [*source.class_names]
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


@dataclass(frozen=True)
class Classes:
    r"""Names of the classes, in figures and sentences.

    Args:
        noun: the word for a class, such as "digit".
        names: of the labels 0, 1, …; without any, a class is called by its number.

    >>> Classes()(7), Classes().short(7), Classes("class", ["cat", "pounds of $"])(1), Classes().pick([3, 5])
    ('digit 7', '7', 'pounds of $', '3, 5')
    """

    noun: str = "digit"
    names: Sequence[str] = ()

    def __call__(self, label: int) -> str:
        """Name a class in a sentence."""
        if label == NO_LABEL:
            return "an image without a label"
        return self.names[label] if self.names else f"{self.noun} {label}"

    def short(self, label: int) -> str:
        """Name a class where it is clear that it is one; nothing for an image without a label."""
        return "" if label == NO_LABEL else self.names[label] if self.names else str(label)

    def drawn(self, label: int) -> str:
        """Shorten the same for a figure, and escape $, which begins a formula in matplotlib."""
        name = self.short(label)
        return (name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…").replace("$", r"\$")

    def pick(self, labels: Iterable[int]) -> str:
        """Name several classes in a sentence."""
        return ", ".join(map(self.short, labels))


DIGITS = Classes()
