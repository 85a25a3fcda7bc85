"""The number that a search looks at: one validation metric of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from aeprobe.config.schema import Config, Stage
from aeprobe.errors import AeprobeError

KINDS = {"autoencoder": ("loss",), "classifier": ("loss", "accuracy")}


def resolve(objective: str | None, stage: Stage) -> tuple[str, str] | None:
    """The stage and the metric that `objective` means; None where nothing is trained.

    Args:
        objective: such as "val/loss" or, with stage=all, "autoencoder val/loss"; None for the default:
            val/loss for stage 1, the classifier's val/accuracy otherwise.
        stage: which stages run.

    Raises:
        AeprobeError: no stage of the run reports it while it trains.
    """
    trained = [name for name in KINDS if stage.trains(name)]
    if not trained:
        return None
    if objective is None:
        return trained[-1], "val/accuracy" if trained[-1] == "classifier" else "val/loss"
    owner, _, metric = objective.rpartition(" ")
    for name in [owner] if owner else reversed(trained):
        if name in trained and metric in names(name):
            return name, metric
    known = [f"{name} {metric}" if len(trained) > 1 else metric for name in trained for metric in names(name)]
    raise AeprobeError(
        f"objective={objective}: stage={stage} reports no such metric; there are {', '.join(known)}"
    )


def names(stage: str) -> list[str]:
    """The metrics of a stage that a search may look at; the test set is not for that."""
    return [f"{split}/{kind}" for split in ("val", "train") for kind in KINDS[stage]]


def value(config: Config, metrics: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The objective of a finished run."""
    wanted = resolve(config.objective, config.stage)
    if wanted is None:
        return None
    stage, metric = wanted
    found = metrics[stage]["final"].get(metric)
    return worst(config.objective, config.stage) if found is None else float(found)


def said_of_order(metric: str, held_out: Sequence[int | None]) -> str | None:
    """What has to be said of a table of runs whose order looks at the test set; None: it does not.

    Args:
        metric: what its rows are sorted by, such as "val/loss" or "classifier val/accuracy".
        held_out: `data.val_size` of each run; None where it is not known.
    """
    shared = sum(number == 0 for number in held_out)
    if not shared or not metric.rpartition(" ")[2].startswith("val/"):
        return None
    runs = "all runs" if shared == len(held_out) else f"{shared} of {len(held_out)} runs"
    return (
        f"{metric} of {runs} was measured on the test set (data.val_size=0): the first row was chosen by the "
        "test set, and its test metrics flatter it"
    )


def worst(objective: str | None, stage: str) -> float | None:
    """The objective of a failed run; None where the objective itself is what was wrong."""
    try:
        return float("-inf") if direction(objective, stage) == "maximize" else float("inf")
    except AeprobeError:
        return None


def direction(objective: str | None, stage: str) -> str:
    """Returns "maximize" for an accuracy, "minimize" for a loss."""
    wanted = resolve(objective, Stage(stage))
    return "maximize" if wanted and wanted[1].endswith("accuracy") else "minimize"


OmegaConf.register_new_resolver("aeprobe.direction", direction, replace=True)
