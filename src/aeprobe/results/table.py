"""Many runs, one table: `aeprobe results DIR [DIR …]`, a row for each setting, seeds folded."""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aeprobe.config import objective
from aeprobe.errors import AeprobeError, tell
from aeprobe.output import printing
from aeprobe.paths import home
from aeprobe.results.folding import Run, find_runs, order_of, summarize


def _cells(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    """A row's settings, its number of runs, and each metric as "mean ± sd"."""
    cells = [*row["settings"].values(), str(row["n"])]
    for found in map(row["metrics"].get, names):
        digits = 5 if found and abs(found["mean"]) < 0.1 else 4
        words = [f"{number:.{digits}f}" for number in found.values() if number is not None] if found else ["-"]
        cells.append(" ± ".join(words))
    return cells


def _remarks(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader of the rows must know, a line each."""
    found = []
    for number, row in enumerate(rows, start=1):
        for seed, count in row["repeated"].items():
            found.append(f"row {number}: seed {seed} was run {count} times with the same settings, counted once")
        if row["mixed"]:
            found.append(f"row {number}: a mean over runs that differ in {', '.join(row['mixed'])}")
    return found


def _write_csv(rows: list[dict[str, Any]], settings: list[str], names: list[str]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow([*settings, "n", *(column for name in names for column in (name, f"{name} sd"))])
    for row in rows:
        found = [row["metrics"].get(name, {"mean": "", "sd": ""}) for name in names]
        numbers = [number for value in found for number in (value["mean"], value["sd"])]
        writer.writerow([*row["settings"].values(), row["n"], *numbers])
    for remark in _remarks(rows):
        print(remark, file=sys.stderr)


def _write_markdown(rows: list[dict[str, Any]], settings: list[str], names: list[str]) -> None:
    head = [*settings, "n", *names]
    for line in (head, ["---"] * len(head), *(_cells(row, names) for row in rows)):
        print(f"| {' | '.join(line)} |")
    for remark in _remarks(rows):
        print(f"\n{remark}")


def _write_table(rows: list[dict[str, Any]], settings: list[str], names: list[str], unfinished: list[Run]) -> None:
    shown = names if len(names) == 1 else [name for name in names if "train/" not in name]
    table = Table(*settings, "n", *(name.replace(" ", "\n") for name in shown))
    for row in rows:
        table.add_row(*_cells(row, shown))
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
    console.print(table)
    for remark in _remarks(rows):
        console.print(remark, soft_wrap=True)
    for run in unfinished:
        console.print(f"{run.status}: {run.path}  {run.error or ''}", soft_wrap=True)


@printing()
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser("aeprobe results", description="One table over many runs.")
    parser.add_argument("directories", nargs="+", metavar="DIR")
    parser.add_argument("--by", metavar="KEY", help="group by this setting alone (seed: a row for each seed)")
    parser.add_argument("--metric", metavar="NAME", help="sort by this metric, and show it alone")
    parser.add_argument("--show", metavar="TEXT", default="", help="show the metrics with this in their name")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="form", action="store_const", const="csv")
    form.add_argument("--markdown", dest="form", action="store_const", const="markdown")
    form.add_argument("--json", dest="form", action="store_const", const="json")
    given = parser.parse_args(arguments)
    try:
        runs = find_runs(Path(home(directory)) for directory in given.directories)
        rows = summarize(runs, given.by, given.metric)
    except AeprobeError as error:
        tell(str(error))
        return 1
    measured = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    names, settings = [name for name in measured if given.show in name], list(rows[0]["settings"]) if rows else []
    unfinished = [run for run in runs if run.status != "completed"]
    if given.form == "json":
        left = [{"path": str(run.path), "status": run.status, "error": run.error} for run in unfinished]
        print(json.dumps({"rows": rows, "unfinished": left}, indent=1))
    elif given.form == "csv":
        _write_csv(rows, settings, names)
    elif given.form == "markdown":
        _write_markdown(rows, settings, names)
    else:
        _write_table(rows, settings, names, unfinished)
    held_out = [run.settings.get("data.val_size") for run in runs if run.status == "completed"]
    if said := objective.said_of_order(order_of(runs, measured, given.metric), held_out):
        # Below what is read, and apart from what a program reads.
        print(said, file=sys.stderr if given.form in ("json", "csv") else sys.stdout)
    return 0
