"""Picture files that are not trusted, decoded to images of a given size and number of channels."""

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
    """Decode a picture, uint8 (channels, height, width): it is resized to just cover that, and its middle cut out.

    It has 1 channel (greyscale) or 3. What is transparent becomes white, or black behind white ink alone, and a
    photo is turned as its camera says. A broken file raises any exception.
    """
    image = _open(path, "L" if channels == 1 else "RGB", (2 * width, 2 * height))
    image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    pixels: NDArray[np.uint8] = np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1)
    return pixels


def grey(path: Path, side: int) -> NDArray[np.uint8]:
    """Decode a whole picture in grey, uint8 (height, width); a large one is reduced, not below the side."""
    image = _open(path, "L", (side, side))
    if (times := max(image.size) // side) > 1:
        image = image.reduce(times)
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels


def below(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Name each file; of a directory all pictures below it that are not hidden, in the order of their names."""
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path}: there is no such file or directory")
        if not path.is_dir():
            yield path.name, path
            continue
        files = sorted(file for file in path.rglob("*") if is_picture(file, path) and not file.is_dir())
        if not files:
            raise ValueError(f"{path}: the directory has no picture (of {' '.join(ENDS)})")
        yield from ((str(file.relative_to(path)), file) for file in files)


def is_picture(path: Path, folder: Path) -> bool:
    """Tell a picture by its name; what is hidden below the folder is none."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.name.lower().endswith(ENDS) and not hidden


def _open(path: Path, mode: str, size: tuple[int, int]) -> Image.Image:
    """Open a picture in a mode; a JPEG may be decoded smaller, but no smaller than the size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
        opened = Image.open(path, formats=FORMATS)
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
