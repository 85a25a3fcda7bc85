"""The ranges of several seeds of an experiment, on file: what one more run of it is expected to give."""

from pathlib import Path
from typing import Any

import yaml

from aeprobe.config.settings import fingerprint
from aeprobe_tools.results.stage_run import StageRun

FILE = Path(__file__).parents[1] / "assets" / "ranges.yaml"  # bench/ranges.py writes it
Range = dict[str, Any]


def on_file() -> dict[str, Any]:
    """Return the ranges by the name of their experiment and by stage."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return content


def find(run: StageRun, key: str) -> Range | None:
    """Return the range of a final metric over the seeds of a run's experiment, with `name` and `n`; None: unknown.

    An experiment is recognised by its configuration, apart from the seed, paths and what only shows progress.
    """
    if run.stage == "classifier" and run.setting("stage") != "all":
        return None  # the configuration does not say how its encoder was trained
    for name, stages in on_file().items():
        known = stages.get(run.stage)
        if not known or known["settings"] != fingerprint(run.settings()):
            continue
        # What is on file was minimised as the MSE, and has no second name for it.
        if found := known["final"].get(key) or known["final"].get(key.replace("/mse", "/loss")):
            return {"name": name, "n": known["n"], **found}
    return None
