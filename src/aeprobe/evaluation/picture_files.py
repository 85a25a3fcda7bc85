"""Images as files of pictures: how many bytes they take and what they lose, by Pillow's own encoders."""

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor

# Each format, its quality (None: lossless) and what Pillow is asked for: the smallest file that it can make.
FORMATS: list[tuple[str, int | None, dict[str, Any]]] = [
    *(("JPEG", quality, {"quality": quality, "optimize": True}) for quality in (1, 5, 10, 15, 25, 50, 75, 95)),
    *(("WebP", quality, {"quality": quality, "method": 6}) for quality in (0, 1, 2, 5, 15, 40, 75)),
    ("WebP", None, {"lossless": True, "quality": 100, "method": 6}),
    ("PNG", None, {"optimize": True}),
]
MOST, LEAST, NUMBERS = 1_000, 50, 4_000_000  # images that are written; fewer where each has many numbers
MOST_SIDE = 16_383  # of WebP; JPEG takes more


def measured(images: Tensor) -> tuple[int, list[dict[str, Any]]]:
    """How many of the images were written, evenly spaced, and a row for each format and quality.

    Args:
        images: uint8 (N, channels, height, width); none are written of other than 1 (grey) or 3 (colours)
            channels, or where a side is longer than `MOST_SIDE`.

    Returns:
        Rows of `format`, `quality`, `bytes`: a mean over files with their headers, `mse`: per pixel in [0, 1], a
        mean over the images, and `psnr`.
    """
    _, channels, *sides = images.shape
    if channels not in (1, 3) or max(sides) > MOST_SIDE:
        return 0, []
    most = min(MOST, max(LEAST, NUMBERS // images[0].numel()))
    arrays = images[:: math.ceil(len(images) / most)].movedim(1, 3).numpy()
    pixels = [array[:, :, 0] if channels == 1 else array for array in arrays]
    rows = []
    for name, quality, options in FORMATS:
        if name == "WebP" and not features.check("webp"):
            continue
        found = np.array([_written(array, name, options) for array in pixels])
        mse = float(found[:, 1].mean())
        row = {"format": name, "quality": quality, "bytes": float(found[:, 0].mean())}
        rows.append(row | {"mse": mse, "psnr": psnr(mse)})
    return len(pixels), rows


def _written(pixels: NDArray[np.uint8], name: str, options: dict[str, Any]) -> tuple[int, float]:
    """The bytes of one image's file, and what it lost, as MSE of pixels in [0, 1]."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.save(file, name, **options)
    read = np.asarray(Image.open(file).convert(image.mode), np.float64)
    return file.getbuffer().nbytes, float(np.square((read - pixels) / 255).mean())


def psnr(mse: float) -> float | None:
    """The peak signal-to-noise ratio of an MSE of pixels in [0, 1], in dB; None where nothing is lost."""
    return 10 * math.log10(1 / mse) if mse > 0 else None
