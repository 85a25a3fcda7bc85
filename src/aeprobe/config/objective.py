"""The number that a search looks at: one validation metric of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from omegaconf import OmegaConf

from aeprobe.config.schema import AutoencoderConfig, ClassifierConfig, Stage, value_of
from aeprobe.errors import AeprobeError
from aeprobe.nodes import found

# The metrics that every run of a stage measures, and whether a higher value is a better one.
MEASURED = {"autoencoder": {"loss": False, "mse": False}, "classifier": {"loss": False, "accuracy": True}}
COMPARABLE = {"autoencoder": "mse", "classifier": "accuracy"}  # means the same, whatever is minimised
# The settings of a stage that do not change the scale of its loss; of stage 1's class any other argument may.
SCALED_ALIKE = {
    "autoencoder": {item.name for item in fields(AutoencoderConfig)} - {"_target_", "loss"},
    "classifier": {item.name for item in fields(ClassifierConfig)} - {"loss", "loss_on", "class_weights"},
}


def resolve(config: object) -> tuple[str, str] | None:
    """Return the stage and the metric of a configuration's `objective`; None where nothing is trained.

    An objective is such as "val/loss" or, with stage=all, "autoencoder val/loss"; null is val/loss of stage 1, or
    the classifier's val/accuracy where it is trained.
    """
    objective, stage = value_of(config, "objective"), Stage(value_of(config, "stage"))
    trained = [name for name in MEASURED if stage.trains(name)]
    if not trained:
        return None
    if objective is None:
        return trained[-1], "val/accuracy" if trained[-1] == "classifier" else "val/loss"
    owner, _, metric = objective.rpartition(" ")
    for name in [owner] if owner else reversed(trained):
        if name in trained and metric in names(name, config):
            return name, metric
    both = len(trained) > 1
    known = [f"{name} {metric}" if both else metric for name in trained for metric in names(name, config)]
    raise AeprobeError(
        f"objective={objective}: stage={stage} reports no such metric; there are {', '.join(known)}"
    )


def names(stage: str, config: object) -> list[str]:
    """Return the metrics of a stage that a search and callbacks may look at; the test set is not for that."""
    own, added = MEASURED[stage], value_of(config, f"{stage}.metrics") or {}
    trained = (name for name in own if name != "mse")  # which is the loss, or may be
    return [*(f"val/{name}" for name in (*own, *added)), *(f"train/{name}" for name in trained)]


def value(config: object, metrics: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Return the objective of a finished run."""
    if (wanted := resolve(config)) is None:
        return None
    stage, metric = wanted
    number = metrics[stage]["final"].get(metric)
    if number is None:  # every other value is better
        return float("-inf") if direction(config) == "maximize" else float("inf")
    return float(number)


def comparable(metric: str, stage: str, runs: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Return the metric that means the same for all runs, and the keys by which their losses differ.

    Where these differ, the MSE or the accuracy takes the place of a stage's loss, such as "val/loss" or
    "autoencoder val/loss"; `runs` are the settings of each by dotted keys.
    """
    if not metric.endswith("/loss") or stage not in COMPARABLE:
        return metric, []
    alike = [f"{stage}.{name}" for name in SCALED_ALIKE[stage]]
    keys = {key for run in runs for key in run if key.startswith(f"{stage}.")}
    keys -= {key for key in keys if ".".join(key.split(".")[:2]) in alike}
    different = [key for key in sorted(keys) if any(run.get(key) != runs[0].get(key) for run in runs)]
    return f"{metric.removesuffix('loss')}{COMPARABLE[stage]}" if different else metric, different


def direction(config: object) -> str:
    """Return "maximize" for an objective of which more is better, else "minimize"; raise AeprobeError for none."""
    wanted = resolve(config)
    return "maximize" if wanted and higher_is_better(config, *wanted) else "minimize"


def mode(config: object, stage: str, metric: str) -> str:
    """Return "max" for a metric of which more is better, else "min", as Lightning's callbacks call it."""
    return "max" if higher_is_better(config, stage, metric) else "min"


def higher_is_better(config: object, stage: str, metric: str) -> bool:
    """Tell if more of a stage's metric, such as "val/f1", is better; the class of the person's own says so."""
    name = metric.partition("/")[2]
    if name in MEASURED[stage]:
        return MEASURED[stage][name]
    key = f"{stage}.metrics.{name}"
    target = str(value_of(config, f"{key}._target_"))
    better = getattr(found(target, key), "higher_is_better", None)
    if better is None:
        raise AeprobeError(
            f"{key}: {target} does not say whether more of it is better: nothing can be chosen by {metric}; take "
            "a class whose higher_is_better is true or false"
        )
    return bool(better)


OmegaConf.register_new_resolver("aeprobe.direction", lambda *, _root_: direction(_root_), replace=True)
