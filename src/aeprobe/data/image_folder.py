"""A folder of pictures, one subfolder a class: each is decoded once, and the images are kept in one file."""

import hashlib
import json
import logging
import warnings
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import make_dataset
from tqdm import tqdm

from aeprobe.data.sampler import seeded_permutation
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError, printable
from aeprobe.files import filled

log = logging.getLogger("aeprobe")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others of Pillow's are asked
ENDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MOST_PIXELS = 2**26  # of a picture, before it is decoded: 200 MB in colours
MOST_SIDE = 1024
Samples = list[tuple[str, int]]  # paths and labels
Pixels = NDArray[np.uint8]


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

    known_by_root = True

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
        name = f"{self.root.resolve().name}-{hashlib.sha256(place).hexdigest()[:16]}.npz"
        self.cache = Path.cwd() / "data" / "images" / name
        self._samples: dict[str, Samples] = {}

    def read(self, split: str) -> tuple[Tensor, Tensor | None]:
        """Read a split; decode the pictures whose images are not kept yet."""
        if split == "train" or not self._samples:  # a list of 60,000 takes half a second
            self._samples = self._list()
        images, faults = self._images(split)
        labels = []
        for path, label in self._samples[split]:
            if fault := faults.get(path):
                log.warning("data: %s is left out: %s", printable(path), fault)
            else:
                labels.append(label)
        if split == "train" and (lost := {label for _, label in self._samples[split]} - {*labels}):
            name = self.class_names[min(lost)] if self.class_names else "any"
            raise AeprobeError(f"data: no training picture of class {name} in {self.root} can be read")
        return torch.from_numpy(images), torch.tensor(labels, dtype=torch.int64) if self.class_names else None

    def _list(self) -> dict[str, Samples]:
        """List the pictures of both splits, by class and name; give the classes their names."""
        if not self.root.is_dir():
            raise AeprobeError(f"data.root={self.root}: there is no such directory")
        train, test = self.root / "train", self.root / "test"
        if train.is_dir() != test.is_dir():
            raise AeprobeError(f"data: {self.root} has a folder train or test, but not the other")
        folder = train if train.is_dir() else self.root
        names = _classes(folder)
        self.class_names = [*map(printable, filter(None, names))]
        pictures = _pictures(folder, names)
        if empty := {*range(len(names))} - {label for _, label in pictures}:
            raise AeprobeError(f"data: {folder / names[min(empty)]} has no picture (of {' '.join(ENDS)})")
        if folder == train:
            if strange := {*_classes(test)} - {*names}:
                raise AeprobeError(f"data: {test / min(strange)} is of a class that train does not have")
            return {"train": pictures, "test": _pictures(test, names)}
        samples: dict[str, Samples] = {"train": [], "test": []}
        for _, group in groupby(pictures, key=lambda sample: sample[1]):
            of_class = [*group]
            count = min(len(of_class) - 1, max(1, round(self.test_share * len(of_class))))
            tested = {*seeded_permutation(len(of_class), self.split_seed, "test")[:count].tolist()}
            for place, sample in enumerate(of_class):
                samples["test" if place in tested else "train"].append(sample)
        return samples

    def _images(self, split: str) -> tuple[Pixels, dict[str, str]]:
        """Return the images of a split, and the faults of pictures that have none, by their paths."""
        rows = [
            (split, path, label, (stat := Path(path).stat()).st_size, stat.st_mtime_ns)
            for split, samples in self._samples.items()
            for path, label in samples
        ]
        key = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.cache}.lock"):  # of several processes the first decodes
            with suppress(Exception), np.load(self.cache, allow_pickle=False) as kept:  # noqa: TID251
                if str(kept["key"]) == key:
                    return kept[split], json.loads(str(kept["faults"]))
            # Absent, of other pictures, or damaged.
            faults: dict[str, str] = {}
            images = {name: self._decode(samples, faults) for name, samples in self._samples.items()}
            with filled(self.cache.parent) as folder:
                np.savez(folder / self.cache.name, key=key, faults=json.dumps(faults), **images)  # type: ignore[arg-type]
            return images[split], faults

    def _decode(self, samples: Samples, faults: dict[str, str]) -> Pixels:
        """Return the images of all pictures that can be read, and note the faults of the others."""
        pixels, count = np.empty((len(samples), self.channels, self.size, self.size), np.uint8), 0
        for path, _ in tqdm(samples, desc="reading pictures", unit="", disable=None, leave=False):
            try:
                pixels[count] = decoded(Path(path), self.channels, self.size, self.size)
                count += 1
            except Exception as error:  # of any kind, for a broken file
                faults[path] = printable(f"{str(error) or type(error).__name__:.200}")
        return pixels[:count]


def _classes(folder: Path) -> list[str]:
    """Name its subfolders in their order; of a folder that holds pictures alone, one empty name."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".") or [""]


def _pictures(folder: Path, names: list[str]) -> Samples:
    """List the regular files that are pictures in the classes' subfolders, with their labels."""
    labels = {name: label for label, name in enumerate(names)}
    samples: Samples = make_dataset(
        folder, labels, is_valid_file=lambda path: _is_picture(Path(path), folder), allow_empty=True
    )
    return samples


def _is_picture(path: Path, folder: Path) -> bool:
    """Tell a picture by its name; what is hidden below the folder is none."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.name.lower().endswith(ENDS) and not hidden and path.is_file()


def below(path: Path) -> list[tuple[str, Path]]:
    """Name a file; of a directory all pictures below it that are not hidden, in the order of their names."""
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or directory")
    if not path.is_dir():
        return [(path.name, path)]
    pictures = sorted(file for file in path.rglob("*") if _is_picture(file, path))
    if not pictures:
        raise ValueError(f"{path}: the directory has no picture (of {' '.join(ENDS)})")
    return [(str(file.relative_to(path)), file) for file in pictures]


def decoded(path: Path, channels: int, height: int, width: int) -> Pixels:
    """Decode a picture, uint8 (channels, height, width): it is resized to just cover that, and its middle cut out.

    It has 1 channel (greyscale) or 3. What is transparent becomes white, or black behind white ink alone, and a
    photo is turned as its camera says. A broken file raises any exception.
    """
    image = _open(path, "L" if channels == 1 else "RGB", (2 * width, 2 * height))
    image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1)


def grey(path: Path, side: int) -> Pixels:
    """Decode a whole picture in grey, uint8 (height, width); a large one is reduced, not below the side."""
    return whole(path, side, "L")


def whole(path: Path, side: int, mode: str = "RGB") -> Pixels:
    """Decode a whole picture in its colours, uint8 (height, width, 3), or as Pillow's mode has it; see `grey`."""
    image = _open(path, mode, (side, side))
    if (times := max(image.size) // side) > 1:
        image = image.reduce(times)
    return np.asarray(image)


def _open(path: Path, mode: str, size: tuple[int, int]) -> Image.Image:
    """Open a picture in a mode; a JPEG may be decoded smaller, but no smaller than the size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's, about files that it reads all the same
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ValueError(f"it has {opened.width} x {opened.height} pixels, more than {MOST_PIXELS}")
            opened.draft(mode, size)
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            image = _of_8_bits(image)
        elif image.has_transparency_data:
            image = _on_paper(image.convert("RGBA"))
        return image.convert(mode)


def _on_paper(image: Image.Image) -> Image.Image:
    """Put white behind a transparent picture; black, if nothing of it could be seen on white."""
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if (np.asarray(on_white) < 255).any() or not np.asarray(image.getchannel("A")).any():
        return on_white
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Convert a grey picture of 16 bits, or of floats in [0, 1]; its transparent pixels become white."""
    values = np.asarray(image)
    scale = 1 if image.mode == "F" else 2**16 - 1
    if not (values.min() >= 0 and values.max() <= scale):
        raise ValueError(f"its numbers are not from 0 to {scale:,}: save it with 8 bits")
    pixels = (values * 255.999 if image.mode == "F" else values // 256).astype(np.uint8)
    if (clear := image.info.get("transparency")) is not None:
        pixels[values == clear] = 255
    return Image.fromarray(pixels)
