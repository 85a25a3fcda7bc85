"""What a person adds to a stage by nodes of the configuration, beside what every run has."""

import logging
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from lightning.pytorch.callbacks import (
    Callback,
    DeviceStatsMonitor,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torchmetrics import Metric

from aeprobe.config import nodes, objective
from aeprobe.config.choices import Stage
from aeprobe.config.schema import Config, StageConfig
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation, Subject
from aeprobe.runs.run_directory import RunDirectory
from aeprobe.training.consistency import require_begun, require_monitored
from aeprobe.training.display import Display, NotDrawn
from aeprobe.training.experiment import Experiment

log = logging.getLogger("aeprobe")
PACKAGES = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}  # that Lightning's loggers need


def callbacks(config: Config, stage: str, data: ImageDataModule) -> list[Callback]:
    """The callbacks of a stage, new ones.

    Raises:
        AeprobeError: one cannot be made, does not fit into a run, or watches what the run does not measure.
    """
    settings: StageConfig = getattr(config, stage)
    made: dict[str, Callback] = {}
    for name, node in settings.callbacks.items():
        key = f"{stage}.callbacks.{name}"
        watched = node.get("monitor")
        known = watched in objective.names(stage, config)
        ours = {"mode": objective.mode(config, stage, watched)} if known else {}
        callback = nodes.build(node, key, Callback, **ours)
        assert callback is not None, "checked by validate"
        if isinstance(callback, StochasticWeightAveraging):
            raise AeprobeError(
                f"{key}: StochasticWeightAveraging averages after the last checkpoint is saved: its average would "
                f"be lost; take callbacks@{stage}.callbacks=ema, whose average is saved, tested and handed on"
            )
        if isinstance(callback, DeviceStatsMonitor) and find_spec("psutil") is None:
            raise AeprobeError(f"{key}: the load of a CPU is read by psutil: pip install 'aeprobe[monitor]'")
        if monitor := getattr(callback, "monitor", None):
            require_monitored(f"{key}.monitor", monitor, stage, config, data)
            mode = getattr(callback, "mode", None)
            if mode in ("min", "max") and mode != (right := objective.mode(config, stage, monitor)):
                best = "highest" if right == "max" else "lowest"
                raise AeprobeError(
                    f"{key}.mode={mode}: {monitor} is best where it is {best}; leave mode out, or give {right}"
                )
        if isinstance(callback, WeightAveraging):
            require_begun(key, callback, settings, config, data)
        _require_own_state(key, callback, made)
        made[key] = callback
    return list(made.values())


def metrics(config: Config, stage: str, shape: Sequence[int], classes: int) -> dict[str, Metric]:
    """The metrics of a stage by name, new ones, tried on two made-up samples.

    Args:
        config: as `validate` returned it.
        stage: "autoencoder", whose metrics compare images, or "classifier": probabilities and labels.
        shape: of an image.
        classes: their number; given to a metric that has an argument `num_classes`, unless it was typed.

    Raises:
        AeprobeError: one cannot be made, takes other samples, or is no single number.
    """
    settings: StageConfig = getattr(config, stage)
    made = {}
    for name, node in settings.metrics.items():
        key = f"{stage}.metrics.{name}"
        metric = nodes.build(node, key, Metric, num_classes=classes)  # type: ignore[type-abstract]
        assert metric is not None, "checked by validate"
        if stage == "autoencoder":
            images = torch.linspace(0, 1, 2 * math.prod(shape)).view(2, *shape)
            samples = images, images.flip(0)
        else:
            samples = torch.eye(classes)[:2].add(1 / classes) / 2, torch.arange(2) % classes
        _try(key, metric, *samples)
        made[name] = metric
    return made


def evaluations(config: Config, subject: Subject, typed: Mapping[str, str]) -> dict[str, Evaluation]:
    """What is asked of a finished module, by name: of an autoencoder, or with stage=probe of an encoder.

    Raises:
        AeprobeError: one cannot be made or asked of the module, or its package is not installed. One that nobody
            typed is left out then.
    """
    probed = config.stage == Stage.probe
    named = {"probe": config.probe} if probed else config.autoencoder.evaluations
    made = {}
    for name, node in named.items():
        key = name if probed else f"autoencoder.evaluations.{name}"
        evaluation = nodes.build(node, key, Evaluation)  # type: ignore[type-abstract]
        assert evaluation is not None, "checked by validate"
        if evaluation.package and find_spec(evaluation.package[0]) is None:
            package, extra = evaluation.package
            missing = f"{key}: {package} is not installed: pip install 'aeprobe[{extra}]'"
            if probed or config.trainer.evaluate or any("evaluations" in owner for owner in typed):
                raise AeprobeError(missing)
            log.warning("left out: %s", missing)
            continue
        evaluation.require(subject)
        made[name] = evaluation
    return made


def displays(
    config: Config, experiment: Experiment, directory: RunDirectory, not_drawn: NotDrawn
) -> list[Display]:
    """Make what shows a stage, below `trainer.recorders`, new for each; none without `trainer.figures`."""
    made: list[Display] = []
    alone = config.stage == experiment.stage == Stage.classifier  # else stage 1 shows the images
    for name, node in config.trainer.recorders.items() if config.trainer.figures else ():
        display = nodes.build(node, f"trainer.recorders.{name}", Display)  # type: ignore[type-abstract]
        assert display is not None, "checked by validate"
        display.begin(experiment, directory, experiment.stage == Stage.autoencoder or alone, not_drawn)
        made.append(display)
    return made


def require_packages(config: Config) -> None:
    """Raises AeprobeError for a logger whose package is not installed, before there is a directory for it."""
    for name, node in config.logger.items():
        package = PACKAGES.get(node["_target_"].rpartition(".")[2])
        if package and find_spec(package) is None:
            raise AeprobeError(f"logger.{name}: {package} is not installed: pip install 'aeprobe[loggers]'")


def loggers(config: Config, directory: RunDirectory) -> dict[str, Logger]:
    """The loggers of a stage by name, new ones: they write into its directory, and go on in their runs there.

    Raises:
        AeprobeError: one cannot be made.
    """
    before, made = directory.metrics.get("loggers") or {}, {}
    for name, node in config.logger.items():
        ours: dict[str, Any] = {"save_dir": str(directory.path)}
        ours["tracking_uri"] = f"sqlite:///{directory.path.absolute() / 'mlflow.db'}"  # as MLflow calls it
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # its import reads it
        if found := before.get(name):
            if not re.fullmatch(r"[\w-]{1,80}", str(found)):  # it becomes a part of a path
                raise AeprobeError(f"{directory.path / 'metrics.json'}: loggers.{name}={found}: is no run's name")
            ours |= {"run_id": found, "id": found}  # as MLflow and as Weights & Biases call it
            ours["version"] = int(found) if found.isdecimal() else found  # as CSVLogger and TensorBoardLogger do
        logger = nodes.build(node, f"logger.{name}", Logger, **ours)  # type: ignore[type-abstract]
        assert logger is not None, "checked by validate"
        made[name] = logger
    return made


def _try(key: str, metric: Metric, predicted: Tensor, target: Tensor) -> None:
    what = f"{key}: {type(metric).__name__}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of so few samples
            metric.update(predicted, target)
            found = metric.compute()
    except Exception as error:
        why = str(error).partition("\n")[0]
        raise AeprobeError(f"{what} does not take this stage's samples: {why}") from error
    if not isinstance(found, Tensor) or found.numel() != 1:
        raise AeprobeError(f"{what} is no single number; give it an average, or take another metric")
    metric.reset()


def _require_own_state(key: str, callback: Callback, others: Mapping[str, Callback]) -> None:
    """Raises AeprobeError where a checkpoint would keep the states of two callbacks under one name."""
    if type(callback).state_dict is Callback.state_dict:
        return
    for other, one in others.items():
        if one.state_key == callback.state_key:
            raise AeprobeError(
                f"{key}: a checkpoint would keep its state in the place of {other}'s ({callback.state_key}); "
                "drop one, or make the two differ"
            )
