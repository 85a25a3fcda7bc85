"""MNIST and what has its form: a folder of IDX files, and torchvision's datasets of such files."""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from string import ascii_uppercase

import torch
from filelock import FileLock
from torch import Tensor
from torchvision import datasets

from aeprobe.data.idx_files import BUNDLE, FILES, IMAGES, LABELS, IdxFile, unpack
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError


class IdxFolder(Source):
    """A folder of four IDX files, named as MNIST's, of images of any height and width with one channel.

    Each may end in .gz, and may have a dot in the place of the hyphen before idx, as in train-images.idx3-ubyte.
    Where there is no file of labels, the images have none.

    Args:
        root: the folder.
    """

    fresh = True
    names: Mapping[str, tuple[str, ...]] = FILES

    def __init__(self, root: str = "data") -> None:
        super().__init__()
        self.root = self.folder = Path(root)

    def read(self, split: str) -> tuple[Tensor, Tensor | None]:
        """As `Source`. Reads each file once, without a second copy of it in memory.

        Raises:
            AeprobeError: a file is missing, there are two forms of it, or it is malformed.
        """
        paths = [self.file(name) for name in self.names[split]]
        if not self.fetched and paths[0].exists() and not paths[1].exists():
            images = IdxFile(paths[0], IMAGES)
            alone = self._whole(images).unsqueeze(1)
            self.files = {self.names[split][0]: images.identity}
            return alone, None
        images, labels = IdxFile(paths[0], IMAGES), IdxFile(paths[1], LABELS)
        if images.count != labels.count:
            raise AeprobeError(
                f"{paths[0]} has {images.count} images, but {paths[1]} has {labels.count} labels: they must agree"
            )
        whole = self._whole(images).unsqueeze(1), self._whole(labels).long()
        self.files = dict(zip(self.names[split], (images.identity, labels.identity), strict=True))
        return whole

    def file(self, name: str) -> Path:
        """The one form of a file that is there."""
        stems = (name, name.replace("-idx", ".idx"))
        found = [path for end in ("", ".gz") for s in stems if (path := self.folder / f"{s}{end}").exists()]
        if len(found) > 1:
            raise AeprobeError(f"data: {self.folder} has both {found[0].name} and {found[1].name}: keep one")
        return found[0] if found else self.folder / name

    def _whole(self, file: IdxFile) -> Tensor:
        whole = torch.empty(file.count, *file.shape, dtype=torch.uint8)
        first = 0
        for chunk in file.chunks():
            items = torch.frombuffer(chunk, dtype=torch.uint8).view(-1, *file.shape)
            whole[first : first + len(items)] = items
            first += len(items)
        return whole


class Downloaded(IdxFolder):
    """A dataset of torchvision's in MNIST's form, below ROOT/NAME/raw as torchvision has it.

    Args:
        root: where ROOT is.
    """

    shape = (1, 28, 28)
    fetched = True
    dataset = ""  # what torchvision calls it

    def __init__(self, root: str = "data") -> None:
        super().__init__(root)
        self.folder = self.root / self.dataset / "raw"

    def file(self, name: str) -> Path:
        """The file, or where it is packed alone, that; torchvision leaves both."""
        path = self.folder / name
        packed = path.with_name(f"{name}.gz")
        return packed if packed.exists() and not path.exists() else path

    def missing(self) -> Path | None:
        """As `Source`."""
        paths = (self.file(name) for names in self.names.values() for name in names)
        return next((path for path in paths if not path.exists()), None)

    def prepare(self) -> None:
        """Downloads what is missing into a folder of its own, and moves it in place once it is complete."""
        if not self.missing():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):  # of several processes the first downloads
                if not self.missing():
                    return
                with tempfile.TemporaryDirectory(dir=self.folder, prefix=".download-") as folder:
                    self._download(folder)
                    for names in self.names.values():
                        for name in names:
                            Path(folder, self.dataset, "raw", name).replace(self.folder / name)
        except Exception as error:  # torchvision's have no common base
            with suppress(OSError):  # one that holds something stays
                (self.folder / ".lock").unlink(missing_ok=True)
                for made in (self.folder, self.folder.parent, self.root):
                    made.rmdir()
            reason = " ".join(str(error).split())
            raise AeprobeError(
                f"data: {self.dataset} cannot be downloaded to {self.folder} ({reason:.300}); it takes a "
                "network once, or the files put there by hand"
            ) from error

    def _download(self, folder: str) -> None:
        getattr(datasets, self.dataset)(folder, download=True)


class MNIST(Downloaded):
    """MNIST, unpacked from the bundle: 60,000 and 10,000 digits; by students and by employees of the census."""

    dataset = "MNIST"
    parts: Mapping[str, slice] = {"students": slice(5_000), "employees": slice(5_000, None)}
    remark = (
        "MNIST's first 5,000 test images were written by students, the others by employees of the census, and a "
        "random validation split looks better than the test set because all 538 or 539 writers of 5,000 such "
        "images also wrote training images, while no writer of a test image did."
    )

    def file(self, name: str) -> Path:
        """The unpacked file, which alone is held against its checksum."""
        return self.folder / name

    def prepare(self) -> None:
        """Unpacks the files that are missing, and checks all of them.

        Raises:
            AeprobeError: a file has another checksum, or the directory cannot be written.
        """
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
    class_names = ascii_uppercase
    names: Mapping[str, tuple[str, ...]] = {
        split: tuple(f"emnist-letters-{split}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
        for split in ("train", "test")
    }

    def _download(self, folder: str) -> None:
        datasets.EMNIST(folder, split="letters", download=True)

    def read(self, split: str) -> tuple[Tensor, Tensor | None]:
        """As `Source`. The files hold each image with its rows as columns, and labels from 1."""
        images, labels = super().read(split)
        assert labels is not None, "a missing file is downloaded"
        for part in images.split(1000):
            part.copy_(part.transpose(2, 3).clone())
        return images, labels - 1
