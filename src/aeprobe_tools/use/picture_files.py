"""Files with pictures, as the images of a run. Needs no torch."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from aeprobe.data.pictures import decoded, grey
from aeprobe.errors import AeprobeError
from aeprobe_tools.use.preparation import LARGEST, prepared

Image = NDArray[np.uint8]
Item = TypeVar("Item")


def picture(path: Path, shape: tuple[int, ...]) -> Image:
    """Read a picture as the run's images are: resized, its middle, uint8 of the shape."""
    channels, height, width = shape
    if channels not in (1, 3):
        raise AeprobeError(f"{path}: the run is of images with {channels} channels, which no picture has")
    with readable(path):
        return decoded(path, channels, height, width)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever a broken picture ends in into one line."""
    log = logging.getLogger("PIL")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what it says of a file besides, and warns of, helps nobody
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise AeprobeError(f"{path} cannot be read as a picture ({why:.100}): repair it or leave it out") from None
    finally:
        log.setLevel(level)


def digit(path: Path, shape: tuple[int, ...]) -> Image:
    """Read a drawn or photographed digit in MNIST's form, uint8 of the run's shape."""
    with readable(path):
        found = grey(path, 2 * LARGEST)
    try:
        return prepared(found, shape[1])[None]
    except ValueError as error:
        raise AeprobeError(f"{path}: {error}") from None


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of so many items; the last may be shorter: itertools.batched, of Python 3.12."""
    rest = iter(items)
    while part := [*islice(rest, size)]:
        yield part


def square(picture: Image, side: int) -> Image:
    """Fit a grey picture, (height, width), into a square of so many pixels, on a middle grey."""
    scale = side / max(picture.shape)
    height, width = (max(1, round(length * scale)) for length in picture.shape)
    found: Image = np.full((side, side), 128, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    resized = Pillow.fromarray(picture).resize((width, height))
    found[top : top + height, left : left + width] = np.asarray(resized)
    return found
