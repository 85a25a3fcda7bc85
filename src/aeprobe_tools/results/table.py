"""Many runs, one table: `aeprobe results DIR [DIR …]`, a row for each setting, seeds folded."""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from aeprobe.paths import home
from aeprobe.runs.metrics import distinct
from aeprobe_tools.output import command
from aeprobe_tools.results.folding import Run, find_runs, order_of, summarize


def _cells(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Write a row's number of runs, and each metric as "mean ± sd"."""
    cells = [str(row["n"])]
    for metric in map(row["metrics"].get, names):
        digits = 5 if metric and abs(metric["mean"]) < 0.1 else 4
        words = [f"{number:.{digits}f}" for number in metric.values() if number is not None] if metric else ["-"]
        cells.append(" ± ".join(words))
    return cells


def _remarks(
    runs: Sequence[Run], rows: Sequence[dict[str, Any]], names: Sequence[str], metric: str | None
) -> list[str]:
    """Return what has to be said of a table, of parts of the test images and of the order, a line each."""
    lines = []
    for number, row in enumerate(rows, start=1):
        for seed, count in row["repeated"].items():
            lines.append(f"row {number}: seed {seed} was run {count} times with the same settings, counted once")
        if row["mixed"]:
            lines.append(f"row {number}: a mean over runs that differ in {', '.join(row['mixed'])}")
    if any(name.count("/") > 1 for name in names):
        lines += dict.fromkeys(run.remark for run in runs if run.remark)
    order, remark = order_of(runs, _measured(rows), metric)
    lines += [remark] if remark else []
    held_out = [run.settings.get("data.val_size") for run in runs if run.status == "completed"]
    if 0 in held_out and order.rpartition(" ")[2].startswith("val/"):
        lines.append(
            f"{order} of {held_out.count(0)} of {len(held_out)} runs was measured on the test set "
            "(data.val_size=0): the first row was chosen by the test set, and its test metrics flatter it"
        )
    return lines


def _write(form: str, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Write rows as CSV, with all digits, or as a table in Markdown."""
    settings = [*rows[0]["settings"]] if rows else []
    if form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow([*settings, "n", *(column for name in names for column in (name, f"{name} sd"))])
        for row in rows:
            metrics = [row["metrics"].get(name, {}) for name in names]
            numbers = [metric.get(number) for metric in metrics for number in ("mean", "sd")]
            writer.writerow([*row["settings"].values(), row["n"], *numbers])
    else:
        head, cells = [*settings, "n", *names], [[*row["settings"].values(), *_cells(row, names)] for row in rows]
        for line in (head, ["---"] * len(head), *cells):
            print(f"| {' | '.join(line)} |")


def _table(rows: Sequence[dict[str, Any]], keys: Sequence[str] | None, names: Sequence[str]) -> Table:
    """Make a table of some settings and metrics; without keys its rows have numbers instead of settings."""
    heads = [*(["row"] if keys is None else keys), "n", *(name.replace(" ", "\n") for name in names)]
    table = Table(*(Column(head, overflow="fold") for head in heads))
    for number, row in enumerate(rows, start=1):
        first = [str(number)] if keys is None else row["settings"].values()
        table.add_row(*first, *_cells(row, names))
    return table


def _tables(rows: Sequence[dict[str, Any]], names: Sequence[str], console: Console) -> Iterator[Table | str]:
    """Yield the rows in tables as wide as the screen: no number is cut off, and each table names its rows.

    Settings that would take more than half of the width have lines of their own, below.
    """

    def width(names: Sequence[str]) -> int:
        return console.measure(_table(rows, keys, names), options=unlimited).maximum

    unlimited = console.options.update(max_width=10_000)
    keys: list[str] | None = list(rows[0]["settings"])
    if width([]) > console.width // 2:
        keys = None
    shown: list[str] = []
    for name in names:
        if shown and width([*shown, name]) > console.width:
            yield _table(rows, keys, shown)
            shown = []
        shown.append(name)
    yield _table(rows, keys, shown)
    for number, row in enumerate(rows if keys is None else (), start=1):
        yield f"row {number}: " + " ".join(f"{key}={value}" for key, value in row["settings"].items())


def _write_tables(runs: Sequence[Run], given: argparse.Namespace, console: Console) -> None:
    """Write a table for each stage, which has its own metrics; one for all if one key or metric is asked for."""
    together = given.by is not None or given.metric is not None
    stages: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        stages["" if together else run.settings["stage"]].append(run)
    for stage, alike in stages.items():
        if not (rows := summarize(alike, given.by, given.metric)):
            continue
        if len(stages) > 1:
            console.print(f"stage={stage}")
        names = _of_the_screen(rows, given.show)
        for part in _tables(rows, names, console):
            console.print(part, soft_wrap=isinstance(part, str))
        for line in _remarks(alike, rows, names, given.metric):
            console.print(line, soft_wrap=True)
    for run in runs:
        if run.status != "completed":
            console.print(f"{run.status}: {run.path}  {run.error or ''}", soft_wrap=True)


def _measured(rows: Sequence[dict[str, Any]], show: str = "") -> list[str]:
    """Return the names of the metrics; those of parts of the test images where they are asked for."""
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"] if show in name))
    return [name for name in names if show or name.count("/") == 1] or names


def _of_the_screen(rows: Sequence[dict[str, Any]], show: str) -> list[str]:
    """Leave out metrics of training, and an MSE that is the loss, if there are several metrics."""
    names = _measured(rows, show)
    means = [{name: row["metrics"][name]["mean"] for name in names if name in row["metrics"]} for row in rows]
    told = {name for values in means for name in distinct(values) if "train/" not in name}
    return names if len(names) == 1 else [name for name in names if name in told]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser("aeprobe results", description="One table over many runs.")
    parser.add_argument("directories", nargs="+", metavar="DIR")
    parser.add_argument("--by", metavar="KEY", help="group by this setting alone (seed: a row for each seed)")
    parser.add_argument("--metric", metavar="NAME", help="sort by this metric, and show it alone")
    parser.add_argument("--show", metavar="TEXT", default="", help="show the metrics with this in their name")
    form = parser.add_mutually_exclusive_group()
    for name in ("csv", "markdown", "json"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name)
    given = parser.parse_args(arguments)
    runs = find_runs(Path(home(directory)) for directory in given.directories)
    if given.form is None:
        _write_tables(runs, given, Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False))
        return 0
    rows = summarize(runs, given.by, given.metric)
    names = _measured(rows, given.show)
    if given.form == "json":
        left = [run for run in runs if run.status != "completed"]
        unfinished = [{"path": str(run.path), "status": run.status, "error": run.error} for run in left]
        print(json.dumps({"rows": rows, "unfinished": unfinished}, indent=1))
    else:
        _write(given.form, rows, names)
    for line in _remarks(runs, rows, names, given.metric):
        if given.form == "markdown":
            print(f"\n{line}")
        else:  # apart from what a program reads
            print(line, file=sys.stderr)
    return 0
