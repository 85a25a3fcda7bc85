"""Sentences about runs that several pages have: what is not finished, and the commands that repeat them."""

import shlex

from aeprobe.config.overrides import OF_A_MULTIRUN
from aeprobe.paths import TRAIN
from aeprobe_tools.results import ranges
from aeprobe_tools.results.seeds import FINISHED, Runs
from aeprobe_tools.results.stage_run import StageRun

LIMITS = [f"trainer.limit_{what}" for what in ("train_batches", "val_batches", "test_batches", "epochs")]
UNFINISHED = {
    "running": "is not finished: it is still running, or its process was ended",
    "failed": "failed",
    "interrupted": "was interrupted",
}


def unfinished(runs: Runs) -> list[str]:
    """Return a sentence, without its point, for each run that is unfinished, absent or cut short."""
    sentences = []
    for run in every(runs):
        status, subject = str(run.metrics["status"]), f"The {run.stage} in {run.path}"
        if status != "completed":
            wanted = run.setting(f"{run.stage}.max_epochs")
            done = f"{len(run.epochs)} of {wanted} epochs are here" if run.epochs else "no epoch was finished"
            done = "it has no results" if run.stage in FINISHED else done
            error = run.metrics.get("error")
            why = f": {error}" if error and status == "failed" else ""
            sentences.append(f"{subject} {UNFINISHED.get(status, status)}; {done}{why}")
        elif run.metrics.get("not_drawn", {}) is None:
            still = "it is still drawing, or was ended; resume= draws them"
            sentences.append(f"{subject} has no figures yet: {still}")
        limits = [f"{key}={value}" for key in LIMITS if (value := run.setting(key))]
        if limits and not ranges.find(run, "val/loss"):  # of a measured preset they are its recipe
            purpose = "a look at the whole path, not a result to compare"
            sentences.append(f"{subject} was cut short by {', '.join(limits)}: {purpose}")
    of_both = {run.path.parent for run in runs["autoencoder"] if run.setting("stage") == "all"}
    absent = [path for path in sorted(of_both) if not (path / "classifier" / "metrics.json").exists()]
    return sentences + [f"The classifier of {path} is not there" for path in absent]


def commands(runs: Runs) -> list[str]:
    """Return the commands that make these runs again; runs that differ in their seed alone make one."""
    seeds: dict[tuple[str, ...], dict[str, None]] = {}
    for run in every(runs):
        typed = [str(override) for override in run.metrics["overrides"]]
        rest = tuple(override for override in typed if not override.startswith(("seed=", *OF_A_MULTIRUN)))
        seed = next((override for override in typed if override.startswith("seed=")), "")
        seeds.setdefault(rest, {})[seed.removeprefix("seed=")] = None
    lines = []
    for rest, of_command in seeds.items():
        several = ["-m", f"seed={','.join(seed or '0' for seed in of_command)}"] if len(of_command) > 1 else []
        (last, *_) = of_command
        one = [f"seed={last}"] if last and not several else []
        lines.append(shlex.join([*TRAIN.split(), *several, *rest, *one]))
    return lines


def every(runs: Runs) -> list[StageRun]:
    """Return the runs of all stages, in their order."""
    return [run for of_stage in runs.values() for run in of_stage]
