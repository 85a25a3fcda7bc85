"""The settings of a run as a row of TensorBoard's table of hyperparameters."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from aeprobe.config.schema import (
    NETWORKS,
    AutoencoderConfig,
    ClassifierConfig,
    Config,
    StageConfig,
    TrainerConfig,
    keys,
    module_node,
)
from aeprobe.training.experiment import Experiment
from aeprobe.wording import distinct

METRICS = ("final/val/loss", "final/val/accuracy", "test/loss", "test/accuracy")  # columns of every run

NODES = tuple(
    dict.fromkeys(
        field.name
        for group in (AutoencoderConfig, ClassifierConfig)
        for _, field in keys(group)
        if field.metadata.get("node") == "one"
    )
)
FITTING = ("_target_", "max_epochs", "limit_epochs", "callbacks", *NODES)  # what `_fitting` tells in its own way


def hyperparameters(experiment: Experiment, config: Config) -> dict[str, int | float | str]:
    """The settings of a run as one row of TensorBoard's table: all that can change a number.

    The table takes its columns from the first run. So every run has the same ones, each of one type in all runs.
    The stage's own settings have their plain names, those of the other stage their neutral value or "-".
    Those that the encoder was trained with, which a classifier's numbers depend on too, begin with "encoder.",
    and are "-" where the encoder comes from another run.
    """
    stage, data, trainer = experiment.settings, experiment.data, config.trainer
    assert stage is not None
    values: dict[str, int | float | str] = {
        "stage": experiment.stage,
        "layers": experiment.layers,
        "seed": experiment.seed,
        "ckpt": config.ckpt or "-",
        "data": data.title,
        "val_size": int(data.val_size),
        "labels": str(config.data.labels or "all") if experiment.stage == "classifier" else "-",
        "mean": experiment.module.hparams["mean"],
        "std": experiment.module.hparams["std"],
    }
    values |= {name: _cell(hint, getattr(trainer, name)) for name, hint, _ in _columns(TrainerConfig)}
    for schema in (AutoencoderConfig, ClassifierConfig):
        values |= {name: _cell(hint, getattr(stage, name, neutral)) for name, hint, neutral in _columns(schema)}
    values |= _fitting(stage, trainer)
    values["module"] = _words(module_node(config)) if experiment.stage == "autoencoder" else "-"
    known, encoder = config.stage.trains("autoencoder"), _fitting(config.autoencoder, trainer)
    encoder = {name: getattr(config.autoencoder, name) for name, _, _ in _columns(AutoencoderConfig)} | encoder
    encoder["module"] = _words(module_node(config))
    return values | {f"encoder.{name}": str(value) if known else "-" for name, value in encoder.items()}


def _fitting(stage: StageConfig, trainer: TrainerConfig) -> dict[str, int | float | str]:
    """How a stage is optimized. What not every class takes stands beside its name, and in its own column too."""
    lr, decay = float(stage.optimizer["lr"]), float(stage.optimizer.get("weight_decay", 0.0))
    values: dict[str, int | float | str] = {"epochs": stage.epochs(trainer), "lr": lr, "weight_decay": decay}
    values["callbacks"] = ", ".join(map(_words, stage.callbacks.values())) or "none"
    for name in NODES:
        node = getattr(stage, name, {"_target_": None})
        arguments = {k: v for k, v in node.items() if not k.startswith("_") and k not in ("lr", "weight_decay")}
        values[name] = _words({"_target_": node["_target_"]} | arguments)
        if name not in NETWORKS.values():  # a stage without it would have other columns
            values |= {f"{name}.{k}": v if isinstance(v, int | float) else str(v) for k, v in arguments.items()}
    return values


def _words(node: Mapping[str, Any]) -> str:
    """Such as StepLR(step_size=3)."""
    words = ", ".join(f"{key}={value}" for key, value in node.items() if not key.startswith("_"))
    return f"{str(node['_target_'] or 'none').rpartition('.')[2]}{f'({words})' if words else ''}"


def _columns(schema: type) -> Iterator[tuple[str, Any, Any]]:
    """The keys of a group that can change a number, with their type and, for a run without them, their value."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        if not field.metadata.get("role") and field.name not in FITTING:
            neutral = field.default if isinstance(field.default, int | float) else "-"
            yield field.name, hints[field.name], neutral


def _cell(hint: Any, value: Any) -> int | float | str:
    """A value as a cell; a column that may hold null, or a number of two kinds, is one of text."""
    if get_args(hint) or not isinstance(value, int | float):
        return "none" if value is None else str(value)
    return int(value) if isinstance(value, bool) else value


def add_hparams(writer: SummaryWriter, values: Mapping[str, Any], final: Mapping[str, float], step: int) -> None:
    """Add a run's row to TensorBoard's table.

    Args:
        writer: of the run.
        values: the settings; every run should have the same, since the table takes its columns from the first.
        final: as in metrics.json.
        step: optimizer steps so far.
    """
    final = distinct(final)
    for name, value in final.items():
        if name.startswith("val/"):  # the last val/* in the curve is of another checkpoint
            writer.add_scalar(f"final/{name}", value, step)
    tags = [f"final/{name}" if name.startswith("val/") else name for name in final if "train/" not in name]
    file: Any = writer._get_file_writer()  # opens it where the Trainer has closed it
    for summary in hparams(dict(values), dict.fromkeys((*METRICS, *tags), 0.0)):  # the table reads the scalars
        file.add_summary(summary)
