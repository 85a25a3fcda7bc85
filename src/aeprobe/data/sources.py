"""Where images come from: one class for each kind of source. A dataset of one's own is a class of this kind."""

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
    """Images, perhaps with labels, and what their classes are called.

    A subclass implements `read`. Its arguments are the keys of `data.source`; one called `root` is `data.root`.

    Attributes:
        class_names: of the labels 0, 1, …; empty where classes are called by their numbers.
        files: "bytes" and "sha256" of each file by its name, after `read`: a run goes on with no others. Where a
            subclass leaves it empty, the images themselves are summed up.
        shape: of an image, where it is known before any is read.
        fresh: whether the tensors that `read` returns are held by nobody else, so that no copy of them is needed.
        fetched: whether `prepare` puts the files below `root`, so that a checkpoint's data may lie elsewhere now.
        parts: slices of the test images that are measured apart too, by their names.
        remark: a sentence on what a comparison of splits and parts shows.
    """

    class_names: Sequence[str] = ()
    shape: tuple[int, int, int] | None = None
    fresh = False
    fetched = False
    parts: Mapping[str, slice] = {}
    remark = ""

    def __init__(self) -> None:
        self.files: dict[str, Identity] = {}

    def missing(self) -> Path | None:
        """A file that `prepare` would put in place; None: there is none."""
        return None

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Puts the files in place, by unpacking or downloading; called before `read`, in every process.

        Raises:
            AeprobeError: that cannot be done.
        """

    @abstractmethod
    def read(self, split: str) -> tuple[Tensor, Tensor | None]:
        """The images, uint8 (N, channels, height, width), and labels, int64 (N,), of "train" or "test".

        Labels may be None: stage 1 needs none.
        """


def checked(source: Source, split: str) -> tuple[Tensor, Tensor, dict[str, Identity]]:
    """What a source gives of a split, held against what it should give, and the identities of its files.

    Without labels, each is NO_LABEL.

    Raises:
        AeprobeError: it gives something else, or cannot read.
    """
    name = f"data.source ({type(source).__name__}), {split}"
    source.files = {}
    try:
        images, labels = source.read(split)
    except AeprobeError:
        raise
    except Exception as error:  # whatever a class of somebody's own ends in
        raise AeprobeError(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    unlabelled = labels is None
    if labels is None:
        labels = torch.full((len(images),) if isinstance(images, Tensor) and images.ndim else (0,), NO_LABEL)
    for what, tensor, dtype, sides, form in (
        ("images", images, torch.uint8, 4, "(N, channels, height, width)"),
        ("labels", labels, torch.int64, 1, "(N,)"),
    ):
        if not isinstance(tensor, Tensor) or tensor.dtype != dtype or tensor.ndim != sides:
            given = (
                f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            )
            raise AeprobeError(f"{name}: its {what} are {given}, expected {dtype} {form}")
    if len(images) != len(labels) or not images.numel():
        raise AeprobeError(
            f"{name}: {len(images)} images of {tuple(images.shape[1:])} and {len(labels)} labels: expected as "
            "many of each, at least one"
        )
    names = [*source.class_names]
    if not all(isinstance(one, str) and one for one in names) or not len({*names}) == len(names) <= MOST_CLASSES:
        raise AeprobeError(
            f"{name}: class_names={names!s:.80}: expected at most {MOST_CLASSES} texts, each another"
        )
    low, high, most = int(labels.min()), int(labels.max()), len(names) or MOST_CLASSES
    if not unlabelled and (low < 0 or high >= most):
        raise AeprobeError(
            f"{name}: its labels go from {low} to {high}, expected 0 to {most - 1}"
            + (f" for {most} class names" if names else "")
        )
    if not source.fresh:
        images, labels = images.clone(memory_format=torch.contiguous_format), labels.clone()
    return images, labels, source.files or _identities(split, images, labels, names)


def _identities(split: str, images: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, Identity]:
    """Sums over what was read, for a source that names no files; other names of classes give another one."""
    found = {}
    for what, tensor, more in (("images", images, images.shape[1:]), ("labels", labels, names)):
        digest = hashlib.sha256(repr([*more]).encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        found[f"{split}-{what}"] = {"bytes": tensor.nbytes, "sha256": digest.hexdigest()}
    return found
