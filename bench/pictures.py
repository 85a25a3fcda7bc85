"""Right answers on pictures of digits: python -m bench.pictures RUN DIR.

DIR has a folder for each source, named KIND_NUMBER, of pictures whose names begin with the digit; at most 20 of a
source count. The second table is of test images of MNIST that the run gets right as they are, changed in the ways
of bench/digit_pictures.py.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import aeprobe.runtime  # noqa: F401

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from aeprobe import load
from aeprobe.data.image_folder import below
from aeprobe.data.mnist import MNIST
from aeprobe.errors import AeprobeError
from aeprobe.models.stage import StageModule
from aeprobe_tools.use.preparation import Pixels, prepared, read_picture
from bench.digit_pictures import KINDS

OF_A_SOURCE = 20
FIVE = ("photo", "photo28", "scan", "draw", "draw28")  # kinds whose mean is told
CHANGED = 200
EMPTY = np.zeros((28, 28), np.uint8)  # stands for a picture on which nothing is found


def predicted(model: StageModule, images: Sequence[Pixels]) -> Tensor:
    """Return the labels, int64 (N,), of images, uint8 (28, 28)."""
    labels: Tensor = model.predict(torch.from_numpy(np.stack(images)).unsqueeze(1))["label"]
    return labels


def prepared_or_empty(picture: Path | Image.Image) -> Pixels:
    """Return the image that a picture becomes, uint8 (28, 28); an empty one where nothing is found on it."""
    try:
        if isinstance(picture, Path):
            image: Pixels = read_picture(picture, (1, 28, 28), as_digit=True)[0]
            return image
        return prepared(np.asarray(picture))
    except (AeprobeError, ValueError):
        return EMPTY


def of_people(model: StageModule, folder: Path) -> dict[str, list[bool]]:
    """Return for each kind which of its pictures are predicted right."""
    right = defaultdict[str, list[bool]](list)
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [file for _, file in islice(below(source), OF_A_SOURCE)]
        labels = torch.tensor([int(file.name[0]) for file in files])
        right[source.name.rpartition("_")[0]] += (
            predicted(model, [*map(prepared_or_empty, files)]) == labels
        ).tolist()
    return right


def of_changed_digits(model: StageModule) -> dict[str, list[bool]]:
    """Return for each kind of change which digits stay right."""
    images, labels = MNIST().read("test")
    assert labels is not None
    chosen = (model.predict(images)["label"] == labels).nonzero().squeeze(1)[:CHANGED]
    right = {}
    for kind in KINDS:
        random = np.random.default_rng(0)
        made = [prepared_or_empty(kind(digit, random)) for digit in images[chosen, 0].numpy()]
        right[kind.__name__] = (predicted(model, made) == labels[chosen]).tolist()
    return right


def show(title: str, right: dict[str, list[bool]]) -> None:
    """Print a table of shares of right answers."""
    table = Table("kind", "pictures", "right", title=title)
    for kind, answers in right.items():
        table.add_row(kind, str(len(answers)), f"{np.mean(answers):.1%}")
    shares = [np.mean(right[kind]) for kind in FIVE if kind in right]
    if shares:
        table.add_row(f"mean of {len(shares)} kinds", "", f"{np.mean(shares):.1%}")
    Console().print(table)


if __name__ == "__main__":
    classifier = load(sys.argv[1])
    show(f"Pictures in {sys.argv[2]}", of_people(classifier, Path(sys.argv[2])))
    show(f"{CHANGED} test images of MNIST", of_changed_digits(classifier))
