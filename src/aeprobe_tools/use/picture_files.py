"""Pictures in files, as the images of a run. Needs no torch."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aeprobe.data.pictures import decoded, grey
from aeprobe.errors import AeprobeError
from aeprobe_tools.use.preparation import LARGEST, prepared

Image = NDArray[np.uint8]


def read_picture(path: Path, shape: tuple[int, ...], as_digit: bool = False) -> Image:
    """Read a picture as an image of the shape, uint8: resized, its middle; or a drawn digit in MNIST's form."""
    channels, height, width = shape
    if channels not in (1, 3):
        raise AeprobeError(f"{path}: the run is of images with {channels} channels, which no picture has")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = grey(path, 2 * LARGEST) if as_digit else decoded(path, channels, height, width)
    except Exception as error:  # whatever a broken picture ends in
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise AeprobeError(f"{path} cannot be read as a picture ({why:.100}): repair it or leave it out") from None
    try:
        return prepared(image, height)[None] if as_digit else image
    except ValueError as error:
        raise AeprobeError(f"{path}: {error}") from None
