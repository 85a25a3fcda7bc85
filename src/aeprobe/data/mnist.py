"""MNIST and what has its form: a folder of IDX files, and torchvision's datasets of such files."""

import tempfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from filelock import FileLock
from torch import Tensor
from torchvision import datasets

from aeprobe.data.idx_files import BUNDLE, FILES, read_idx, unpack
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError


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
        self.root = self.folder = Path(root)

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
    """A dataset of torchvision's in MNIST's form, below ROOT/NAME/raw as torchvision has it.

    Args:
        root: the folder ROOT.
    """

    known_by_root = False
    fetched = True
    dataset = ""  # the name of torchvision's class
    options: Mapping[str, Any] = {}  # of that class

    def __init__(self, root: str = "data") -> None:
        super().__init__(root)
        self.folder = self.root / self.dataset / "raw"

    def missing(self) -> Path | None:
        """Return the first file that is not there."""
        paths = map(self.file, chain(*self.names.values()))
        return next((path for path in paths if not path.exists()), None)

    def prepare(self) -> None:
        """Download what is missing into a temporary folder, and move it in place once it is complete."""
        if not self.missing():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
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
    dataset = "MNIST"
    parts: Mapping[str, slice] = {"students": slice(5_000), "employees": slice(5_000, None)}
    remark = (
        "MNIST's first 5,000 test images were written by students, the others by employees of the census, and a "
        "random validation split looks better than the test set because all 538 or 539 writers of 5,000 such "
        "images also wrote training images, while no writer of a test image did."
    )

    def prepare(self) -> None:
        """Unpack the files that are missing, and check all of them."""
        if BUNDLE.is_dir():
            unpack(self.folder)
        else:  # a copy of the project without its data
            super().prepare()


class FashionMNIST(Downloaded):
    """Fashion-MNIST: 60,000 and 10,000 images of clothes."""

    dataset = "FashionMNIST"
    class_names = datasets.FashionMNIST.classes


class KMNIST(Downloaded):
    """Kuzushiji-MNIST: 60,000 and 10,000 cursive hiragana."""

    dataset = "KMNIST"
    class_names = datasets.KMNIST.classes


class EMNIST(Downloaded):
    """EMNIST's letters, upright: 124,800 and 20,800, labelled from 0."""

    dataset = "EMNIST"
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
