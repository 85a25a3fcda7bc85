"""A folder of pictures, one subfolder a class: each is decoded once, and all are kept in one file of bytes."""

import hashlib
import json
import logging
import os
import stat
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import aeprobe.runtime

import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from aeprobe.data.pictures import ENDS, decoded
from aeprobe.data.sampler import seeded_permutation
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError, printable
from aeprobe.files import require_regular, write_atomically

log = logging.getLogger("aeprobe")
SPLITS = ("train", "test")
MOST_SIDE = 1024
FORM = 2  # of what is kept; another number makes it anew


class Picture(NamedTuple):
    """A file, as the folder lists it; `fault` says why it is not opened."""

    path: str  # below the folder
    split: str
    label: int
    bytes: int
    changed: int
    fault: str = ""


class ImageFolder(Source):
    """Pictures of any size and mode (PNG, JPEG, WebP, BMP, GIF, TIFF, PPM), in one subfolder for each class.

    Either ROOT/train/CLASS and ROOT/test/CLASS, or ROOT/CLASS with a share of each class as test images. Without
    subfolders for classes, the pictures lie in ROOT/train and ROOT/test, or in ROOT, and have no labels. The
    shorter side is resized to `size`, and the middle is cut out; what is transparent becomes white, and a photo is
    turned as its camera says. Names that begin with a dot are ignored. A picture that cannot be read is left out
    with a warning. The images are kept in a file below data/images in the working directory, which is made again
    when a picture is added, removed or changed.

    Args:
        root: the folder.
        size: height and width of the images, 1 to 1024.
        channels: 1 for greyscale, 3 for colours.
        test_share: of one folder's pictures, above 0 and below 1.
        split_seed: chooses them; the same for runs of every seed, so that all are tested on the same images.
    """

    fresh = True

    def __init__(
        self, root: str, size: int = 32, channels: int = 3, test_share: float = 1 / 6, split_seed: int = 0
    ) -> None:
        super().__init__()
        if type(size) is not int or not 1 <= size <= MOST_SIDE:
            raise ValueError(f"size={size}: must be from 1 to {MOST_SIDE}")
        if channels not in (1, 3):
            raise ValueError(f"channels={channels}: must be 1 (greyscale) or 3 (colours)")
        if not 0 < test_share < 1:
            raise ValueError(f"test_share={test_share}: must be above 0 and below 1")
        self.root, self.size, self.channels = Path(root), size, channels
        self.test_share, self.split_seed = test_share, split_seed
        place = json.dumps([str(self.root.resolve()), size, channels]).encode()
        name = f"{self.root.resolve().name}-{hashlib.sha256(place).hexdigest()[:16]}.uint8"
        self._listed: list[Picture] = []
        self.kept = Path.cwd() / "data" / "images" / name

    def read(self, split: str) -> tuple[Tensor, Tensor | None]:
        """As `Source`; decodes the pictures where their images are not kept yet.

        Raises:
            AeprobeError: there is no such folder, a class has no picture that can be read, or the images cannot be
                kept.
        """
        try:
            pictures = self._listed or self._list()
            self._listed = pictures if split == "train" else []  # 60,000 take half a second
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.kept}.lock"):  # of several processes the first decodes
                try:
                    images, faults = self._read_kept(pictures, split)
                except (OSError, LookupError, TypeError, ValueError):  # absent, of other pictures, or damaged
                    self._decode_all(pictures)
                    images, faults = self._read_kept(pictures, split)
        except OSError as error:
            raise AeprobeError(f"data: {error.filename or self.kept}: {error.strerror or error}") from error
        own = [picture for picture in pictures if picture.split == split]
        for picture in own:
            if fault := faults.get(picture.path):
                log.warning("data: %s is left out: %s", printable(str(self.root / picture.path)), fault)
        labels = torch.tensor([picture.label for picture in own if picture.path not in faults], dtype=torch.int64)
        there = labels.bincount(minlength=len(self.class_names))
        lost = [name for name, count in zip(self.class_names, there, strict=False) if not count]
        if not len(labels) or (lost and split == "train"):
            what = "none" if not len(labels) else f"none of class {lost[0]}"
            raise AeprobeError(f"data: of the {split} pictures in {self.root} {what} can be read")
        return images, labels if self.class_names else None

    def _list(self) -> list[Picture]:
        """Every picture, those of training first, by class and name; gives the classes their names."""
        apart = [(self.root / split).is_dir() for split in SPLITS]
        if any(apart) and not all(apart):
            raise AeprobeError(f"data: {self.root} has a folder train or test, but not the other")
        folders = {split: _classes(self.root / split) for split in SPLITS} if all(apart) else {}
        names = folders["train"] if folders else _classes(self.root)
        if strange := {*folders.get("test", ())} - {*names}:
            raise AeprobeError(f"data: {self.root / 'test' / min(strange)} is of a class that train does not have")
        self.class_names = [*map(printable, filter(None, names))]
        found: dict[str, list[Picture]] = {split: [] for split in SPLITS}
        for label, name in enumerate(names):
            for split in folders or ("train",):
                below = self.root / split / name if folders else self.root / name
                path = str(below.relative_to(self.root))
                own = [*_pictures(path, self.root, split, label)] if below.is_dir() else []
                if not own and split == "train":
                    raise AeprobeError(f"data: {below} has no picture (of {' '.join(ENDS)})")
                found[split] += own
            if not folders:
                found["train"][-len(own) :], tested = self._divided(own)
                found["test"] += tested
        return [*found["train"], *found["test"]]

    def _divided(self, own: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
        """A class's pictures for training and for test, one at least for each where there are two."""
        count = min(len(own) - 1, max(1, round(self.test_share * len(own))))
        tested = {*seeded_permutation(len(own), self.split_seed)[:count].tolist()}
        test = [p._replace(split="test") for i, p in enumerate(own) if i in tested]
        return [p for i, p in enumerate(own) if i not in tested], test

    def _decode_all(self, pictures: Sequence[Picture]) -> None:
        """Writes the images of all pictures that can be read, and at the end what they were made of."""
        needed = len(pictures) * self.channels * self.size**2
        aeprobe.runtime.require_memory(needed, f"data.size={self.size}: {len(pictures)} images take")

        def content() -> Iterator[bytes]:
            faults, sums = dict[str, str](), dict.fromkeys(SPLITS, 0)
            for picture in tqdm(pictures, desc="reading pictures", unit="", disable=None, leave=False):
                try:
                    image = self._decode(picture)
                except Exception as error:  # what a broken file ends in can be any
                    faults[picture.path] = printable(f"{str(error) or type(error).__name__:.200}")
                    continue
                sums[picture.split] = zlib.crc32(image, sums[picture.split])
                yield image
            end = json.dumps({"key": self._key(pictures), "sums": sums, "faults": faults}).encode()
            yield end + len(end).to_bytes(4, "big")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's, about files that it reads all the same
            write_atomically(self.kept, content())

    def _decode(self, picture: Picture) -> bytes:
        if picture.fault:
            raise ValueError(picture.fault)
        return decoded(self.root / picture.path, self.channels, self.size, self.size).tobytes()

    def _read_kept(self, pictures: Sequence[Picture], split: str) -> tuple[Tensor, dict[str, str]]:
        """The images of a split, and why which pictures have none.

        Raises:
            OSError, LookupError, TypeError, ValueError: nothing is kept, it is of other pictures, or damaged.
        """
        require_regular(self.kept)
        with self.kept.open("rb") as file:
            size = file.seek(-4, os.SEEK_END) + 4
            length = int.from_bytes(file.read(4), "big")
            file.seek(size - 4 - length)
            end = json.loads(file.read(length))
            faults: dict[str, str] = end["faults"]
            whole = [picture.split for picture in pictures if picture.path not in faults]
            item = self.channels * self.size**2
            if end["key"] != self._key(pictures) or size != len(whole) * item + length + 4:
                raise ValueError("of other pictures")
            images = torch.empty(whole.count(split), self.channels, self.size, self.size, dtype=torch.uint8)
            file.seek(whole.index(split) * item if split in whole else 0)
            pixels = images.view(-1).numpy().data
            if file.readinto(pixels) != len(pixels) or zlib.crc32(pixels) != end["sums"][split]:
                raise ValueError("damaged")
        return images, faults

    def _key(self, pictures: Sequence[Picture]) -> str:
        rows = json.dumps([FORM, self.size, self.channels, pictures])
        return hashlib.sha256(rows.encode()).hexdigest()


def _classes(folder: Path) -> list[str]:
    """The names of its subfolders, in their order; of a folder that holds pictures alone, one empty name."""
    if not folder.is_dir():
        raise AeprobeError(f"data: {folder} is no folder: give one of pictures, data.root=DIR")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
    if not names and not any(entry.name.lower().endswith(ENDS) for entry in os.scandir(folder)):
        raise AeprobeError(
            f"data: {folder} has no subfolders and no picture: give it one subfolder for each class, with its "
            "pictures, or pictures alone, without labels"
        )
    return names or [""]


def _pictures(folder: str, root: Path, split: str, label: int) -> Iterator[Picture]:
    """The pictures below a class's folder, by name; links are followed to what lies inside of the root."""
    for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
        path = f"{folder}/{entry.name}"
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _pictures(path, root, split, label)
        elif entry.name.lower().endswith(ENDS):
            fault, size, changed = "", 0, 0
            try:
                found = entry.stat()
                size, changed = found.st_size, found.st_mtime_ns
                if entry.is_symlink() and not (root / path).resolve().is_relative_to(root.resolve()):
                    fault = "it is a link that leaves the folder"
                elif not stat.S_ISREG(found.st_mode):
                    fault = "it is no regular file"
            except OSError as error:
                fault = str(error.strerror)
            yield Picture(path, split, label, size, changed, fault)
