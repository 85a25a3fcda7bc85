"""Checks of a configuration against its classes, its data and a checkpoint, before a stage begins."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import aeprobe.runtime  # noqa: F401

from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric

from aeprobe import nodes
from aeprobe.after import After
from aeprobe.config import objective
from aeprobe.config.schema import NETWORKS, STAGES, Config, StageConfig, every_node, require, value_of
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.idx_files import Identity
from aeprobe.data.sampler import steps
from aeprobe.data.sources import NO_LABEL, Source
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.checkpoints import Checkpoint
from aeprobe.models.classifier import Classifier
from aeprobe.models.regularizers import Regularizer
from aeprobe.processes import collectives
from aeprobe.processes.launch import here
from aeprobe.training.display import Display

KINDS: dict[str, type] = {
    "autoencoder": Autoencoder,
    "network": nn.Module,
    "head": nn.Module,
    "loss": nn.Module,
    "optimizer": Optimizer,
    "scheduler": LRScheduler,
    "callbacks": Callback,
    "metrics": Metric,
    "logger": Logger,
    "source": Source,
    "augmentation": nn.Module,
    "corruption": nn.Module,
    "regularizer": Regularizer,
    "evaluations": Evaluation,
    "probe": Evaluation,
    "recorders": Display,
    "after": After,
}


def require_kinds(config: Config) -> None:
    """Look up every class that a configuration names, before the first of them is called or anything is written.

    Raises:
        AeprobeError: there is no such class, it is of another kind, or it takes no such argument.
    """
    for key, node in every_node(config):
        if node["_target_"] is not None:
            arguments = {name: value for name, value in node.items() if name != "interval"}  # ours, of a schedule
            owner, _, place = key.partition(".")
            inside = owner in (*STAGES, "data", "trainer") and place
            nodes.bound(arguments, key, KINDS[place.partition(".")[0] if inside else owner])


def require_validation(stage: str, config: Config, data: ImageDataModule) -> None:
    """Raise AeprobeError where a schedule would follow the loss of the test set, or nothing, or what rises."""
    node = getattr(config, stage).scheduler
    kind = nodes.found(node["_target_"], f"{stage}.scheduler") if node["_target_"] else None
    if isinstance(kind, type) and issubclass(kind, ReduceLROnPlateau):
        mode = node.get("mode", "min")
        require(mode == "min", f"{stage}.scheduler.mode", mode, "min: it follows val/loss")
        counted = node["interval"]
        require(counted == "epoch", f"{stage}.scheduler.interval", counted, "epoch: it looks at each validation")
        _require_held_out(f"{stage}.scheduler: {kind.__name__} follows val/loss", stage, config, data)


def require_monitored(key: str, metric: str, stage: str, config: Config, data: ImageDataModule) -> None:
    """Raise AeprobeError where a callback would watch a metric of the test set, or one that is not measured."""
    known = objective.names(stage, config)
    if metric not in known:
        raise AeprobeError(f"{key}={metric}: the {stage} has no such metric; there are {', '.join(known)}")
    if metric.startswith("val/"):
        _require_held_out(f"{key}={metric}", stage, config, data)


def require_begun(
    key: str, average: WeightAveraging, settings: StageConfig, config: Config, data: ImageDataModule
) -> None:
    """Raise AeprobeError for an average of the weights that never begins, or sooner than it is told to."""
    trainer, average = config.trainer, deepcopy(average)  # a class of the person's own may count its calls
    epochs = settings.epochs(trainer)
    batches = batches_of("train", data, settings.batch_size, trainer.limit_train_batches)
    steps = -(-batches // trainer.accumulate_grad_batches)
    first = next((step for step in range(steps * epochs) if average.should_update(step_idx=step)), None)
    after = next((epoch for epoch in range(epochs) if average.should_update(epoch_idx=epoch)), None)
    told = getattr(average, "update_starting_at_epoch", None) or 0
    if told >= epochs or (first is None and after is None):
        raise AeprobeError(
            f"{key}: the average would never begin in {epochs} epochs of {steps} steps; let it begin sooner"
        )
    if first is not None and first < told * steps:
        raise AeprobeError(
            f"{key}.update_starting_at_epoch={told}: delays nothing, since the average begins at step {first}; "
            f"give update_starting_at_step={told * steps} instead"
        )


def require_best(stage: str, config: Config, data: ImageDataModule) -> None:
    """Raise AeprobeError where best.ckpt would be chosen by what is not measured, or has no better or worse."""
    metric = getattr(config, stage).monitor
    if metric == "val/loss":
        return  # where it is the test set's, there is no best.ckpt
    require_monitored(f"{stage}.monitor", metric, stage, config, data)
    if not metric.startswith("val/"):
        raise AeprobeError(f"{stage}.monitor={metric}: must be one of validation, such as val/loss")
    objective.higher_is_better(config, stage, metric)


def _require_held_out(what: str, stage: str, config: Config, data: ImageDataModule) -> None:
    settings: StageConfig = getattr(config, stage)
    every, epochs = config.trainer.check_val_every_n_epoch, settings.epochs(config.trainer)
    if not data.val_size:
        raise AeprobeError(
            f"{what}, which is the test set's with data.val_size=0: hold images out, such as data.val_size=5000"
        )
    if every > epochs:
        raise AeprobeError(
            f"{what}, which is not measured in {epochs} epochs with trainer.check_val_every_n_epoch={every}"
        )


def require_files(data: ImageDataModule, trained: Mapping[str, Identity], path: Path | None) -> None:
    """Raise AeprobeError where a file that was read is not the one that the run or checkpoint in `path` had."""
    for name, now in data.files.items():
        before = trained.get(name, now)
        if before != now:
            raise AeprobeError(
                f"data: {name} in {data.root} has {now['bytes']} bytes and SHA-256 {now['sha256']}, "
                f"but {path} was trained on {before['bytes']} bytes with {before['sha256']}: "
                "give that file back, or train anew"
            )


def require_one_dataset(data: ImageDataModule) -> None:
    """Raise AeprobeError in a process that has read other files than the first: each reads its own disk's."""
    for name, first in collectives.on_rank_zero(lambda: data.files).items():
        if data.files[name] != first:
            raise AeprobeError(
                f"data: {name} in {data.root} has SHA-256 {data.files[name]['sha256']} for process {here().rank}, "
                f"but {first['sha256']} for the first: all processes need the same files"
            )


def require_below_here(source: Source, root: str) -> None:
    """Raise AeprobeError where a stored path would have files put outside of the working directory."""
    missing = source.missing()
    if missing and not Path(root).resolve().is_relative_to(Path.cwd()):
        raise AeprobeError(
            f"data: {missing.parent} has no {missing.name}, and a run that goes on unpacks nothing outside of the "
            "working directory; put them there"
        )


def require_classes(module: Classifier, data: ImageDataModule) -> None:
    """Raise AeprobeError where a head has fewer outputs than there are classes."""
    if data.classes > module.classes:
        raise AeprobeError(
            f"classifier.head has {module.classes} outputs, but the labels go up to {data.classes - 1}: "
            f"give it {data.classes} outputs or more"
        )


def require_labels(data: ImageDataModule, *splits: str) -> None:
    """Raise AeprobeError where the images of a split have no labels."""
    if any((data.splits[split].labels == NO_LABEL).any() for split in splits):
        raise AeprobeError(
            f"data: the images of {data.root} have no labels, and a classifier learns from them: name the classes "
            "(a subfolder each, or an IDX file of labels); stage=autoencoder needs none"
        )


def require_two_classes(data: ImageDataModule, *splits: str) -> None:
    """Raise AeprobeError where images (by default of all splits) have no labels, or all those of training one."""
    require_labels(data, *(splits or data.splits))
    if len(data.splits["train"].labels.unique()) < 2:
        raise AeprobeError(
            f"data: all training images of {data.root} are of one class, and a classifier tells two or "
            "more apart; stage=autoencoder needs no classes"
        )


def batches_of(split: str, data: ImageDataModule, size: int, limit: float | None) -> int:
    """Return the number of an epoch's batches under `trainer.limit_SPLIT_batches`, which may be None for all.

    Raises:
        AeprobeError: a fraction leaves none; Lightning says so late, or never.
    """
    batches = steps(data.epoch_size, size) if split == "train" else -(-len(data.splits[split]) // size)
    if limit is None:
        return batches
    limited = int(limit * batches) if isinstance(limit, float) else min(limit, batches)
    if not limited:
        raise AeprobeError(
            f"trainer.limit_{split}_batches={limit}: less than one of {batches} batches of {size} in the {split} "
            "split; give 1 for one batch, 1.0 for all"
        )
    return limited


def require_typed_architecture(
    config: Config, typed: Mapping[str, str], source: Checkpoint, path: Path, stages: tuple[str, ...]
) -> None:
    """Raise AeprobeError where a person typed another network than the checkpoint's, or it has none."""
    settings = source["hyper_parameters"]
    for stage in stages:
        name = NETWORKS[stage]
        for key, override in typed.items():
            if not f"{key}.".startswith(f"{stage}.{name}."):
                continue
            if name not in settings:
                raise AeprobeError(f"{override}: {path} holds no {stage}; drop the override")
            argument = key.removeprefix(f"{stage}.{name}").removeprefix(".") or "_target_"
            wanted, kept = value_of(config, f"{stage}.{name}.{argument}"), settings[name].get(argument)
            if isinstance(wanted, list) and isinstance(kept, list) and len(wanted) == len(kept):
                wanted = [is_ if want == "auto" else want for want, is_ in zip(wanted, kept, strict=True)]
            if wanted != kept:
                raise AeprobeError(
                    f"{override}: the {stage} in {path} has {argument.strip('_')}={kept}; drop the override"
                )
