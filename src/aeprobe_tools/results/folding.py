"""Runs of the same settings, folded over their seeds: the rows of the table over many runs.

Reads metrics.json alone and imports no torch. It works while a sweep still runs, and on one that died.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aeprobe.config import objective
from aeprobe.config.schema import STAGES, fingerprint
from aeprobe.errors import AeprobeError
from aeprobe.runs.metrics import read_metrics
from aeprobe_tools.results.stage_run import StageRun, spread


@dataclass
class Run:
    """One run; the two stages of a `stage=all` run together, their metrics named "STAGE METRIC"."""

    path: Path
    settings: dict[str, Any]  # by dotted keys, without the seed and what changes no number
    typed: dict[str, str]  # the overrides that made it, by key
    seed: str
    status: str = "completed"  # of two stages that of the less finished one
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    objective: str | None = None  # the name of the metric that its search looked at
    higher_is_better: dict[str, bool] = field(default_factory=dict)
    remark: str = ""  # on parts of the test images, whose metrics are test/METRIC/PART
    fingerprint: str = ""  # equal for runs of the same settings

    def value(self, key: str) -> str:
        """Return a setting as text, the seed, or the typed value of a key such as `experiment`; else "-"."""
        if key == "seed":
            return self.seed
        if key in self.settings:
            value = self.settings[key]
            return value if isinstance(value, str) else json.dumps(value)
        return self.typed.get(key, "-")


def find_runs(directories: Iterable[Path]) -> list[Run]:
    """Find every run below the directories; one that a directory has twice counts once."""
    directories = list(directories)
    files = (file for directory in directories for file in directory.rglob("metrics.json"))
    stages: dict[Path, list[StageRun]] = defaultdict(list)
    for path in sorted({file.parent.resolve(): file.parent for file in files}.values()):
        run = StageRun(path, read_metrics(path))
        of_both = run.setting("stage") == "all" and path.name in STAGES
        stages[path.parent if of_both else path].append(run)
    if not stages:
        names = ", ".join(map(str, directories))
        raise AeprobeError(f"{names}: no run below it (no metrics.json); give a run's or a sweep's directory")
    return [_run(path, of_path) for path, of_path in stages.items()]


def _run(path: Path, stages: Sequence[StageRun]) -> Run:
    first = stages[0]
    stage, both = str(first.setting("stage")), first.setting("stage") == "all"
    pairs = (str(override).partition("=") for override in first.metrics["overrides"])
    run = Run(path, {}, {key.lstrip("+"): value for key, _, value in pairs}, str(first.metrics["seed"]))
    with suppress(AeprobeError, ValueError):  # of a refused job it may be what was wrong
        wanted = objective.resolve(first.config)
        run.objective = wanted and (" ".join(wanted) if both else wanted[1])
    for part in stages:
        prefix = f"{part.stage} " if both else ""
        run.settings |= part.settings()
        numbers = part.metrics["final"] | (part.metrics.get("test_parts") or {})
        run.metrics |= {prefix + name: value for name, value in numbers.items() if value is not None}
        better = part.higher_is_better
        run.higher_is_better |= {prefix + k: bool(better.get(k.split("/")[1])) for k in numbers if "/" in k}
        run.remark = part.metrics.get("remark", "")
        if part.metrics["status"] != "completed":
            run.status, run.error = part.metrics["status"], part.metrics.get("error")
    ckpt = run.settings.get("ckpt") if first.stage == "probe" else first.setting("ckpt")
    run.settings |= {"stage": stage, "ckpt": ckpt}
    run.fingerprint = fingerprint(run.settings)
    if both and len(stages) < len(STAGES) and run.status == "completed":
        run.status = "running"  # between the stages
    return run


def varying_keys(runs: Sequence[Run]) -> list[str]:
    """Return the columns of a table: typed choices of files of conf/, and the settings that these do not explain.

    A preset that was edited meanwhile does not hide what was changed.
    """
    same = list({run.fingerprint: run for run in runs}.values())
    chosen = [
        key
        for key in sorted({key for run in runs for key in run.typed} - {"seed", "sweep", "search"})
        if not any(key in run.settings for run in runs)
        if len({run.value(key) for run in runs}) > 1
        if len({(run.fingerprint, run.value(key)) for run in runs}) == len(same)
    ]
    explained = defaultdict(list)
    for run in same:
        explained[tuple(run.value(key) for key in chosen)].append(run)
    keys = sorted({key for run in runs for key in run.settings})
    return chosen + [k for k in keys if any(len({run.value(k) for run in a}) > 1 for a in explained.values())]


def summarize(runs: Sequence[Run], by: str | None = None, metric: str | None = None) -> list[dict[str, Any]]:
    """Return one row per setting of the completed runs, as `aeprobe.results` does, the best first.

    Runs of the same settings and seed count once, with their mean: "repeated" counts them by seed. With `by`, a
    single key to group by, "mixed" has the settings that differ within a row. `metric` is shown alone.
    """
    if by and by != "seed" and not any(by in run.settings or by in run.typed for run in runs):
        keys = ", ".join(["seed", *varying_keys(runs)])
        raise AeprobeError(f"--by {by}: no run has such a setting; these vary: {keys}")
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.status == "completed":
            groups[run.value(by) if by else run.fingerprint].append(run)
    names = list(dict.fromkeys(name for group in groups.values() for run in group for name in run.metrics))
    if metric is not None and metric not in names:
        raise AeprobeError(f"--metric {metric}: no run has it; there are {', '.join(names) or 'none'}")
    columns = [by] if by else varying_keys(runs)
    rows = [_row(columns, group, [metric] if metric else names) for group in groups.values()]
    order, _ = order_of(runs, names, metric)
    sign = -1 if any(run.higher_is_better.get(order) for run in runs) else 1
    worst = {"mean": sign * float("inf")}
    return sorted(rows, key=lambda row: sign * row["metrics"].get(order, worst)["mean"])


def order_of(runs: Sequence[Run], names: Sequence[str], metric: str | None) -> tuple[str, str]:
    """Return the metric that the rows are sorted by, and a remark where their losses differ, or "".

    It is the one that was asked for, else the runs' objective; of losses that cannot be compared what can be.
    """
    known = [run.objective for run in runs if run.objective in names]
    known += [name for name in names if name in ("test/mse", "test/accuracy")]  # of a run that only tests
    asked = str(metric or next(iter([*known, *names]), ""))
    stages = {asked.rpartition(" ")[0] or str(run.settings["stage"]) for run in runs}
    settings = [run.settings for run in runs if run.status == "completed"]
    same, keys = objective.comparable(asked, stages.pop() if len(stages) == 1 else "", settings)
    if not keys:
        return asked, ""
    why = f"{asked} has another scale in runs that differ in {', '.join(keys)}"
    if metric or same not in names:
        return asked, f"{why}: --metric {same!r} means the same for all"
    return same, f"sorted by {same}: {why}"


def _row(keys: Sequence[str], group: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    different: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in group:
        different[run.fingerprint, run.seed].append(run)
    metrics = {}
    for name in names:
        known = ([run.metrics[name] for run in same if name in run.metrics] for same in different.values())
        if mean := spread(statistics.fmean(values) for values in known if values):
            metrics[name] = {"mean": mean.mean, "sd": mean.sd if mean.n > 1 else None}
    return {
        "settings": {key: group[0].value(key) for key in keys},
        "n": len(different),
        "seeds": sorted({run.seed for run in group}, key=int),
        "metrics": metrics,
        "repeated": {seed: len(same) for (_, seed), same in different.items() if len(same) > 1},
        "mixed": varying_keys(group),
    }
