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
from aeprobe.paths import home
from aeprobe.results.folding import Run, find_runs, order_of, summarize


def _cell(found: dict[str, float | None] | None) -> str:
    if found is None:
        return "-"
    mean, sd = found["mean"], found["sd"]
    assert mean is not None
    digits = 5 if abs(mean) < 0.1 else 4
    return f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def _remarks(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader of the rows must know, a line each."""
    found = []
    for number, row in enumerate(rows, start=1):
        for seed, count in row["repeated"].items():
            found.append(f"row {number}: seed {seed} was run {count} times with the same settings, counted once")
        if row["mixed"]:
            found.append(f"row {number}: a mean over runs that differ in {', '.join(row['mixed'])}")
    return found


def _write_csv(rows: list[dict[str, Any]], names: list[str]) -> None:
    writer = csv.writer(sys.stdout)
    settings = list(rows[0]["settings"]) if rows else []
    writer.writerow([*settings, "n", *(column for name in names for column in (name, f"{name} sd"))])
    for row in rows:
        found = [row["metrics"].get(name, {"mean": "", "sd": ""}) for name in names]
        numbers = [number for value in found for number in (value["mean"], value["sd"])]
        writer.writerow([*row["settings"].values(), row["n"], *numbers])


def _write_markdown(rows: list[dict[str, Any]], names: list[str]) -> None:
    settings = list(rows[0]["settings"]) if rows else []
    print("| " + " | ".join([*settings, "n", *names]) + " |")
    print("|" + " --- |" * (len(settings) + 1 + len(names)))
    for row in rows:
        cells = [_cell(row["metrics"].get(name)) for name in names]
        print("| " + " | ".join([*row["settings"].values(), str(row["n"]), *cells]) + " |")
    for remark in _remarks(rows):
        print(f"\n{remark}")


def _write_table(rows: list[dict[str, Any]], names: list[str], unfinished: list[Run]) -> None:
    shown = names if len(names) == 1 else [name for name in names if "train/" not in name]
    table = Table(*(rows[0]["settings"] if rows else []), "n", *(name.replace(" ", "\n") for name in shown))
    for row in rows:
        cells = [_cell(row["metrics"].get(name)) for name in shown]
        table.add_row(*row["settings"].values(), str(row["n"]), *cells)
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
    console.print(table)
    for remark in _remarks(rows):
        console.print(remark, soft_wrap=True)
    for run in unfinished:
        console.print(f"{run.status}: {run.path}  {run.error or ''}", soft_wrap=True)


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
    names = [n for n in dict.fromkeys(name for row in rows for name in row["metrics"]) if given.show in n]
    unfinished = [run for run in runs if run.status != "completed"]
    if given.form == "json":
        left = [{"path": str(run.path), "status": run.status, "error": run.error} for run in unfinished]
        print(json.dumps({"rows": rows, "unfinished": left}, indent=1))
    elif given.form == "csv":
        _write_csv(rows, names)
        for remark in _remarks(rows):
            print(remark, file=sys.stderr)
    elif given.form == "markdown":
        _write_markdown(rows, names)
    else:
        _write_table(rows, names, unfinished)
    order = order_of(runs, [name for row in rows for name in row["metrics"]], given.metric)
    said = objective.said_of_order(
        order, [run.settings.get("data.val_size") for run in runs if run.status == "completed"]
    )
    if said:  # below what is read, and apart from what a program reads
        print(said, file=sys.stderr if given.form in ("json", "csv") else sys.stdout)
    return 0
