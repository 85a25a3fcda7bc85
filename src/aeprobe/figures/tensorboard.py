"""What TensorBoard is given beside the curves.

All its tags, by who writes them:

callbacks.Recorder (the step of every scalar is the number of optimizer steps so far):
    train/loss_step, train/accuracy_step, train/lr           every step
    train/loss, train/loss_last, val/loss                    every epoch
    train/accuracy, train/accuracy_last, val/accuracy        every epoch of a classifier
    train/softmax_loss_last                                  every epoch of a classifier
    train/agreement, _last and _step                         of an autoencoder with regularizer=clusters
runner, after testing:
    test/loss, test/accuracy                                 of the tested checkpoint
    final/val/loss, final/val/accuracy                       of the same, which may not be the last
    and the hparams, whose metrics these are
here, once at the end, where `trainer.figures` is true:
    figures/NAME              an image for each figure; figures/reconstructions one for each epoch that it shows
    test_batch_accuracy                                      the step is the number of the test batch
    and the graph and the projector (the codes of 1,000 test images with their labels and a sprite).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import aeprobe.runtime  # noqa: F401

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from aeprobe.config.schema import AutoencoderConfig, ClassifierConfig, Config, StageConfig, TrainerConfig, keys
from aeprobe.training.build import Experiment

METRICS = ("final/val/loss", "final/val/accuracy", "test/loss", "test/accuracy")
PROJECTED = 1_000
NODES = tuple(field.name for _, field in keys(AutoencoderConfig) if field.metadata.get("packages"))
FITTING = ("widths", "max_epochs", "limit_epochs", *NODES)  # what `_fitting` tells in its own way
RGBA = 4


def add_png(writer: SummaryWriter, tag: str, png: bytes, size: tuple[int, int], step: int) -> None:
    """Adds a file's bytes as they are: add_figure would draw the figure, and compress it, once more."""
    image = Summary.Image(width=size[0], height=size[1], colorspace=RGBA, encoded_image_string=png)
    _add(writer, Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def add_graph(writer: SummaryWriter, layers: Mapping[str, nn.Module]) -> None:
    """Adds the network that these layers make one after the other; the first takes flat images."""
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    weight = next(network.parameters())
    with torch.no_grad():
        writer.add_graph(network, weight.new_zeros(1, weight.shape[1]))


def add_hparams(writer: SummaryWriter, values: Mapping[str, Any], final: Mapping[str, float], step: int) -> None:
    """Adds a run's row to the table.

    Args:
        writer: of the run.
        values: the settings; every run should have the same, since the table takes its columns from the first.
        final: as in metrics.json.
        step: optimizer steps so far.
    """
    for name, value in final.items():
        if name.startswith("val/"):  # the last val/* in the curve is of another checkpoint
            writer.add_scalar(f"final/{name}", value, step)
    for summary in hparams(dict(values), dict.fromkeys(METRICS, 0.0)):  # the table reads the scalars
        _add(writer, summary)


def hyperparameters(experiment: Experiment, config: Config) -> dict[str, int | float | str]:
    """The settings of a run as one row of TensorBoard's table: all that can change a number.

    The table takes its columns from the first run. So every run has the same ones, each of one type in all runs.
    The stage's own settings have their plain names, those of the other stage their neutral value or "-".
    Those that the encoder was trained with, which a classifier's numbers depend on too, begin with "encoder.",
    and are "-" where the encoder comes from another run.
    """
    stage, data = experiment.settings, experiment.data
    assert stage is not None
    values: dict[str, int | float | str] = {"stage": experiment.stage, "seed": experiment.seed}
    values |= {
        "ckpt": config.ckpt or "-",
        "data": data.name if data.name == "mnist" else f"{data.name} {data.root}",
    }
    preprocessing = experiment.module.hparams
    values |= {"val_size": data.val_size, "mean": preprocessing["mean"], "std": preprocessing["std"]}
    trainer = config.trainer
    values |= {name: _cell(hint, getattr(trainer, name)) for name, hint, _ in _columns(TrainerConfig)}
    for schema in (AutoencoderConfig, ClassifierConfig):
        values |= {name: _cell(hint, getattr(stage, name, neutral)) for name, hint, neutral in _columns(schema)}
    values |= _fitting(stage, trainer)
    encoder: dict[str, Any] = {n: getattr(config.autoencoder, n) for n, _, _ in _columns(AutoencoderConfig)}
    encoder.update(_fitting(config.autoencoder, trainer))
    known = config.stage.trains("autoencoder")
    return values | {f"encoder.{name}": str(value) if known else "-" for name, value in encoder.items()}


def _fitting(stage: StageConfig, trainer: TrainerConfig) -> dict[str, int | float | str]:
    """How a stage is optimized. What not every class takes stands beside its name, and in its own column too."""
    lr, decay = float(stage.optimizer["lr"]), float(stage.optimizer.get("weight_decay", 0.0))
    values: dict[str, int | float | str] = {"epochs": stage.epochs(trainer), "lr": lr, "weight_decay": decay}
    values["widths"] = "-".join(map(str, stage.widths))
    for name in NODES:
        node = getattr(stage, name, {"_target_": None})
        arguments = {k: v for k, v in node.items() if not k.startswith("_") and k not in ("lr", "weight_decay")}
        words = ", ".join(f"{key}={value}" for key, value in arguments.items())
        values[name] = f"{str(node['_target_'] or 'none').rpartition('.')[2]}{f'({words})' if words else ''}"
        values |= {f"{name}.{k}": v if isinstance(v, int | float) else str(v) for k, v in arguments.items()}
    return values


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


def add_projector(writer: SummaryWriter, codes: Tensor, labels: Tensor, images: Tensor, step: int) -> None:
    """Adds the first thousand codes, (N, code), with their labels, (N,), and images, uint8 (N, 1, 28, 28)."""
    codes = codes[:PROJECTED]
    names = [str(label) for label in labels[: len(codes)].tolist()]
    sprite = images[: len(codes)].float() / 255
    writer.add_embedding(codes, metadata=names, label_img=sprite, tag="codes", global_step=step)


def add_batches(writer: SummaryWriter, accuracies: Sequence[float]) -> None:
    """Adds the accuracy of each test batch, counted from 1."""
    for batch, value in enumerate(accuracies, start=1):
        writer.add_scalar("test_batch_accuracy", value, batch)


def _add(writer: SummaryWriter, summary: Summary, step: int | None = None) -> None:
    file: Any = writer._get_file_writer()  # opens it where the Trainer has closed it
    file.add_summary(summary, step)
