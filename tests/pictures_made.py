"""Small folders of made-up pictures, and files of the form of torchvision's datasets."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LETTERS = np.random.default_rng(0).integers(0, 256, (52, 28, 28))
COLOURS = {"blue sky": (20, 40, 220), "green $1 and $2": (30, 200, 60), "red": (210, 30, 30)}


def picture(colour: Sequence[int], height: int = 40, width: int = 40, seed: int = 0) -> Image.Image:
    """A picture of one colour with some noise."""
    noise = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def write_pictures(root: Path, count: int = 30, first: int = 0) -> Path:
    """One subfolder for each class of `COLOURS`, with `count` pictures of 40 x 40 pixels each."""
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(colour, seed=first + i).save(root / name / f"{i:03}.png")
    return root


def idx(values: np.ndarray) -> bytes:
    """An IDX file of uint8 values."""
    head = struct.pack(f">{1 + values.ndim}I", 2048 + values.ndim, *values.shape)
    return head + values.astype(np.uint8).tobytes()


def write_emnist(raw: Path) -> None:
    """EMNIST's four files of letters, each image with its rows as columns."""
    raw.mkdir(parents=True)
    for split in ("train", "test"):
        (raw / f"emnist-letters-{split}-images-idx3-ubyte").write_bytes(idx(LETTERS.transpose(0, 2, 1)))
        (raw / f"emnist-letters-{split}-labels-idx1-ubyte").write_bytes(idx(1 + np.arange(52) % 26))
