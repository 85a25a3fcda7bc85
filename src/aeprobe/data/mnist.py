"""MNIST and what has its form: a folder of IDX files, and torchvision's datasets of such files."""

import gzip
import hashlib
import math
import tempfile
import zlib
from collections.abc import Mapping
from importlib.resources import files
from itertools import chain
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from torchvision import datasets

from aeprobe.data.sources import Identity, Source
from aeprobe.errors import AeprobeError
from aeprobe.files import checksum, write_atomically

BUNDLE = files("aeprobe") / "assets" / "mnist"
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MOST_BYTES = 2**32  # of a file, unpacked: five million images of MNIST's size


def checksums() -> dict[str, str]:
    """Return the SHA-256 of each unpacked file of MNIST, by name."""
    lines = (BUNDLE / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def unpack(raw: Path) -> None:
    """Unpack the bundled files that are missing in `raw`, each atomically, and check all of them."""
    for name, expected in checksums().items():
        path = raw / name
        if not path.exists():
            raw.mkdir(parents=True, exist_ok=True)
            write_atomically(path, gzip.decompress((BUNDLE / f"{name}.gz").read_bytes()))
        if (digest := checksum(path)) != expected:
            raise AeprobeError(
                f"data: {path} has SHA-256 {digest}, expected {expected}: delete it to have it unpacked again, "
                "or use data=folder for images of your own"
            )


def read_idx(path: Path, dimensions: int) -> tuple[Tensor, Identity]:
    """Read an IDX file of bytes, uint8, and its size and SHA-256; one that ends in .gz is unpacked.

    The format: https://yann.lecun.com/exdb/mnist. Big-endian 32-bit numbers: 2048 plus the number of dimensions,
    and their sizes; then the values.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = bytearray(file.read(MOST_BYTES))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise AeprobeError(f"data: {path} cannot be read ({reason}); give a data.root= that has it") from None
    start = 4 * (1 + dimensions)
    magic, *shape = (int.from_bytes(content[i : i + 4], "big") for i in range(0, start, 4))
    if magic != 2048 + dimensions or not 0 < math.prod(shape) == len(content) - start:
        raise AeprobeError(f"data: {path} is no complete IDX file of {dimensions} dimensions, 1 to 2**32 bytes")
    identity = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).view(shape), identity


class IdxFolder(Source):
    """A folder of four IDX files, named as MNIST's, of images of any height and width with one channel.

    Each may end in .gz, and may have a dot in the place of the hyphen before idx, as in train-images.idx3-ubyte.
    Where there is no file of labels, the images have none.

    Args:
        root: the folder.
    """

    known_by_root = True
    names: Mapping[str, tuple[str, str]] = FILES

    def __init__(self, root: str = "data") -> None:
        super().__init__()
        self.folder = Path(root)

    def read(self, split: str) -> tuple[Tensor, Tensor | None]:
        """Read the two files of a split."""
        images, labels = self.names[split]
        pixels, self.files[images] = read_idx(self.file(images), dimensions=3)
        if not self.file(labels).exists():
            return pixels.unsqueeze(1), None
        classes, self.files[labels] = read_idx(self.file(labels), dimensions=1)
        return pixels.unsqueeze(1), classes.long()

    def file(self, name: str) -> Path:
        """Return the first form of a file that is there; else the plain one."""
        stems = (name, name.replace("-idx", ".idx"))
        forms = [self.folder / f"{stem}{end}" for end in ("", ".gz") for stem in stems]
        return next(filter(Path.exists, forms), forms[0])


class Downloaded(IdxFolder):
    """The dataset of torchvision's that has the name of this class, below ROOT/NAME/raw as torchvision has it.

    Args:
        root: the folder ROOT.
    """

    known_by_root = False
    fetched = True
    options: Mapping[str, Any] = {}  # of that class

    def __init__(self, root: str = "data") -> None:
        super().__init__(root)
        self.dataset = type(self).__name__
        self.folder = Path(root) / self.dataset / "raw"

    def missing(self) -> Path | None:
        """Return the first file that is not there."""
        paths = map(self.file, chain(*self.names.values()))
        return next((path for path in paths if not path.exists()), None)

    def prepare(self) -> None:
        """Download what is missing into a temporary folder, and move it in place once it is complete."""
        if not self.missing():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with (
                FileLock(self.folder / ".lock"),  # of several processes the first downloads
                tempfile.TemporaryDirectory(dir=self.folder, prefix=".download-") as folder,
            ):
                if self.missing():
                    getattr(datasets, self.dataset)(folder, download=True, **self.options)
                    for name in chain(*self.names.values()):
                        Path(folder, self.dataset, "raw", name).replace(self.folder / name)
        except Exception as error:  # torchvision's have no common base
            reason = " ".join(str(error).split())
            raise AeprobeError(
                f"data: {self.dataset} cannot be downloaded to {self.folder} ({reason:.300}); it takes a "
                "network once, or the files put there by hand"
            ) from error


class MNIST(Downloaded):
    """MNIST, unpacked from the bundle: 60,000 and 10,000 digits; by students and by employees of the census."""

    noun = "digit"
    handwritten = True
    parts: Mapping[str, slice] = {"students": slice(5_000), "employees": slice(5_000, None)}
    remark = (
        "MNIST's first 5,000 test images were written by students, the others by employees of the census, and a "
        "random validation split looks better than the test set because all 538 or 539 writers of 5,000 such "
        "images also wrote training images, while no writer of a test image did."
    )

    def prepare(self) -> None:
        """Unpack the files that are missing, and check all of them."""
        unpack(self.folder)


class FashionMNIST(Downloaded):
    """Fashion-MNIST: 60,000 and 10,000 images of clothes."""

    class_names = datasets.FashionMNIST.classes


class KMNIST(Downloaded):
    """Kuzushiji-MNIST: 60,000 and 10,000 cursive hiragana."""

    class_names = datasets.KMNIST.classes


class EMNIST(Downloaded):
    """EMNIST's letters, upright: 124,800 and 20,800, labelled from 0."""

    options: Mapping[str, Any] = {"split": "letters"}
    class_names = ascii_uppercase
    names: Mapping[str, tuple[str, str]] = {
        split: (f"emnist-letters-{split}-images-idx3-ubyte", f"emnist-letters-{split}-labels-idx1-ubyte")
        for split in ("train", "test")
    }

    def read(self, split: str) -> tuple[Tensor, Tensor | None]:
        """Read a split, whose files hold each image with its rows as columns, and labels from 1."""
        images, labels = super().read(split)
        assert labels is not None, "a missing file is downloaded"
        return images.transpose(2, 3).contiguous(), labels - 1
