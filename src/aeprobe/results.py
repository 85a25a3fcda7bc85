"""Many runs, one table: `python -m aeprobe.results DIR [DIR …]`, a row for each setting, seeds folded.

Reads metrics.json alone and imports no torch. It works while a sweep still runs, and on one that died.
"""

import argparse
import csv
import json
import os
import statistics
import sys
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aeprobe import objective
from aeprobe.config import Stage
from aeprobe.errors import AeprobeError, tell
from aeprobe.paths import home
from aeprobe.rundir import read_metrics

STAGES = ("autoencoder", "classifier")


@dataclass
class Run:
    """One run; the two stages of a `stage=all` run together, their metrics named "STAGE METRIC".

    Attributes:
        path: its directory.
        settings: the overrides that made it, by key, without `sweep` and `seed`.
        seed: as the run used it.
        status: "completed", "running", "interrupted" or "failed"; of two stages the less finished one.
        error: one line, or None.
        metrics: the final metrics, by name.
        objective: the name of the one that its search looked at, or None.
    """

    path: Path
    settings: dict[str, str]
    seed: str
    status: str = "completed"
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    objective: str | None = None


def find_runs(directories: Iterable[Path]) -> list[Run]:
    """Every run below the directories.

    Raises:
        AeprobeError: there is none, or a metrics.json is not of this project.
    """
    directories = list(directories)
    found = _run_directories(directories)
    stages: dict[Path, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(found):
        metrics = read_metrics(path)
        whole = metrics["config"]["stage"] == "all" and path.name in STAGES
        stages[path.parent if whole else path].append(metrics)
    if not stages:
        names = ", ".join(map(str, directories))
        raise AeprobeError(f"{names}: no run below it (no metrics.json); give a run's or a sweep's directory")
    return [_run(path, of_path) for path, of_path in stages.items()]


def _run_directories(directories: Iterable[Path]) -> list[Path]:
    """Those that hold a metrics.json, each once: links to directories are followed, but none in a run's."""
    waiting = deque((path, False) for path in directories)
    seen, found = set[str](), []
    while waiting:
        path, in_run = waiting.popleft()
        real = os.path.realpath(path)
        if real in seen or not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
            continue
        seen.add(real)
        holds = [part for part in ("", *STAGES) if (path / part / "metrics.json").exists()]
        found += [path] if "" in holds else []
        in_run = in_run or bool(holds)
        for entry in os.scandir(path):
            if entry.is_symlink() and not in_run:
                waiting.append((path / entry.name, False))  # last, so that a run's own path comes first
            elif entry.is_dir(follow_symlinks=False):
                waiting.appendleft((path / entry.name, in_run))
    return found


def _run(path: Path, stages: Sequence[dict[str, Any]]) -> Run:
    pairs = (override.partition("=") for override in stages[0]["overrides"])
    settings = {key: value for key, _, value in pairs if key not in ("sweep", "seed")}
    run = Run(path, settings, str(stages[0]["seed"]))
    both = stages[0]["config"]["stage"] == "all"
    with suppress(AeprobeError, ValueError):  # of a refused job it may be what was wrong
        wanted = objective.resolve(stages[0]["config"].get("objective"), Stage(stages[0]["config"]["stage"]))
        run.objective = wanted and (" ".join(wanted) if both else wanted[1])
    for stage in stages:
        prefix = f"{stage['stage']} " if both else ""
        run.metrics |= {prefix + k: v for k, v in stage["final"].items() if v is not None}
        if stage["status"] != "completed":
            run.status, run.error = stage["status"], stage["error"]
    if both and len(stages) < len(STAGES) and run.status == "completed":
        run.status = "running"  # between the stages
    return run


def fold(runs: Sequence[Run], by: str | None = None) -> tuple[list[str], dict[tuple[str, ...], list[Run]]]:
    """Groups completed runs by the settings that vary, or by one key.

    Returns:
        The names of the settings, and the runs of each combination of their values.
    """
    keys = [by] if by else sorted({key for run in runs for key in run.settings})
    values = {
        key: [run.seed if key == "seed" else run.settings.get(key, "default") for run in runs] for key in keys
    }
    varying = [key for key in keys if by or len(set(values[key])) > 1]
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for index, run in enumerate(runs):
        if run.status == "completed":
            groups[tuple(values[key][index] for key in varying)].append(run)
    return varying, groups


def summarize(runs: Sequence[Run], by: str | None = None, metric: str | None = None) -> list[dict[str, Any]]:
    """One row per setting, the best first.

    Args:
        runs: from `find_runs`.
        by: a single key to group by, instead of all that vary.
        metric: the name to sort by and to show alone; by default the runs' objective, and all are shown.

    Returns:
        Rows of {"settings": {…}, "n": …, "seeds": […], "metrics": {name: {"mean": …, "sd": …}}}; sd is None
        for a single run.

    Raises:
        AeprobeError: no run has that metric.
    """
    varying, groups = fold(runs, by)
    names = list(dict.fromkeys(name for group in groups.values() for run in group for name in run.metrics))
    if metric is not None and metric not in names:
        raise AeprobeError(f"--metric {metric}: no run has it; there are {', '.join(names) or 'none'}")
    rows: list[dict[str, Any]] = []
    for key, group in groups.items():
        shown = {}
        for name in [metric] if metric else names:
            found = [run.metrics[name] for run in group if name in run.metrics]
            if found:
                shown[name] = {"mean": statistics.fmean(found), "sd": _deviation(found)}
        settings = dict(zip(varying, key, strict=True))
        seeds = sorted((run.seed for run in group), key=int)
        rows.append({"settings": settings, "n": len(group), "seeds": seeds, "metrics": shown})
    order = metric or next((run.objective for run in runs if run.objective in names), "") or "".join(names[:1])
    sign = -1 if "accuracy" in order else 1
    worst = {"mean": sign * float("inf")}
    return sorted(rows, key=lambda row: sign * row["metrics"].get(order, worst)["mean"])


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _cell(found: dict[str, float | None] | None) -> str:
    if found is None:
        return "-"
    mean, sd = found["mean"], found["sd"]
    assert mean is not None
    digits = 5 if abs(mean) < 0.1 else 4
    return f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"


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


def _write_table(rows: list[dict[str, Any]], names: list[str], unfinished: list[Run]) -> None:
    shown = names if len(names) == 1 else [name for name in names if "train/" not in name]
    table = Table(*(rows[0]["settings"] if rows else []), "n", *(name.replace(" ", "\n") for name in shown))
    for row in rows:
        cells = [_cell(row["metrics"].get(name)) for name in shown]
        table.add_row(*row["settings"].values(), str(row["n"]), *cells)
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
    console.print(table)
    for run in unfinished:
        console.print(f"{run.status}: {run.path}  {run.error or ''}", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m aeprobe.results", description="One table over many runs.")
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
    elif given.form == "markdown":
        _write_markdown(rows, names)
    else:
        _write_table(rows, names, unfinished)
    return 0


if __name__ == "__main__":
    sys.exit(main())
