"""Predictions of a finished run for pictures.

    aeprobe predict RUN PICTURES … [--as-is] [--json | --csv] [--save grid.png]

PICTURES are files, and directories of them. A drawn or photographed digit becomes what MNIST's makers would have
made of it; with --as-is, and for a run on other images, a picture is only resized, and its middle cut out.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from aeprobe.data.datamodule import as_pixels
from aeprobe.data.image_folder import below, grey
from aeprobe.data.sources import Classes
from aeprobe.errors import AeprobeError, printable, tell
from aeprobe.files import write_atomically
from aeprobe_tools.figures.pictures import Row, grid, shown
from aeprobe_tools.output import command
from aeprobe_tools.use.preparation import Pixels, read_picture
from aeprobe_tools.use.trained import Trained, load_stage, note, require_new, run_parser, stages, writing
from aeprobe_tools.wording import number

COMMON = 0.999  # of the test images have no larger error than one that looks like them
SHOWN = 20  # pictures in the figure that --save draws
TILE = 56  # pixels of a picture's side in it
UNLIKE = "does not look like what it was trained on"
Outputs = Mapping[str, Tensor]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("predict", "Predicts the classes of pictures.")
    parser.add_argument("pictures", nargs="+", metavar="PICTURES", help="files, and directories of them")
    as_is = "they are as the run's images already: resize at most"
    parser.add_argument("--as-is", action="store_true", help=as_is)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    figure = f"draw the first {SHOWN} and their predictions as a PNG"
    parser.add_argument("--save", type=Path, metavar="FILE", help=figure)
    given = parser.parse_intermixed_args(arguments)
    if given.save:
        require_new(given.save)
    loaded = [load_stage(given.run, stage, given.plugins) for stage in stages(given.run)]
    last = loaded[-1]
    limit, names, as_digits = _limit(loaded[0]), last.classes, last.data["handwritten"] and not given.as_is
    read, unread = _read(given.pictures, last.module.shape, as_digits)
    rows: list[dict[str, Any]] = []
    if read:
        images = torch.from_numpy(np.stack([*read.values()]))
        made = predicted(loaded, images)
        rows = [*_rows([*read], made, names, limit)]
    if given.json:
        print(json.dumps({"answers": rows, "unread": unread, "limit": limit}, indent=1))
    elif given.csv:
        head = ["file", names.noun, "probability", "second", "second_probability", "mse", "warning"]
        writer = csv.DictWriter(sys.stdout, head, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif rows:
        _print_table(rows, names.noun)
    if given.save and rows:
        with writing(given.save):
            write_atomically(given.save, _drawn([*read], images, made, names))
    if len(loaded) == 1:
        lacks = f"no {names.noun}" if last.module.stage == "autoencoder" else "no reconstruction"
        note(f"{lacks}: {last.path} is the {last.module.stage}'s alone")
    for why in unread.values():
        tell(why)
    return 1 if unread else 0


def predicted(loaded: Sequence[Trained], images: Tensor) -> Outputs:
    """Return the outputs of all stages, and the "mse" of each reconstruction, per pixel in [0, 1]."""
    made: dict[str, Tensor] = {}
    for trained in loaded:
        made |= trained.module.predict(images)
    if "reconstruction" in made:
        made["mse"] = (made["reconstruction"] - as_pixels(images)).square().mean((1, 2, 3))
    return made


def _limit(trained: Trained) -> float | None:
    """Return the MSE that 99.9 % of the test images do not exceed; None where it is not known, which is said."""
    if trained.module.stage != "autoencoder":
        return None
    try:
        errors = predicted([trained], trained.images("test").images)["mse"]
    except AeprobeError as error:
        note(f"no warnings of pictures that are unlike the test images: {error}")
        return None
    return float(np.quantile(errors.numpy(), COMMON))


def _read(
    paths: Sequence[str], shape: tuple[int, ...], as_digits: bool
) -> tuple[dict[str, Pixels], dict[str, str]]:
    """Read pictures; return images by their paths, and the reason for each path that gives none."""
    read: dict[str, Pixels] = {}
    unread: dict[str, str] = {}
    for typed in paths:
        try:
            files = [file for _, file in below(Path(typed))]
        except OSError as error:
            unread[typed] = f"{typed}: {error.strerror}"
            continue
        except ValueError as error:
            unread[typed] = str(error)
            continue
        for file in files:
            try:
                read[str(file)] = read_picture(file, shape, as_digits)
            except AeprobeError as error:
                unread[str(file)] = str(error)
    return read, unread


def _rows(files: Sequence[str], made: Outputs, names: Classes, limit: float | None) -> Iterator[dict[str, Any]]:
    """Yield what is printed of each picture, in plain values; None where this run cannot predict it."""
    errors = made["mse"].tolist() if "mse" in made else [None] * len(files)
    for i, (file, mse) in enumerate(zip(files, errors, strict=True)):
        guesses = _guesses(made, i) if "probabilities" in made else [(None, None)] * 2
        (label, probability), (second, second_probability) = guesses
        yield {
            "file": file,
            names.noun: None if label is None else names.short(label),
            "probability": probability,
            "second": None if second is None else names.short(second),
            "second_probability": second_probability,
            "mse": mse,
            "warning": UNLIKE if None not in (mse, limit) and mse > limit else None,
        }


def _guesses(made: Outputs, i: int) -> list[tuple[int, float]]:
    """Return the two most probable classes of an image and their probabilities."""
    probabilities, labels = made["probabilities"][i].topk(2)
    return [*zip(labels.tolist(), probabilities.tolist(), strict=True)]


def _print_table(rows: Sequence[dict[str, Any]], noun: str) -> None:
    table = Table(Column("file", overflow="fold"), noun, "probability", "second guess", "MSE", "")
    for row in rows:
        second = "–" if row["second"] is None else f"{row['second']} ({row['second_probability']:.2%})"
        sure = "–" if row["probability"] is None else f"{row['probability']:.2%}"
        cells = (row["file"], row[noun] or "–", sure, second, number(row["mse"]), row["warning"] or "")
        table.add_row(*map(printable, cells))
    Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False).print(table)


def _drawn(files: Sequence[str], images: Tensor, made: Outputs, names: Classes) -> bytes:
    """Draw the first pictures, what the networks saw of them, and their predictions as a PNG."""
    files, tile = files[:SHOWN], (TILE, TILE)
    squares = [ImageOps.pad(Image.fromarray(grey(Path(file), 4 * TILE)), tile, color=128) for file in files]
    rows: list[Row] = [("picture", np.stack([*map(np.asarray, squares)]) / 255, [])]
    rows.append(("what the\nnetwork saw", shown(images[:SHOWN] / 255), []))
    if "reconstruction" in made:
        words = [f"MSE {number(mse)}" for mse in made["mse"][:SHOWN].tolist()]
        rows.append(("reconstruction", shown(made["reconstruction"][:SHOWN].clamp(0, 1)), words))
    if "probabilities" in made:
        likely = [_guesses(made, i) for i in range(len(files))]
        words = ["\n".join(f"{names.drawn(label)}  {share:.0%}" for label, share in two) for two in likely]
        rows[-1] = (*rows[-1][:2], words)
    content = io.BytesIO()
    grid("Predictions of the run", rows).savefig(content, format="png")
    return content.getvalue()
