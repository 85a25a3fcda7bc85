"""A file with a picture, as an image of the size and the channels that are wanted. Nothing is trusted of it."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others of Pillow's are asked
ENDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MOST_PIXELS = 2**26  # of a picture, before it is decoded: 200 MB in colours


def decoded(path: Path, channels: int, height: int, width: int) -> NDArray[np.uint8]:
    """The picture, uint8 (channels, height, width), resized as little as makes it cover that, and its middle.

    What is transparent becomes white, and a photo is turned as its camera says.

    Args:
        path: of a regular file.
        channels: 1 for greyscale, 3 for colours.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: it has more than `MOST_PIXELS` pixels. Of a broken file: any exception.
    """
    image = _open(path, "L" if channels == 1 else "RGB", (2 * width, 2 * height))
    image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    found: NDArray[np.uint8] = np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1)
    return found


def grey(path: Path, side: int) -> NDArray[np.uint8]:
    """The whole picture in grey, uint8 (height, width), as `decoded`; a large one no smaller than the side."""
    image = _open(path, "L", (side, side))
    if (times := max(image.size) // side) > 1:
        image = image.reduce(times)
    found: NDArray[np.uint8] = np.asarray(image)
    return found


def below(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Each file's name and path; of a directory all pictures below it, in the order of their names.

    Raises:
        ValueError: there is no such file or directory, or the directory has no picture. What is hidden is not one.
    """
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path}: there is no such file or directory")
        if not path.is_dir():
            yield path.name, path
            continue
        those = sorted(one for one in path.rglob("*") if one.name.lower().endswith(ENDS))
        shown = [one for one in those if not any(p.startswith(".") for p in one.relative_to(path).parts)]
        if not shown:
            raise ValueError(f"{path}: the directory has no picture (of {' '.join(ENDS)})")
        yield from ((str(one.relative_to(path)), one) for one in shown)


def _open(path: Path, mode: str, size: tuple[int, int]) -> Image.Image:
    """The picture in a mode; a JPEG may be decoded smaller, but no smaller than the size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
        opened = Image.open(path, formats=FORMATS)
    with opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"it has {opened.width} x {opened.height} pixels, more than {MOST_PIXELS}")
        opened.draft(mode, size)
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16 bits, whose upper half is what 8 bits have
        image = image.point(lambda value: value / 256)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
