"""Predictions of a finished run for pictures.

    aeprobe predict RUN PICTURES … [--as-is] [--json | --csv] [--save grid.png]

PICTURES are files (PNG, JPEG, WebP, BMP, GIF, TIFF, PPM) and directories, of which all pictures below are taken in
the order of their names. A drawn or photographed digit becomes what MNIST's makers would have made of it: light on
black, fitted to 20 x 20 pixels and centred by its mass in 28 x 28. With --as-is, and for a run on other images, a
picture is only resized, as little as makes it cover the run's size, and its middle is cut out.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import numpy as np
import torch
from PIL import Image as Pillow
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from aeprobe.data.datamodule import PART
from aeprobe.data.pictures import below, grey
from aeprobe.errors import AeprobeError, printable, tell
from aeprobe.files import write_atomically
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.paths import home
from aeprobe_tools.figures.charts import Array
from aeprobe_tools.figures.prepare import shown
from aeprobe_tools.figures.tiles import Row, grid
from aeprobe_tools.output import command
from aeprobe_tools.use.picture_files import Image, read_picture
from aeprobe_tools.use.trained import load_stage, note, run_parser, stages, typed_path
from aeprobe_tools.wording import number

COMMON = 0.999  # of the test images have no larger error than one that looks like them
SHOWN = 20  # pictures in the figure that --save draws
BAR = 3  # pixels of a class's bar in it
TILE = 56  # pixels of a picture's side in it
UNLIKE = "does not look like what it was trained on"


class Predictor:
    """The modules of a run, to predict with: both of `stage=all`; of one stage alone, or a .ckpt file, its own.

    Attributes:
        autoencoder: None in a classifier's run.
        classifier: None in an autoencoder's run.
        names: of the classes.
        limit: the MSE that 99.9 % of the test images do not exceed; None if it is not known, which is said.
    """

    def __init__(self, run: Path, plugins: Sequence[str] = ()) -> None:
        self.autoencoder: Autoencoder | None = None
        self.classifier: Classifier | None = None
        self.limit: float | None = None
        for stage in stages(run):
            self.last = load_stage(run, stage, plugins)
            if isinstance(self.last.module, Classifier):
                self.classifier = self.last.module
            else:
                self.autoencoder = self.last.module
        self.names = self.last.classes
        if self.autoencoder:
            try:
                errors = self.errors(self.last.images("test").images)
                self.limit = float(np.quantile(errors.numpy(), COMMON))
            except AeprobeError as error:
                note(f"no warnings of pictures that are unlike the test images: {error}")

    @property
    def missing(self) -> str:
        """A remark on what this run cannot predict; "" if it predicts all."""
        if self.classifier is None:
            return f"no {self.names.noun}: {self.last.path} is an autoencoder's"
        return f"no reconstruction: {self.last.path} is a classifier's" if self.autoencoder is None else ""

    def read(self, path: Path, as_is: bool) -> Image:
        """Read a picture as an image for the networks, uint8 (channels, height, width)."""
        return read_picture(path, self.last.module.shape, as_digit=self.last.data["handwritten"] and not as_is)

    def errors(self, images: Tensor) -> Tensor:
        """Return the MSE of each image's reconstruction, per pixel in [0, 1]."""
        assert self.autoencoder is not None
        errors = []
        for part in images.split(PART):
            off = self.autoencoder.predict(part)["reconstruction"] - self.autoencoder.normalize.pixels(part)
            errors.append(off.square().mean((1, 2, 3)))
        return torch.cat(errors)

    def rows(self, files: Sequence[str], images: Tensor) -> Iterator[dict[str, Any]]:
        """Yield what is printed of each picture, in plain values; None where this run cannot predict it."""
        errors = self.errors(images).tolist() if self.autoencoder else [None] * len(files)
        guesses = self.guesses(images) if self.classifier else [[]] * len(files)
        for file, mse, likely in zip(files, errors, guesses, strict=True):
            (label, probability), (second, second_probability) = [*likely, (None, None), (None, None)][:2]
            yield {
                "file": file,
                self.names.noun: None if label is None else self.names.short(label),
                "probability": probability,
                "second": None if second is None else self.names.short(second),
                "second_probability": second_probability,
                "mse": mse,
                "warning": UNLIKE if mse is not None and self.limit is not None and mse > self.limit else None,
            }

    def guesses(self, images: Tensor) -> list[list[tuple[int, float]]]:
        """Return the two most probable classes of each image and their probabilities, best first."""
        assert self.classifier is not None
        probabilities = self.classifier.predict(images)["probabilities"]
        values, labels = probabilities.topk(min(2, probabilities.shape[1]))
        return [[*zip(*pair, strict=True)] for pair in zip(labels.tolist(), values.tolist(), strict=True)]


def _files(paths: Sequence[str], unread: dict[str, str]) -> Iterator[Path]:
    """Yield the pictures' paths; `unread` gets those that lead nowhere, and why."""
    for typed in paths:
        try:
            yield from [path for _, path in below([Path(home(typed))])]
        except (AeprobeError, ValueError) as error:
            unread[typed] = str(error)
        except OSError as error:
            unread[typed] = f"{typed}: {error.strerror}"


def _print_table(rows: Sequence[dict[str, Any]], noun: str) -> None:
    table = Table(Column("file", overflow="fold"), noun, "probability", "second guess", "MSE", "")
    for row in rows:
        second = "–" if row["second"] is None else f"{row['second']} ({row['second_probability']:.2%})"
        sure = "–" if row["probability"] is None else f"{row['probability']:.2%}"
        cells = (row["file"], row[noun] or "–", sure, second, number(row["mse"]), row["warning"] or "")
        table.add_row(*map(printable, cells))
    Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False).print(table)


def _drawn(predictor: Predictor, files: Sequence[str], images: Tensor) -> bytes:
    """Draw pictures, what the networks saw of them, and their predictions as a PNG."""
    pictures = np.stack([_square(grey(Path(file), 4 * TILE)) for file in files]) / 255
    rows: list[Row] = [("picture", pictures, []), ("what the\nnetwork saw", shown(images / 255), [])]
    words: list[str] = []
    if predictor.autoencoder:
        made = predictor.autoencoder.predict(images)["reconstruction"]
        rows.append(("reconstruction", shown(made.clamp(0, 1)), []))
        words = [f"MSE {number(mse)}" for mse in predictor.errors(images).tolist()]
    if predictor.classifier:
        bars = _bars(predictor.classifier.predict(images)["probabilities"].numpy())
        rows.append(("probability\nof each class", bars, []))
        drawn = predictor.names.drawn
        words = ["\n".join(f"{drawn(c)}  {p:.0%}" for c, p in likely) for likely in predictor.guesses(images)]
    rows[-1] = (*rows[-1][:2], words)
    content = io.BytesIO()
    grid("Predictions of the run", rows).savefig(content, format="png")
    return content.getvalue()


def _square(whole: Image) -> Image:
    """Fit a grey picture, (height, width), into a tile, on a middle grey."""
    height, width = (max(1, round(length * TILE / max(whole.shape))) for length in whole.shape)
    tile: Image = np.full((TILE, TILE), 128, np.uint8)
    top, left = (TILE - height) // 2, (TILE - width) // 2
    tile[top : top + height, left : left + width] = np.asarray(Pillow.fromarray(whole).resize((width, height)))
    return tile


def _bars(probabilities: Array) -> Array:
    """Return a bar for each class as an image, dark on white, (N, height, width)."""
    classes = probabilities.shape[1]
    height = BAR * min(classes, 20)
    images = np.ones((len(probabilities), height, BAR * classes))
    filled = np.arange(height)[::-1, None] < height * probabilities[:, None]  # from the lowest row up
    images[filled.repeat(BAR, 2)] = 0.2
    images[:, -1] = np.minimum(images[:, -1], 0.6)  # the line on which they stand
    images[:, :, BAR - 1 :: BAR] = 1
    return images


def _require_free(file: Path) -> None:
    """Refuse a place for the figure: no file is replaced."""
    if file.suffix.lower() != ".png":
        raise AeprobeError(f"--save {file}: a PNG is drawn: give a name that ends in .png")
    if file.exists() or not file.parent.is_dir():
        why = "exists" if file.exists() else "no such directory"
        raise AeprobeError(f"--save {file}: {why}: give another file")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("predict", "Predicts the classes of pictures.")
    parser.add_argument("pictures", nargs="+", metavar="PICTURES", help="files, and directories of them")
    parser.add_argument(
        "--as-is", action="store_true", help="they are as the run's images already: resize at most"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    parser.add_argument(
        "--save", type=typed_path, metavar="FILE", help=f"draw the first {SHOWN} and their predictions as a PNG"
    )
    given = parser.parse_intermixed_args(arguments)
    if figure := given.save:
        _require_free(figure)
    predictor = Predictor(given.run, given.plugins)
    unread: dict[str, str] = {}
    files: list[str] = []
    read: list[Image] = []
    for path in _files(given.pictures, unread):
        try:
            read.append(predictor.read(path, given.as_is))
            files.append(str(path))
        except AeprobeError as error:
            unread[str(path)] = str(error)
    images = torch.from_numpy(np.stack(read)) if read else torch.empty(0)
    rows = [*predictor.rows(files, images)] if read else []
    if given.json:
        print(json.dumps({"answers": rows, "unread": unread, "limit": predictor.limit}, indent=1))
    elif given.csv:
        noun = predictor.names.noun
        head = ["file", noun, "probability", "second", "second_probability", "mse", "warning"]
        writer = csv.DictWriter(sys.stdout, head, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif rows:
        _print_table(rows, predictor.names.noun)
    if figure and rows:
        write_atomically(figure, _drawn(predictor, files[:SHOWN], images[:SHOWN]))
    if predictor.missing:
        note(predictor.missing)
    for why in unread.values():
        tell(why)
    return 1 if unread else 0
