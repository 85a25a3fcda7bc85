"""Record a training: an epoch's row, a value for every step, and what loggers and displays get of them.

`self.log` on every training step costs nearly a millisecond, more than the classifier's arithmetic. So the
steps' metrics stay tensors until the epoch's end, and are then written all at once: a value for every step
in TensorBoard, their mean over samples in metrics.json.
"""

import csv
import logging
import os
import re
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from aeprobe import nodes
from aeprobe.config.schema import STAGES, Config, changes_a_number, flat, plain
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Figures
from aeprobe.files import write_atomically
from aeprobe.models import checkpoints
from aeprobe.processes.collectives import mean
from aeprobe.runs.metrics import Metrics, distinct, numbers
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training.build import BuiltStage

log = logging.getLogger("aeprobe")
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
                raise AeprobeError(f"{directory.path}: loggers.{name}={earlier}: is no run's name")
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


class Recorder(L.Callback):
    """Write every epoch's row to metrics.json and TensorBoard, and print it as a line.

    An epoch in which a loss, a metric or a weight is no longer finite ends in an AeprobeError.
    """

    def __init__(self, directory: RunDirectory, name: str) -> None:
        self.directory, self.name = directory, name
        self.epochs: list[dict[str, Any]] = []  # the rows of metrics.json
        self.steps: dict[str, list[float]] = {}  # by "step" and each tag, a number for every optimizer step
        self.epoch_steps: list[int] = []  # optimizer steps at each epoch's end
        self._row: dict[str, Any] = {}  # of this epoch, as all that follow
        self._values: dict[str, Tensor] = {}
        self._rates: list[float] = []
        self._began = self._ended = 0.0

    def on_fit_start(self, trainer: L.Trainer, module: Any) -> None:
        """Write the past epochs of a resumed run to metrics.json."""
        if self.epochs:
            self.directory.write(epochs=self.epochs)

    def on_save_checkpoint(self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Note how far the loggers' files go, for a run that goes on from it."""
        checkpoint["logs"] = flush(trainer.loggers)

    def state_dict(self) -> dict[str, Any]:
        """Return the past epochs; they travel in the checkpoint."""
        steps = {tag: torch.tensor(values, dtype=torch.float64) for tag, values in self.steps.items()}
        return {"epochs": self.epochs, "steps": steps, "epoch_steps": self.epoch_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.epochs, self.epoch_steps = state_dict["epochs"], state_dict["epoch_steps"]
        self.steps = {tag: values.tolist() for tag, values in state_dict["steps"].items()}
        self.steps["step"] = [int(step) for step in self.steps["step"]]

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Begin an epoch's row."""
        for logger in trainer.loggers:  # Lightning logs means after the last epoch's checkpoint is saved
            logger.save()
        self._row, self._values, self._rates = {}, {}, []
        self._began = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Note the rate of the step."""
        self._rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        """Keep the metrics of a step."""
        step = len(self._rates) - 1
        for key, value in module.step_metrics.items():
            if key not in self._values:  # small tensors would keep the allocator from the memory around them
                self._values[key] = value.new_empty(int(trainer.num_training_batches))
            self._values[key][step] = value
        self._ended = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        """Close the training part of the row, before best.ckpt could be saved."""
        if self._row:
            return
        count, batches = len(self._rates), trainer.train_dataloader.sampler  # type: ignore[union-attr]
        sizes, shares = batches.sizes[:count], batches.shares[:count]
        values = {key: mean(value[:count].cpu() * shares) for key, value in self._values.items()}
        last = {key: values.pop(key)[-1] for key in self._values if key.endswith("_last")}  # of that step alone
        self._row["epoch"] = trainer.current_epoch + 1
        for key, value in values.items():
            self._require_finite(trainer, f"train/{key}", value)
            self._row[f"train/{key}"] = float((value * sizes).sum() / sizes.sum())
            self._row[f"train/{key}_last"] = float(value[-1])
        self._row |= {f"train/{key}": value.item() for key, value in last.items()}
        for key, weights in module.named_parameters():  # the last step's have had no loss yet
            self._require_finite(trainer, f"the weight {key}", weights.detach().sum().reshape(1))
        self._keep_steps(trainer, values, module.optimization.accumulate)

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        """Add the validation metrics; one of the person's own may be no number."""
        for tag, value in trainer.callback_metrics.items():
            if tag.startswith("val/"):
                if tag.removeprefix("val/") not in module.val_metrics:
                    self._require_finite(trainer, tag, value.reshape(1))
                self._row[tag] = value.item()

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """Write the row to metrics.json, TensorBoard and the log."""
        self.on_validation_start(trainer, module)  # in an epoch without validation
        self._row["seconds"] = self._ended - self._began
        trained = {tag: value for tag, value in self._row.items() if tag.startswith("train/")}
        module.log_dict(trained, logger=False)  # for callbacks that watch one of them
        self.epochs.append(self._row)
        self.epoch_steps.append(trainer.global_step)
        self.directory.write(epochs=self.epochs)
        first, last = [0, *self.epoch_steps][-2:]
        series = {tag: values[first:last] for tag, values in self.steps.items() if tag != "step"}
        for step, values in enumerate(zip(*series.values(), strict=True), start=first + 1):
            write_scalars(trainer, dict(zip(series, values, strict=True)), step)
        write_scalars(trainer, {tag: value for tag, value in self._row.items() if "/" in tag}, last)
        row = {k: v for k, v in self._row.items() if "/" in k and not k.endswith("_last")}
        epoch = f"epoch {self._row['epoch']}/{trainer.max_epochs}"
        log.info("%s %s  %s  %.1f s", self.name, epoch, numbers(row), self._row["seconds"])

    def _require_finite(self, trainer: L.Trainer, tag: str, values: Tensor) -> None:
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            steps = len(self._rates)
            step = int(bad[0]) if len(values) == steps else steps - 1  # else it was measured after the last one
            raise AeprobeError(
                f"{self.name}: {tag} became {float(values[bad[0]])} in epoch {trainer.current_epoch + 1}, "
                f"step {step + 1} of {steps}, at a rate of {self._rates[step]:g}: "
                f"try a lower {self.name}.optimizer.lr"
            )

    def _keep_steps(self, trainer: L.Trainer, values: dict[str, Tensor], batches: int) -> None:
        """Keep one value per optimizer step, which may have taken several batches."""
        if batches > 1:
            values = {key: torch.stack([part.mean() for part in v.split(batches)]) for key, v in values.items()}
        rates, end = self._rates[::batches], trainer.global_step + 1
        series: dict[str, Iterable[float]] = {"step": range(end - len(rates), end)}
        series |= {f"train/{key}_step": value.tolist() for key, value in values.items()}
        for tag, curve in (series | {"train/lr": rates}).items():
            self.steps.setdefault(tag, []).extend(curve)


class Display(L.Callback):
    """A callback below `trainer.recorders`: it keeps something while a stage trains, and shows it after the test.

    Its arguments are the keys of its node; its state is kept in the checkpoint.
    """

    def begin(self, stage: BuiltStage, images: bool) -> None:
        """Look at a stage before it is trained, while its data are images, to be shown too if `images` is true."""

    @abstractmethod
    def show(
        self, trainer: L.Trainer, recorder: Recorder, results: Metrics, step: int, more: Figures = ()
    ) -> None:
        """Show the tested stage, in every process: its rows and curves, what metrics.json says, and more.

        `step` optimizer steps made the weights; `more` are the figures of what was evaluated.
        """
