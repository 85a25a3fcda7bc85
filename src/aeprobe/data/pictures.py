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

    What is transparent becomes white, or black behind white ink alone, and a photo is turned as its camera says.

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

    What is hidden is left out, and a link that leads out of the directory.

    Raises:
        ValueError: there is no such file or directory, or the directory has no picture.
    """
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path}: there is no such file or directory")
        if not path.is_dir():
            yield path.name, path
            continue
        those = sorted(one for one in path.rglob("*") if one.name.lower().endswith(ENDS) and not one.is_dir())
        within = (one for one in those if not one.is_symlink() or one.resolve().is_relative_to(path.resolve()))
        shown = [one for one in within if not any(p.startswith(".") for p in one.relative_to(path).parts)]
        if not shown:
            raise ValueError(f"{path}: the directory has no picture (of {' '.join(ENDS)})")
        yield from ((str(one.relative_to(path)), one) for one in shown)


def _open(path: Path, mode: str, size: tuple[int, int]) -> Image.Image:
    """The picture in a mode; a JPEG may be decoded smaller, but no smaller than the size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
        try:
            opened = Image.open(path, formats=FORMATS)
        except Image.DecompressionBombError:
            raise ValueError(f"it has more than {MOST_PIXELS} pixels") from None
    with opened:
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
    """A picture with white where it is transparent; with black, if nothing else of it could be seen."""
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if (np.asarray(on_white) < 255).any() or not np.asarray(image.getchannel("A")).any():
        return on_white
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)


def _of_8_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits or of floats from 0, black, to 1, white; what is transparent becomes white.

    Raises:
        ValueError: its numbers have another scale.
    """
    values = np.asarray(image)
    scale = 1 if image.mode == "F" else 2**16 - 1
    if not (values.min() >= 0 and values.max() <= scale):
        raise ValueError(f"its numbers are not from 0 to {scale:,}: save it with 8 bits")
    found = (values * 255.999 if image.mode == "F" else values // 256).astype(np.uint8)
    if (clear := image.info.get("transparency")) is not None:
        found[values == clear] = 255
    return Image.fromarray(found)
