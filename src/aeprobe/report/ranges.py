"""The ranges of several seeds of an experiment, on file: what one more run of it is expected to give."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from aeprobe.config.settings import fingerprint
from aeprobe.errors import AeprobeError
from aeprobe.files import write_atomically
from aeprobe.report.runs import Runs, gather, spread
from aeprobe.runs.stage_run import StageRun

FILE = Path(__file__).parents[1] / "assets" / "ranges.yaml"
Range = dict[str, Any]


def find(run: StageRun, key: str) -> Range | None:
    """The range of a final metric over the seeds of a run's experiment, with `name` and `n`; None: none on file.

    An experiment is recognised by its configuration, apart from the seed, paths and what only shows progress.
    """
    if run.stage == "classifier" and run.setting("stage") != "all":
        return None  # the configuration does not say how its encoder was trained
    for name, stages in _read().items():
        known = stages.get(run.stage)
        if not known or known["settings"] != fingerprint(run.settings()):
            continue
        # What is on file was minimised as the MSE, and has no second name for it.
        if found := known["final"].get(key) or known["final"].get(key.replace("/mse", "/loss")):
            return {"name": name, "n": known["n"], **found}
    return None


def write(name: str, paths: Sequence[Path]) -> Path:
    """Puts the ranges of the final metrics of some runs on file, under the name of their experiment.

    Raises:
        AeprobeError: they are no finished runs of one experiment with different seeds.
    """
    stages = {stage: _measure(runs) for stage, runs in _complete(gather(paths)).items()}
    if not stages:
        raise AeprobeError("--ranges: expected runs that trained, from stage=all or stage=autoencoder")
    # A metric's range in one line.
    content = yaml.safe_dump(_read() | {name: stages}, sort_keys=False, default_flow_style=None, width=200)
    head = FILE.read_text().partition("\n")[0]
    write_atomically(FILE, f"{head}\n{content}".encode())
    return FILE


def _read() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return content


def _complete(runs: Runs) -> Runs:
    """The stages that have runs, every one of them fit to be part of a range."""
    for stage, of_stage in runs.items():
        seeds = [run.metrics["seed"] for run in of_stage]
        if len(of_stage) == 1 or len(set(seeds)) < len(seeds):
            raise AeprobeError(
                f"--ranges: {stage} has runs of the seeds {seeds}; expected two different ones or more"
            )
        for run in of_stage:
            if run.metrics["status"] != "completed":
                raise AeprobeError(f"--ranges: {run.path} is {run.metrics['status']}; expected completed runs")
            if stage == "classifier" and run.setting("stage") != "all":
                raise AeprobeError(
                    f"--ranges: {run.path} was trained on the encoder of another run; expected runs of stage=all"
                )
    return {stage: of_stage for stage, of_stage in runs.items() if of_stage}


def _measure(runs: list[StageRun]) -> Range:
    final = {}
    for key in runs[0].metrics["final"]:
        values = [run.metrics["final"].get(key) for run in runs]
        if all(value is not None and math.isfinite(value) for value in values) and (measured := spread(values)):
            final[key] = {"min": min(values), "max": max(values), "mean": measured.mean, "sd": measured.sd}
    seeds = sorted(run.metrics["seed"] for run in runs)
    return {"settings": fingerprint(runs[0].settings()), "n": len(runs), "seeds": seeds, "final": final}
