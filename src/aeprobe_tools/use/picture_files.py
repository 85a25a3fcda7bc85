"""Pictures in files, as the images of a run. Needs no torch."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aeprobe.data.pictures import decoded, grey
from aeprobe.errors import AeprobeError
from aeprobe_tools.use.preparation import LARGEST, prepared

Image = NDArray[np.uint8]


def picture(path: Path, shape: tuple[int, ...]) -> Image:
    """Read a picture as the run's images are: resized, its middle, uint8 of the shape."""
    channels, height, width = shape
    if channels not in (1, 3):
        raise AeprobeError(f"{path}: the run is of images with {channels} channels, which no picture has")
    with _readable(path):
        return decoded(path, channels, height, width)


def digit(path: Path, shape: tuple[int, ...]) -> Image:
    """Read a drawn or photographed digit in MNIST's form, uint8 of the run's shape."""
    with _readable(path):
        whole = grey(path, 2 * LARGEST)
    try:
        return prepared(whole, shape[1])[None]
    except ValueError as error:
        raise AeprobeError(f"{path}: {error}") from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever a broken picture ends in into one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise AeprobeError(f"{path} cannot be read as a picture ({why:.100}): repair it or leave it out") from None
