"""What a finished run says of pictures.

    aeprobe predict RUN PICTURES … [--as-is] [--json | --csv] [--save grid.png]

PICTURES are files (PNG, JPEG, WebP, BMP, GIF, TIFF, PPM) and directories, of which all pictures below are taken in
the order of their names. A drawn or photographed digit becomes what MNIST's makers would have made of it: light on
black, fitted to 20 x 20 pixels and centred by its mass in 28 x 28. With --as-is, and for a run on other images, a
picture is only resized, as little as makes it cover the run's size, and its middle is cut out.
"""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table
from torch.utils.data import DataLoader, Dataset

from aeprobe.data.pictures import below, grey
from aeprobe.errors import AeprobeError, printable, tell
from aeprobe.files import write_atomically
from aeprobe.inference.answers import Answer, Oracle
from aeprobe.inference.module import note
from aeprobe.inference.pictures import Image, square
from aeprobe.output import command
from aeprobe.paths import home
from aeprobe.wording import number

COLUMNS = ("probability", "second", "second_probability", "mse", "warning")
MANY = 200  # pictures, which several processes read
SHOWN = 20  # pictures in the figure that --save draws
MARK = "aeprobe predict"  # in such a figure, which may be replaced by another
TILE = 56  # pixels of a picture's side in it
UNLIKE = "does not look like what it was trained on"


def read_all(
    oracle: Oracle, paths: Sequence[str], as_is: bool, unread: dict[str, str]
) -> Iterator[tuple[str, Image]]:
    """Each picture's path and image; `unread` gets the paths of those that cannot be read, and why."""
    files: list[Path] = []
    for given in paths:
        try:
            files += [path for _, path in below([_home(given)])]
        except (AeprobeError, ValueError) as error:
            unread[given] = str(error)
        except OSError as error:
            unread[given] = f"{given}: {error.strerror}"
    workers = (os.cpu_count() or 1) if len(files) > MANY else 0
    pictures = Pictures(files, oracle.reader(as_is))
    batches = DataLoader(pictures, batch_size=50, num_workers=workers, collate_fn=list)
    for path, found in zip(files, chain.from_iterable(batches), strict=True):
        if isinstance(found, str):
            unread[str(path)] = found
        else:
            yield str(path), found


def _home(path: str) -> Path:
    """A path as typed if it is there, such as an editor's ~$draft.png, else with ~ as the home directory."""
    return Path(path) if Path(path).exists() else Path(home(path))


class Pictures(Dataset[Image | str]):
    """Files as images, or why one cannot be read.

    Args:
        files: their paths.
        read: makes an image of a path, or raises AeprobeError.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[Path], Image]) -> None:
        self.files, self.read = files, read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Image | str:
        try:
            return self.read(self.files[index])
        except AeprobeError as error:
            return str(error)


def row(oracle: Oracle, answer: Answer) -> dict[str, Any]:
    """What --json and --csv say of a picture, in plain values."""
    (label, probability), (second, less) = [*answer.guesses(2), (None, None), (None, None)][:2]
    names = [None if one is None else oracle.names.short(one) for one in (label, second)]
    return {
        "file": answer.name,
        oracle.names.noun: names[0],
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


def _drawn(oracle: Oracle, answers: Sequence[Answer]) -> bytes:
    """A PNG of the first pictures and what is said of them."""
    from aeprobe.figures.answers import answered
    from aeprobe.figures.of_run import shown

    first = answers[:SHOWN]
    pictures = np.stack([square(grey(Path(one.name), 4 * TILE), TILE) for one in first]) / 255
    seen = shown(torch.from_numpy(np.stack([one.image for one in first])) / 255)
    made = [one.reconstruction for one in first if one.reconstruction is not None]
    likely = [one.probabilities for one in first if one.probabilities is not None]
    words = ["\n".join(f"{oracle.names.drawn(label)}  {p:.0%}" for label, p in one.guesses(2)) for one in first]
    figure = answered(
        pictures,
        seen,
        shown(torch.stack(made).clamp(0, 1)) if made else None,
        torch.stack(likely).numpy() if likely else None,
        words if likely else [f"MSE {number(one.mse)}" for one in first],
    )
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": MARK})
    return content.getvalue()


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser("aeprobe predict", description="What a finished run says of pictures.")
    parser.add_argument("run", metavar="RUN", help="a run directory, best of stage=all, or a .ckpt file")
    parser.add_argument("pictures", nargs="+", metavar="PICTURES", help="files, and directories of them")
    parser.add_argument(
        "--as-is", action="store_true", help="they are as the run's images already: resize at most"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    parser.add_argument(
        "--save", metavar="FILE", help=f"draw the first {SHOWN}, and what is said of them, as a PNG"
    )
    parser.add_argument(
        "--plugins", action="append", default=[], metavar="PACKAGE", help="whose classes RUN names"
    )
    given = parser.parse_intermixed_args(arguments)
    unread: dict[str, str] = {}
    oracle = Oracle(Path(home(given.run)), given.plugins)
    figure = _place(given.save)
    answers = [*oracle.answer(read_all(oracle, given.pictures, given.as_is, unread))]
    rows = [row(oracle, answer) for answer in answers]
    if given.json:
        print(json.dumps({"answers": rows, "unread": unread, "limit": oracle.limit}, indent=1))
    elif given.csv:
        _print_csv(rows, oracle.names.noun)
    elif rows:
        _print_table(rows, oracle.names.noun)
    if figure and answers:
        _write(figure, _drawn(oracle, answers))
    if oracle.missing:
        note(oracle.missing)
    for why in unread.values():
        tell(why)
    return 1 if unread else 0


def _place(save: str | None) -> Path | None:
    """Where the figure goes, if one is wanted; nothing is replaced but an earlier one."""
    if save is None:
        return None
    file = Path(home(save))
    if file.suffix.lower() != ".png":
        raise AeprobeError(f"--save {file}: a PNG is drawn: give a name that ends in .png")
    if file.exists() and not (file.is_file() and MARK.encode() in file.read_bytes()[:1000]):
        raise AeprobeError(f"--save {file}: is there already, and not drawn by {MARK}: give another file")
    if not file.parent.is_dir():
        raise AeprobeError(f"--save {file}: cannot be written (there is no directory {file.parent}): make it")
    return file


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomically(file, content)
    except OSError as error:
        raise AeprobeError(f"--save {file}: cannot be written ({error.strerror}): give another file") from error
