"""Make what a person adds to a stage by nodes: callbacks, metrics and evaluations."""

import logging
from copy import deepcopy
from importlib.util import find_spec

from lightning.pytorch.callbacks import Callback, StochasticWeightAveraging, WeightAveraging
from torchmetrics import Metric

from aeprobe import nodes
from aeprobe.config import objective
from aeprobe.config.schema import Config, Stage, StageConfig
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.sampler import steps
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation, Subject

log = logging.getLogger("aeprobe")


def make_callbacks(config: Config, stage: str, data: ImageDataModule) -> list[Callback]:
    """Return new callbacks of a stage; raise AeprobeError for one that does not fit into the run."""
    made, known = [], objective.names(stage, config)
    for name, node in getattr(config, stage).callbacks.items():
        key, watched = f"{stage}.callbacks.{name}", node.get("monitor")
        ours = {"mode": objective.mode(config, stage, watched)} if watched in known else {}
        callback = nodes.build(node, key, Callback, **ours)
        if isinstance(callback, StochasticWeightAveraging):
            raise AeprobeError(
                f"{key}: StochasticWeightAveraging averages after the last checkpoint is saved: its average would "
                f"be lost; take callbacks@{stage}.callbacks=ema, whose average is saved, tested and handed on"
            )
        if isinstance(callback, WeightAveraging):
            _require_begun(key, callback, stage, config, data)
        if monitor := getattr(callback, "monitor", None):
            require_monitored(f"{key}.monitor", monitor, stage, config, data)
            mode, right = getattr(callback, "mode", None), objective.mode(config, stage, monitor)
            if mode in ("min", "max") and mode != right:
                best = "highest" if right == "max" else "lowest"
                raise AeprobeError(f"{key}.mode={mode}: {monitor} is best where it is {best}; leave mode out")
        made.append(callback)
    return made


def require_monitored(key: str, metric: str, stage: str, config: Config, data: ImageDataModule) -> None:
    """Raise AeprobeError where a metric is watched that is not measured, or is one of the test set."""
    known = objective.names(stage, config)
    if metric not in known:
        raise AeprobeError(f"{key}={metric}: the {stage} has no such metric; there are {', '.join(known)}")
    epochs, every = getattr(config, stage).epochs(config.trainer), config.trainer.check_val_every_n_epoch
    why = None
    if not data.val_size:
        why = "the test set's with data.val_size=0: hold images out, such as data.val_size=5000"
    elif every > epochs:
        why = f"not measured in {epochs} epochs with trainer.check_val_every_n_epoch={every}"
    if why and metric.startswith("val/"):
        raise AeprobeError(f"{key}={metric}, which is {why}")


def _require_begun(key: str, average: WeightAveraging, stage: str, config: Config, data: ImageDataModule) -> None:
    """Raise AeprobeError for an average of the weights that never begins, or sooner than it is told to."""
    average = deepcopy(average)  # a class of the person's own may count its calls
    epochs, batches = getattr(config, stage).epochs(config.trainer), training_batches(config, stage, data)
    steps = -(-batches // config.trainer.accumulate_grad_batches)
    first = next((step for step in range(steps * epochs) if average.should_update(step_idx=step)), None)
    after = any(average.should_update(epoch_idx=epoch) for epoch in range(epochs))
    told = getattr(average, "update_starting_at_epoch", None) or 0
    if told >= epochs or (first is None and not after):
        raise AeprobeError(f"{key}: the average would never begin in {epochs} epochs of {steps} steps")
    if first is not None and first < told * steps:
        raise AeprobeError(
            f"{key}.update_starting_at_epoch={told}: delays nothing, since the average begins at step {first}; "
            f"give update_starting_at_step={told * steps} instead"
        )


def training_batches(config: Config, stage: str, data: ImageDataModule) -> int:
    """Return the number of an epoch's batches."""
    size = getattr(config, stage).batch_size
    return limited("train", steps(data.epoch_size, size), config.trainer.limit_train_batches)


def limited(split: str, batches: int, limit: float | None) -> int:
    """Return how many batches of a split `trainer.limit_SPLIT_batches` leaves, None being all of them."""
    if limit is None:
        return batches
    number = int(limit * batches) if isinstance(limit, float) else min(limit, batches)
    if not number:  # Lightning says so late, of the test set after the training
        raise AeprobeError(
            f"trainer.limit_{split}_batches={limit}: less than one of {batches} batches in the {split} split"
        )
    return number


def make_metrics(config: Config, stage: str, classes: int) -> dict[str, Metric]:
    """Return new metrics of a stage by name; one with an argument `num_classes` is given their number."""
    settings: StageConfig = getattr(config, stage)
    return {
        name: nodes.build(node, f"{stage}.metrics.{name}", Metric, num_classes=classes)  # type: ignore[type-abstract]
        for name, node in settings.metrics.items()
    }


def make_evaluations(config: Config, subject: Subject, must: bool) -> dict[str, Evaluation]:
    """Return what is asked of a finished module, by name: of an autoencoder, or with stage=probe of an encoder.

    One whose package is not installed is refused, or left out where none `must` be there.
    """
    stage = subject.module.stage
    own = getattr(getattr(config, stage), "evaluations", {})
    named = {f"{stage}.evaluations.{name}": node for name, node in own.items()}
    made = {}
    for key, node in ({"probe": config.probe} if config.stage == Stage.probe else named).items():
        evaluation = nodes.build(node, key, Evaluation)  # type: ignore[type-abstract]
        if evaluation.package and find_spec(evaluation.package[0]) is None:
            package, extra = evaluation.package
            missing = f"{key}: {package} is not installed: pip install 'aeprobe[{extra}]'"
            if must:
                raise AeprobeError(missing)
            log.warning("left out: %s", missing)
            continue
        evaluation.require(subject)
        made[key.rpartition(".")[2]] = evaluation
    return made
