"""Put the ranges of final metrics over seeds on file, for the page: python bench/ranges.py NAME RUN [RUN …]."""

import math
import sys
from pathlib import Path
from typing import Any

import yaml

from aeprobe.config.schema import fingerprint
from aeprobe_tools.report import comparison
from aeprobe_tools.results.stage_run import StageRun, gather, spread


def write(name: str, paths: list[Path]) -> None:
    """Add the finished runs of one experiment, of different seeds, under its name."""
    stages = {stage: measured(runs) for stage, runs in gather(paths).items() if runs}
    content = yaml.safe_dump(
        comparison.ranges() | {name: stages}, sort_keys=False, default_flow_style=None, width=200
    )
    head = comparison.RANGES.read_text().partition("\n")[0]
    comparison.RANGES.write_text(f"{head}\n{content}")


def measured(runs: list[StageRun]) -> dict[str, Any]:
    """Return the range of each metric of one stage."""
    seeds = sorted(run.metrics["seed"] for run in runs)
    if len({*seeds}) < max(2, len(runs)) or any(run.metrics["status"] != "completed" for run in runs):
        sys.exit(f"the {runs[0].stage} has runs of the seeds {seeds}: expected completed runs, two seeds or more")
    if any(run.stage == "classifier" and run.setting("stage") != "all" for run in runs):
        sys.exit("a classifier was trained on the encoder of another run: expected runs of stage=all")
    final = {}
    for key in runs[0].metrics["final"]:
        values = [run.metrics["final"].get(key) for run in runs]
        if all(value is not None and math.isfinite(value) for value in values) and (found := spread(values)):
            final[key] = {"min": min(values), "max": max(values), "mean": found.mean, "sd": found.sd}
    return {"settings": fingerprint(runs[0].settings()), "n": len(runs), "seeds": seeds, "final": final}


if __name__ == "__main__":
    write(sys.argv[1], [Path(path) for path in sys.argv[2:]])
