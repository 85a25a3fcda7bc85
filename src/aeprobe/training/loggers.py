"""Loggers, TensorBoard's and the person's own: what they get, and how their files go on after an interruption."""

import csv
import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from aeprobe import nodes
from aeprobe.config.schema import STAGES, Config, plain
from aeprobe.config.settings import changes_a_number, flat
from aeprobe.errors import AeprobeError
from aeprobe.files import write_atomically
from aeprobe.models import checkpoints
from aeprobe.runs.metrics import distinct
from aeprobe.training.built import BuiltStage

PACKAGES = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}  # that Lightning's loggers need
COLUMNS = ("final/val/loss", "final/val/accuracy", "test/loss", "test/accuracy")  # metrics of every run's row
# Bytes of an event file: before each event, its length with a checksum; after it, another checksum.
LENGTH, HEAD, FOOT = 8, 12, 4


def require_loggers(config: Config) -> None:
    """Raise AeprobeError for a logger that cannot be made, before there is a directory for it."""
    for name, node in config.logger.items():
        package = PACKAGES.get(node["_target_"].rpartition(".")[2])
        if package and find_spec(package) is None:
            raise AeprobeError(f"logger.{name}: {package} is not installed: pip install 'aeprobe[loggers]'")
        nodes.bound(node, f"logger.{name}", Logger)  # type: ignore[type-abstract]


def make_loggers(stage: BuiltStage, events: Logger) -> list[Logger]:
    """Return the person's loggers, new ones: each begins its run with the settings, or goes on in its run.

    They write into the run's directory, whose metrics.json names their runs. They and `events`, which all runs
    have, go on from the checkpoint that the run goes on from.
    """
    directory, made = stage.directory, dict[str, Any]()
    before = directory.metrics.get("loggers") or {}
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # MLflow's import reads it
    for name, node in stage.config.logger.items():
        ours: dict[str, Any] = {"save_dir": str(directory.path)}
        ours["tracking_uri"] = f"sqlite:///{directory.path.absolute() / 'mlflow.db'}"  # as MLflow calls it
        if earlier := before.get(name):
            if not re.fullmatch(r"[\w-]{1,80}", str(earlier)):  # it becomes a part of a path
                raise AeprobeError(
                    f"{directory.path / 'metrics.json'}: loggers.{name}={earlier}: is no run's name"
                )
            ours |= {"run_id": earlier, "id": earlier}  # as MLflow and as Weights & Biases call it
            ours["version"] = int(earlier) if earlier.isdecimal() else earlier  # as Lightning's own loggers do
        made[name] = nodes.build(node, f"logger.{name}", Logger, **ours)  # type: ignore[type-abstract]
    if directory.last:
        _cut([events, *made.values()], checkpoints.read(directory.last))
    for name, logger in made.items():
        if logger.experiment is not None and name not in before and stage.settings:
            logger.log_hyperparams(hyperparameters(stage))
    if made:
        directory.write(loggers={name: str(logger.version) for name, logger in made.items()})
    return list(made.values())


def writer(trainer: L.Trainer) -> SummaryWriter:
    """Return TensorBoard's writer of this run; it writes in the first process alone."""
    assert isinstance(trainer.logger, TensorBoardLogger)
    events: SummaryWriter = trainer.logger.experiment
    return events


def write_scalars(trainer: L.Trainer, values: Mapping[str, float], step: int) -> None:
    """Write values to TensorBoard and to the other loggers, at a number of optimizer steps, in the first process.

    One event for all of them takes a quarter of the time of add_scalar for each.
    """
    if not trainer.is_global_zero:
        return
    values = distinct(values)
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    # Lightning's log_metrics would hide that a disk is full.
    writer(trainer)._get_file_writer().add_summary(summary, step)
    for other in trainer.loggers[1:]:
        other.log_metrics(values, step)


def hyperparameters(stage: BuiltStage) -> dict[str, int | float | str]:
    """Return the settings that can change a number, by dotted key, as one row of TensorBoard's table.

    Those of a stage that the run does not train are "-": its encoder comes from another run.
    """
    config, row = stage.config, dict[str, int | float | str]()
    for key, value in flat(plain(config)).items():
        owner = key.partition(".")[0]
        idle = owner in STAGES and not config.stage.trains(owner)
        if changes_a_number(key):
            row[key] = "-" if idle else value if isinstance(value, int | float) else str(value)
    row |= {f"data.{name}": stage.module.hparams[name] for name in ("mean", "std")}
    row |= {"stage": stage.name, "layers": stage.module.layers, "data": stage.data.title}
    return row | {"seed": stage.seed, "ckpt": config.ckpt or "-"}


def add_hparams(trainer: L.Trainer, stage: BuiltStage, final: Mapping[str, float], step: int) -> None:
    """Add a run's row, its settings and the numbers of `final`, to TensorBoard's table, in the first process.

    Lightning's log_hyperparams would draw a curve of zeros for each metric that this stage does not have.
    """
    if not trainer.is_global_zero:
        return
    final = distinct(final)
    for name, value in final.items():
        if name.startswith("val/"):  # the last val/* in the curve is of another checkpoint
            writer(trainer).add_scalar(f"final/{name}", value, step)
    tags = [f"final/{name}" if name.startswith("val/") else name for name in final if "train/" not in name]
    file: Any = writer(trainer)._get_file_writer()  # opens it where the Trainer has closed it
    for summary in hparams(hyperparameters(stage), dict.fromkeys((*COLUMNS, *tags), 0.0)):  # it reads the scalars
        file.add_summary(summary)


def flush(loggers: Sequence[Logger]) -> dict[str, Any]:
    """Write what was logged to the disk; return how far the files go, for a checkpoint to keep."""
    for logger in loggers:
        logger.save()
    tables = [_table(logger) for logger in loggers if isinstance(logger, CSVLogger)]
    lines = [table.read_bytes().count(b"\n") if table.exists() else 0 for table in tables]
    return {"time": time.time(), "lines": lines}


def _cut(loggers: Sequence[Logger], checkpoint: Mapping[str, Any]) -> None:
    """Drop what was logged after a checkpoint was saved, of loggers that have not opened their files yet.

    Lightning logs an epoch's means after its checkpoint is saved, but with the step before: these are kept.
    """
    written, step = checkpoint["logs"], checkpoint["global_step"]
    lines = iter(written["lines"])
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            for file in Path(logger.log_dir).glob("events.out.tfevents.*"):
                _cut_events(file, written["time"], step)
        elif isinstance(logger, CSVLogger):
            _cut_rows(logger, next(lines, 0), step)


def _cut_events(file: Path, until: float, step: int) -> None:
    content, kept, start = file.read_bytes(), [], 0
    while (end := start + HEAD + int.from_bytes(content[start : start + LENGTH], "little") + FOOT) <= len(content):
        event = Event.FromString(content[start + HEAD : end - FOOT])
        if event.wall_time <= until or event.step < step:
            kept.append(content[start:end])
        start = end
    write_atomically(file, kept)


def _cut_rows(logger: CSVLogger, lines: int, step: int) -> None:
    """Give the logger its earlier rows again: it removes the file that it finds."""
    if not _table(logger).exists():
        return
    whole = _table(logger).read_text().rpartition("\n")[0]
    rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(whole.splitlines())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it removes it
        logger.experiment.metrics = [
            r for number, r in enumerate(rows, 2) if number <= lines or int(r["step"]) < step
        ]
    logger.save()


def _table(logger: CSVLogger) -> Path:
    return Path(logger.log_dir, "metrics.csv")
