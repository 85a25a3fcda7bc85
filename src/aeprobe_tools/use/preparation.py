"""Pictures as a run's images, and digits as MNIST's makers had them: light on black, of one size and place.

The page of `aeprobe playground` prepares digits by the same steps in JavaScript (assets/playground/prepare.js):
change both.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aeprobe.data.image_folder import decoded, whole
from aeprobe.errors import AeprobeError, first_line
from aeprobe_tools.use.strokes import Grey, digit_alone, strong

Pixels = NDArray[np.uint8]
LARGEST = 320  # pixels of a side that are looked at; a digit has 20 in the end
FAINT = 0.05  # of full ink: what is less is none, and a line of pixels with less than that of the fullest is empty
NOTHING = 0.025  # of the difference of black and white: what differs less from the ground is not drawn
ALMOST = 0.999  # of a pixel of full ink, which is what a thin pen has in a row
FRAME = 0.85  # of each side of a frame differs from what is outside of it
LEVEL = 14.0  # where MNIST's centres of mass lie, of rows and columns counted from 0, give or take half a pixel
RIDGE = np.float32(1e-3) * np.eye(3, dtype=np.float32)  # for a picture of one line
THIN = 1.6  # pixels of a stroke at the final size, below which it is widened; MNIST's strokes have 2 to 3


def read_picture(path: Path, shape: tuple[int, ...], as_digit: bool = False) -> Pixels:
    """Read a picture as an image of the shape, uint8: resized, its middle; or a digit that is prepared."""
    channels, height, width = shape
    try:
        if channels not in (1, 3):
            raise ValueError(f"the run is of images with {channels} channels")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if as_digit:
                return prepared(whole(path, 2 * LARGEST), height)[None]
            return decoded(path, channels, height, width)
    except Exception as error:  # whatever a broken picture ends in
        why = getattr(error, "strerror", None) or first_line(error)
        raise AeprobeError(f"{path} cannot be used ({why:.100})") from None


def prepared(picture: NDArray[Any], side: int = 28) -> Pixels:
    """Turn a picture of a digit into an image of MNIST's form, uint8 (side, side), as in LeCun et al. (1998).

    The ground becomes black and the ink light, whichever was darker; frames, lines and objects beside the digit
    and the light's slope are removed; the box of the ink is fitted to 20/28 of the side, in its proportions, and
    its centre of mass is moved to the centre. An image that is so already stays as it is.

    Args:
        picture: (height, width), or (height, width, 3) in colours; uint8, or floats in [0, 1].
        side: of the image, in pixels.

    Raises:
        ValueError: nothing is drawn on it.
    """
    values = picture.astype(np.float32) / np.float32(255 if picture.dtype == np.uint8 else 1)
    ink = _ink(_without_frame(_reduced(_grey(values))))
    ink = ink[_ends(ink, FAINT)]
    box = round(side * 20 / 28)
    scale = box / max(ink.shape)
    ink = _widened(ink, scale)
    if max(ink.shape) != box:
        height, width = (max(1, round(n * scale)) for n in ink.shape)
        ink = _resized(ink, height, width)
    return _placed(np.clip(ink / strong(ink), 0, 1), side)


def _grey(picture: Grey) -> Grey:
    """Project colours on the direction in which they differ most; grey pixels keep their value."""
    if picture.ndim == 2:
        return picture
    flat = picture.reshape(-1, 3)
    differs = flat - np.median(flat, axis=0)
    axis, spread = np.ones(3, np.float32), differs.T @ differs
    for _ in range(20):  # towards the first principal axis, from the one of grey
        axis = spread @ axis + np.float32(1e-6) * axis
        axis /= np.linalg.norm(axis)
    grey: Grey = (flat @ axis).reshape(picture.shape[:2]) / np.float32(3**0.5)
    return grey


def _reduced(picture: Grey) -> Grey:
    """Reduce a picture until no side is longer than `LARGEST`."""
    height, width = picture.shape
    if max(height, width) <= LARGEST:
        return picture
    scale = LARGEST / max(height, width)
    return _resized(picture, max(1, round(height * scale)), max(1, round(width * scale)))


def _resized(picture: Grey, height: int, width: int) -> Grey:
    """Resize by a triangle that is as wide as a pixel of the result, or of the picture if that is larger."""
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    found: Grey = np.asarray(image, np.float32)
    return found


def _ring(picture: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the outermost pixels: upper, lower, left and right."""
    return [picture[:1], picture[-1:], picture[:, :1], picture[:, -1:]]


def _ring_median(picture: Grey) -> float:
    """Return the median of the outermost pixels."""
    return float(np.median(np.concatenate([part.ravel() for part in _ring(picture)])))


def _without_frame(picture: Grey) -> Grey:
    """Cut away a frame, or the ground that a sheet lies on."""
    for _ in range(8):  # a thick line is left by its outer and its inner edge
        differs = np.abs(picture - _ring_median(picture))
        if differs.max() < FAINT:
            break
        found = [
            inner for share in (4, 8) if (inner := _inside(picture, differs > differs.max() / share)) is not None
        ]
        if not found:
            break
        picture = found[0]
    return picture


def _inside(picture: Grey, other: NDArray[np.bool_]) -> Grey | None:
    """Return what a closed frame of other pixels surrounds, if it is most of the picture."""
    within = _ends(other, 0)
    inner = other[within]
    blurred = inner[1:-1, 1:-1]  # where the outermost pixels are between both
    large = all(2 * n >= whole for n, whole in zip(inner.shape, picture.shape, strict=True))
    if not large or max(map(_least_of_ring, (inner, blurred))) < FRAME:
        return None
    edge = 1 + min(inner.shape) // 50  # which is neither inside nor outside
    found = picture[within][edge:-edge, edge:-edge]
    return found if min(found.shape) >= 8 else None


def _least_of_ring(marked: NDArray[np.bool_]) -> float:
    """Return the share of marked pixels on the side where they are fewest."""
    return min(float(part.mean()) for part in _ring(marked)) if min(marked.shape, default=0) > 2 else 0.0


def _ink(picture: Grey) -> Grey:
    """Return the digit's ink on each pixel, in [0, 1], without the ground's light and roughness."""
    differs = picture - _ground(picture)
    rough = 4 * float(np.median(np.abs(differs)))  # 2.7 standard deviations of normal noise
    both = [np.maximum(one - rough, 0) for one in (differs, -differs)]  # the ink is lighter, or darker
    digits = [digit_alone(ink, NOTHING) for ink in both if ink.max() >= NOTHING]
    ink = max(digits, key=lambda digit: float(np.square(digit).sum()), default=np.zeros((1, 1), np.float32))
    if ink.max() < NOTHING:
        raise ValueError("nothing is drawn on it")
    full: Grey = np.minimum(ink / strong(ink), 1)
    full[full < FAINT] = 0
    return full


def _ground(picture: Grey) -> Grey:
    """Fit a plane to the ground's brightness: to all pixels near it, ever nearer."""
    step = 1 + max(picture.shape) // 32
    sampled = picture[::step, ::step]
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in sampled.shape)
    ones = np.ones_like(sampled)
    terms = np.stack([ones, ones * rows[:, None], ones * columns], -1).reshape(-1, 3)
    values = sampled.ravel()
    plane = np.array([_ring_median(picture), 0, 0], np.float32)
    for part in (2, 4, 8, 16):
        far = np.abs(values - terms @ plane)
        near = far <= max(far.max() / part, FAINT)
        if near.sum() < 3:
            break
        some = terms[near]
        plane = np.linalg.solve(some.T @ some + RIDGE, some.T @ values[near])
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in picture.shape)
    one, down, across = plane
    ground: Grey = (one + down * rows)[:, None] + across * columns
    return ground


def _ends(values: NDArray[Any], share: float) -> tuple[slice, slice]:
    """Return the rows and columns from the first to the last with more than a share of the fullest, or a pixel."""
    totals = (values.sum(1), values.sum(0))
    rows, columns = ((total > min(share * total.max(), ALMOST)).nonzero()[0] for total in totals)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _widened(ink: Grey, scale: float) -> Grey:
    """Widen the strokes of a thin pen, faint at the final size, to the thinnest of MNIST's."""
    drawn = ink > 0.5
    padded = np.pad(drawn, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & drawn
    edge = int(drawn.sum()) - int(inner.sum())
    wide = 2 * int(drawn.sum()) / max(edge, 1) * scale
    more = round((THIN - wide) / scale / 2)
    if wide >= THIN or more < 1:
        return ink
    ink = np.pad(ink, more)
    for axis in (0, 1):
        ink = np.max([np.roll(ink, shift, axis) for shift in range(-more, more + 1)], axis=0)
    return ink


def _placed(ink: Grey, side: int) -> NDArray[np.uint8]:
    """Place the ink on black, with its centre of mass in the middle as far as that keeps all of it."""
    image, place = np.zeros((side, side), np.uint8), []
    ink = ink[:side, :side]
    for axis, n in enumerate(ink.shape):
        mass = ink.sum(1 - axis)
        centre = float((mass * np.arange(n)).sum() / mass.sum())
        place.append(int(np.clip(round(side * LEVEL / 28 - centre), 0, side - n)))
    (top, left), (height, width) = place, ink.shape
    image[top : top + height, left : left + width] = np.round(255 * ink)
    return image
