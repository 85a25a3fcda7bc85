"""Loggers: the person's own, how their files and TensorBoard's go on, and the row in TensorBoard's table."""

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from aeprobe import nodes
from aeprobe.config.schema import STAGES, Config, Stage, plain
from aeprobe.config.settings import changes_a_number, flat
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training import logs
from aeprobe.training.experiment import Experiment
from aeprobe.wording import distinct

PACKAGES = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}  # that Lightning's loggers need
COLUMNS = ("final/val/loss", "final/val/accuracy", "test/loss", "test/accuracy")  # metrics of every run's row


class EventFiles(TensorBoardLogger):
    """TensorBoard's files of a run, in its directory whatever that is called."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "", "tensorboard", default_hp_metric=False, max_queue=10_000)

    @property
    def log_dir(self) -> str:
        """Return the folder; Lightning would put a variable's value for a `$NAME` in it."""
        return f"{self.root_dir}{self.version}"


def require_packages(config: Config) -> None:
    """Raise AeprobeError for a logger whose package is not installed, before there is a directory for it."""
    for name, node in config.logger.items():
        package = PACKAGES.get(node["_target_"].rpartition(".")[2])
        if package and find_spec(package) is None:
            raise AeprobeError(f"logger.{name}: {package} is not installed: pip install 'aeprobe[loggers]'")


def make_loggers(directory: RunDirectory, experiment: Experiment, config: Config, events: Logger) -> list[Logger]:
    """Return the person's loggers, new ones: each begins its run with the settings, or goes on in its run.

    They write into the run's directory, whose metrics.json names their runs. They and `events`, which all runs
    have, go on from the checkpoint that the run goes on from.
    """
    before, made = directory.metrics.get("loggers") or {}, dict[str, Any]()
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # MLflow's import reads it
    for name, node in config.logger.items():
        ours: dict[str, Any] = {"save_dir": str(directory.path)}
        ours["tracking_uri"] = f"sqlite:///{directory.path.absolute() / 'mlflow.db'}"  # as MLflow calls it
        if earlier := before.get(name):
            if not re.fullmatch(r"[\w-]{1,80}", str(earlier)):  # it becomes a part of a path
                raise AeprobeError(
                    f"{directory.path / 'metrics.json'}: loggers.{name}={earlier}: is no run's name"
                )
            ours |= {"run_id": earlier, "id": earlier}  # as MLflow and as Weights & Biases call it
            ours["version"] = int(earlier) if earlier.isdecimal() else earlier  # as Lightning's own loggers do
        logger: Any = nodes.build(node, f"logger.{name}", Logger, **ours)  # type: ignore[type-abstract]
        made[name] = logger
    if directory.last:
        logs.cut([events, *made.values()], checkpoints.read(directory.last))
    for name, logger in made.items():
        if logger.experiment is not None and name not in before and experiment.settings:
            logger.log_hyperparams(hyperparameters(experiment, config))
    if made:
        directory.write(loggers={name: str(logger.version) for name, logger in made.items()})
    return list(made.values())


def hyperparameters(experiment: Experiment, config: Config) -> dict[str, int | float | str]:
    """Return the settings that can change a number, by dotted key, as one row of TensorBoard's table.

    Those of a stage that the run does not train are "-": its encoder comes from another run.
    """
    hparams = experiment.module.hparams
    row: dict[str, int | float | str] = {"stage": experiment.stage, "layers": experiment.layers}
    row |= {"seed": experiment.seed, "ckpt": config.ckpt or "-", "data": experiment.data.title}
    for key, value in flat(plain(config)).items():
        owner = key.partition(".")[0]
        if changes_a_number(key) and key not in ("stage", "seed", "ckpt"):
            known = owner not in STAGES or config.stage in (Stage.all, owner)
            number = isinstance(value, int | float)
            row[key] = "-" if not known else value if number else str(value)
    return row | {f"data.{name}": hparams[name] for name in ("mean", "std")}


def add_hparams(writer: SummaryWriter, values: Mapping[str, Any], final: Mapping[str, float], step: int) -> None:
    """Add a run's row, its settings and the numbers of `final`, to TensorBoard's table.

    Lightning's log_hyperparams would draw a curve of zeros for each metric that this stage does not have.
    """
    final = distinct(final)
    for name, value in final.items():
        if name.startswith("val/"):  # the last val/* in the curve is of another checkpoint
            writer.add_scalar(f"final/{name}", value, step)
    tags = [f"final/{name}" if name.startswith("val/") else name for name in final if "train/" not in name]
    file: Any = writer._get_file_writer()  # opens it where the Trainer has closed it
    for summary in hparams(dict(values), dict.fromkeys((*COLUMNS, *tags), 0.0)):  # the table reads the scalars
        file.add_summary(summary)
