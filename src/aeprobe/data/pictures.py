"""A file with a picture, as an image of the size and the channels that are wanted. Nothing is trusted of it."""

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
    mode = "L" if channels == 1 else "RGB"
    with Image.open(path, formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"it has {opened.width} x {opened.height} pixels, more than {MOST_PIXELS}")
        opened.draft(mode, (2 * width, 2 * height))  # a JPEG is decoded no larger than that takes
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16 bits, whose upper half is what 8 bits have
        image = image.point(lambda value: value / 256)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = ImageOps.fit(image.convert(mode), (width, height), Image.Resampling.BILINEAR)
    found: NDArray[np.uint8] = np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1)
    return found
