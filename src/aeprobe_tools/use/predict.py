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
from rich.console import Console
from rich.table import Column, Table

from aeprobe.data.pictures import below, grey
from aeprobe.errors import AeprobeError, printable, tell
from aeprobe.files import write_atomically
from aeprobe.paths import home
from aeprobe_tools.figures.charts import Array
from aeprobe_tools.figures.of_run import shown
from aeprobe_tools.figures.tiles import Row, grid
from aeprobe_tools.output import command
from aeprobe_tools.use.finished_run import Answer, FinishedRun
from aeprobe_tools.use.module import note, run_parser
from aeprobe_tools.use.picture_files import Image, square
from aeprobe_tools.wording import number

COLUMNS = ("probability", "second", "second_probability", "mse", "warning")
SHOWN = 20  # pictures in the figure that --save draws
BAR = 3  # pixels of a class's bar in it
TILE = 56  # pixels of a picture's side in it
UNLIKE = "does not look like what it was trained on"


def read_all(
    finished: FinishedRun, paths: Sequence[str], as_is: bool, unread: dict[str, str]
) -> Iterator[tuple[str, Image]]:
    """Yield each picture's path and image; `unread` gets the paths of those that cannot be read, and why."""
    files: list[Path] = []
    for given in paths:
        try:
            files += [path for _, path in below([Path(home(given))])]
        except (AeprobeError, ValueError) as error:
            unread[given] = str(error)
        except OSError as error:
            unread[given] = f"{given}: {error.strerror}"
    read = finished.reader(as_is)
    for path in files:
        try:
            yield str(path), read(path)
        except AeprobeError as error:
            unread[str(path)] = str(error)


def row(finished: FinishedRun, answer: Answer) -> dict[str, Any]:
    """Return what --json and --csv say of a picture, in plain values."""
    (label, probability), (second, less) = [*answer.guesses(2), (None, None), (None, None)][:2]
    names = [None if one is None else finished.names.short(one) for one in (label, second)]
    return {
        "file": answer.name,
        finished.names.noun: names[0],
        "probability": probability,
        "second": names[1],
        "second_probability": less,
        "mse": answer.mse,
        "warning": UNLIKE if answer.unlike else None,
    }


def _print_table(rows: Sequence[dict[str, Any]], noun: str) -> None:
    table = Table(Column("file", overflow="fold"), noun, "probability", "second guess", "MSE", "")
    for one in rows:
        second = "–" if one["second"] is None else f"{one['second']} ({one['second_probability']:.2%})"
        sure = "–" if one["probability"] is None else f"{one['probability']:.2%}"
        cells = (one["file"], one[noun] or "–", sure, second, number(one["mse"]), one["warning"] or "")
        table.add_row(*map(printable, cells))
    Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False).print(table)


def _print_csv(rows: Sequence[dict[str, Any]], noun: str) -> None:
    writer = csv.DictWriter(sys.stdout, ["file", noun, *COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _drawn(finished: FinishedRun, answers: Sequence[Answer]) -> bytes:
    """Draw the first pictures, what the networks saw of them, and their predictions as a PNG."""
    first = answers[:SHOWN]
    pictures = np.stack([square(grey(Path(one.name), 4 * TILE), TILE) for one in first]) / 255
    seen = shown(torch.from_numpy(np.stack([one.image for one in first])) / 255)
    rows: list[Row] = [("picture", pictures, []), ("what the\nnetwork saw", seen, [])]
    words = [f"MSE {number(one.mse)}" for one in first]
    if made := [one.reconstruction for one in first if one.reconstruction is not None]:
        rows.append(("reconstruction", shown(torch.stack(made).clamp(0, 1)), []))
    if likely := [one.probabilities for one in first if one.probabilities is not None]:
        rows.append(("probability\nof each class", _bars(torch.stack(likely).numpy()), []))
        words = ["\n".join(f"{finished.names.drawn(c)}  {p:.0%}" for c, p in one.guesses(2)) for one in first]
    rows[-1] = (*rows[-1][:2], words)
    content = io.BytesIO()
    grid("Predictions of the run", rows).savefig(content, format="png")
    return content.getvalue()


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
    parser.add_argument("--save", metavar="FILE", help=f"draw the first {SHOWN} and their predictions as a PNG")
    given = parser.parse_intermixed_args(arguments)
    unread: dict[str, str] = {}
    finished = FinishedRun(Path(home(given.run)), given.plugins)
    figure = _place(given.save)
    answers = [*finished.answer(read_all(finished, given.pictures, given.as_is, unread))]
    rows = [row(finished, answer) for answer in answers]
    if given.json:
        print(json.dumps({"answers": rows, "unread": unread, "limit": finished.limit}, indent=1))
    elif given.csv:
        _print_csv(rows, finished.names.noun)
    elif rows:
        _print_table(rows, finished.names.noun)
    if figure and answers:
        write_atomically(figure, _drawn(finished, answers))
    if finished.missing:
        note(finished.missing)
    for why in unread.values():
        tell(why)
    return 1 if unread else 0


def _place(save: str | None) -> Path | None:
    """Return the figure's path, if one is wanted; no file is replaced."""
    file = Path(home(save)) if save else None
    if file and file.suffix.lower() != ".png":
        raise AeprobeError(f"--save {file}: a PNG is drawn: give a name that ends in .png")
    if file and (file.exists() or not file.parent.is_dir()):
        raise AeprobeError(
            f"--save {file}: {'exists' if file.exists() else 'no such directory'}: give another file"
        )
    return file
