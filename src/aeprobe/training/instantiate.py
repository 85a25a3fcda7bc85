"""Make what a person adds to a stage by nodes: callbacks, metrics, evaluations and displays."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec

import aeprobe.runtime  # noqa: F401

from lightning.pytorch.callbacks import Callback, StochasticWeightAveraging, WeightAveraging
from torchmetrics import Metric

from aeprobe import nodes
from aeprobe.config import objective
from aeprobe.config.schema import Config, Stage, StageConfig
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation, Subject
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training.checks import require_begun, require_monitored
from aeprobe.training.display import Display, NotDrawn
from aeprobe.training.experiment import Experiment

log = logging.getLogger("aeprobe")


def make_callbacks(config: Config, stage: str, data: ImageDataModule) -> list[Callback]:
    """Return new callbacks of a stage.

    Raises:
        AeprobeError: one cannot be made, does not fit into a run, or watches what the run does not measure.
    """
    settings: StageConfig = getattr(config, stage)
    return [
        _callback(config, stage, f"{stage}.callbacks.{name}", node, data)
        for name, node in settings.callbacks.items()
    ]


def _callback(config: Config, stage: str, key: str, node: Mapping[str, object], data: ImageDataModule) -> Callback:
    watched = str(node.get("monitor"))
    ours = {"mode": objective.mode(config, stage, watched)} if watched in objective.names(stage, config) else {}
    callback = nodes.build(node, key, Callback, **ours)
    if isinstance(callback, StochasticWeightAveraging):
        raise AeprobeError(
            f"{key}: StochasticWeightAveraging averages after the last checkpoint is saved: its average would "
            f"be lost; take callbacks@{stage}.callbacks=ema, whose average is saved, tested and handed on"
        )
    if isinstance(callback, WeightAveraging):
        require_begun(key, callback, getattr(config, stage), config, data)
    if monitor := getattr(callback, "monitor", None):
        require_monitored(f"{key}.monitor", monitor, stage, config, data)
        mode = getattr(callback, "mode", None)
        if mode in ("min", "max") and mode != (right := objective.mode(config, stage, monitor)):
            best = "highest" if right == "max" else "lowest"
            raise AeprobeError(
                f"{key}.mode={mode}: {monitor} is best where it is {best}; leave mode out, or give {right}"
            )
    return callback


def make_metrics(config: Config, stage: str, classes: int) -> dict[str, Metric]:
    """Return new metrics of a stage by name; one with an argument `num_classes` is given their number."""
    settings: StageConfig = getattr(config, stage)
    made = {}
    for name, node in settings.metrics.items():
        metric = nodes.build(node, f"{stage}.metrics.{name}", Metric, num_classes=classes)  # type: ignore[type-abstract]
        made[name] = metric
    return made


def make_evaluations(config: Config, subject: Subject, must: bool) -> dict[str, Evaluation]:
    """Return what is asked of a finished module, by name: of an autoencoder, or with stage=probe of an encoder.

    Args:
        config: as `validate` returned it.
        subject: the module and its images.
        must: refuse an evaluation whose package is not installed, instead of leaving it out.
    """
    probed = config.stage == Stage.probe
    named = {"probe": config.probe} if probed else config.autoencoder.evaluations
    made = {}
    for name, node in named.items():
        key = name if probed else f"autoencoder.evaluations.{name}"
        evaluation = nodes.build(node, key, Evaluation)  # type: ignore[type-abstract]
        if evaluation.package and find_spec(evaluation.package[0]) is None:
            package, extra = evaluation.package
            missing = f"{key}: {package} is not installed: pip install 'aeprobe[{extra}]'"
            if must:
                raise AeprobeError(missing)
            log.warning("left out: %s", missing)
            continue
        evaluation.require(subject)
        made[name] = evaluation
    return made


def make_displays(
    config: Config, experiment: Experiment, directory: RunDirectory, not_drawn: NotDrawn
) -> list[Display]:
    """Return what shows a stage, below `trainer.recorders`, new for each; none without `trainer.figures`."""
    made: list[Display] = []
    alone = config.stage == experiment.stage == Stage.classifier  # else stage 1 shows the images
    for name, node in config.trainer.recorders.items() if config.trainer.figures else ():
        display = nodes.build(node, f"trainer.recorders.{name}", Display)  # type: ignore[type-abstract]
        display.begin(experiment, directory, experiment.stage == Stage.autoencoder or alone, not_drawn)
        made.append(display)
    return made
