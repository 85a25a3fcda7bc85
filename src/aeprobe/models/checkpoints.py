"""Checkpoints, and the modules of both stages, built from the plain values that a checkpoint keeps.

A file is read with `weights_only=True`, so that it cannot run code, and only if all its bytes have the checksums
that the zip format keeps: torch itself loads a flipped byte without a word. A new module is built by the same
settings, those of a configuration, so that a file needs nothing beside it.
"""

import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor, nn

from aeprobe import nodes
from aeprobe.errors import AeprobeError, first_line
from aeprobe.files import write_atomically
from aeprobe.models.autoencoder import Autoencoder, BinaryCrossEntropy
from aeprobe.models.classifier import Classifier
from aeprobe.runs.metrics import find_checkpoint

Node = dict[str, Any]
LOSSES: dict[str, type[nn.Module]] = {"mse": nn.MSELoss, "bce": BinaryCrossEntropy, "l1": nn.L1Loss}
Checkpoint = dict[str, Any]
KEYS = {"stage", "state_dict", "hyper_parameters", "datamodule_hyper_parameters"}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to its files: complete or absent, and read safely."""

    def save_checkpoint(self, checkpoint: Checkpoint, path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; an interruption leaves the old file as it was."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Checkpoint:
        """Read a checkpoint onto the CPU."""
        return read(Path(path))


def load(run: str | Path, plugins: Sequence[str] = (), stage: str = "classifier") -> Autoencoder | Classifier:
    """Load the module of a run or a file, as `aeprobe.load`; of a run of `stage=all` that of `stage`."""
    path = find_checkpoint(run, stage)
    return restore(read(path), path, plugins)


def read(path: Path) -> Checkpoint:
    """Return the content of a checkpoint, on the CPU; raise AeprobeError for a damaged or foreign file."""
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise AeprobeError(f"ckpt={path}: is damaged in {damaged}; use another copy")
        content: Checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except AeprobeError:
        raise
    except OSError as error:
        raise AeprobeError(f"ckpt={path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a file that is no zip, or whose pickle says something else, can raise any
        raise AeprobeError(f"ckpt={path}: is not a checkpoint of plain weights; no code of it was run") from error
    if not isinstance(content, dict) or not content.keys() >= KEYS or content["stage"] not in [*BUILDERS]:
        raise AeprobeError(f"ckpt={path}: is a checkpoint, but not one of this project's stages")
    for name, weight in content["state_dict"].items():
        if n := int((~weight.isfinite()).sum()):
            raise AeprobeError(f"ckpt={path}: its weight {name} is not finite in {n} of {weight.numel()} numbers")
    return content


def restore(
    checkpoint: Checkpoint, path: Path, plugins: Sequence[str] = (), **training: Any
) -> Autoencoder | Classifier:
    """Build the module that a checkpoint, read from `path`, holds, in eval mode; `plugins` are trusted besides."""
    settings = checkpoint["hyper_parameters"]
    nodes.require_trusted(settings.items(), plugins, f"ckpt={path}")
    try:
        module = BUILDERS[checkpoint["stage"]](settings, **training)
        module.load_state_dict(checkpoint["state_dict"], strict=True)
    except Exception as error:  # settings that are not the project's can end in any
        raise AeprobeError(
            f"ckpt={path}: its weights do not fit {settings!s:.500} ({first_line(error):.200})"
        ) from error
    return module.eval()


def network_node(node: Mapping[str, Any], shape: Sequence[int]) -> Node:
    """Return the node of a network with the images' shape, and the first of its `widths`."""
    return _completed(node, "autoencoder.network", {0: math.prod(shape)}, shape=list(shape))


def head_node(node: Mapping[str, Any], code: int, classes: int) -> Node:
    """Return the node of a head with the sizes of code and output: the ends of its `widths`, or two numbers."""
    return _completed(node, "classifier.head", {0: code, -1: classes}, code=code, classes=classes)


def _completed(node: Mapping[str, Any], key: str, ends: Mapping[int, int], **fixed: Any) -> Node:
    if isinstance(node.get("widths"), list):
        widths = [*node["widths"]]
        for end, number in ends.items():
            if widths and widths[end] == "auto":
                widths[end] = number
        node = {**node, "widths": widths}
    return {"_target_": node["_target_"]} | nodes.bound(node, key, nn.Module, **fixed).keywords


def new_autoencoder(
    settings: Mapping[str, Any], mean_image: Callable[[], Tensor] | None = None, **training: Any
) -> Autoencoder:
    """Build stage 1's module with new weights, of settings that its checkpoints keep and arguments of training."""
    network: Any = nodes.build(settings["network"], "autoencoder.network", nn.Module)
    if mean_image is not None and getattr(network, "starts_at_mean", False):
        network.start_at(mean_image())
    plain = {name: settings[name] for name in ("shape", "mean", "std")}
    make = nodes.bound(settings["module"], "autoencoder", Autoencoder)
    try:
        module = make(network=network, loss=_loss(settings, "autoencoder"), **plain, **training)
    except (AttributeError, TypeError, ValueError) as error:
        raise AeprobeError(f"autoencoder ({settings['network']['_target_']}): {error}") from error
    module.save_hyperparameters(dict(settings), logger=False)
    return module


def new_classifier(settings: Mapping[str, Any], encoder: nn.Module | None = None, **training: Any) -> Classifier:
    """Build stage 2's module with a new head, on a copy of a trained encoder, or one with new weights."""
    if encoder is None:
        new = nodes.build(settings["network"], "autoencoder.network", nn.Module).get_submodule("encoder")
    else:  # also with new weights: those of the head are drawn after them
        new = fresh(encoder)
    head = nodes.build(settings["head"], "classifier.head", nn.Module)
    plain = {name: value for name, value in settings.items() if name not in ("network", "head", "loss")}
    try:
        module = Classifier(new, head, loss=_loss(settings, "classifier"), **plain, **training)
    except ValueError as error:
        raise AeprobeError(f"classifier.head ({settings['head']['_target_']}): {error}") from error
    if encoder is not None:
        module.encoder.load_state_dict(encoder.state_dict())
    module.save_hyperparameters(dict(settings), logger=False)
    return module


def _loss(settings: Mapping[str, Any], stage: str) -> nn.Module | None:
    if isinstance(loss := settings["loss"], dict):
        return nodes.build(loss, f"{stage}.loss", nn.Module)
    return LOSSES[loss]() if loss in LOSSES else None  # cross_entropy is the classifier's own


def fresh(network: nn.Module) -> nn.Module:
    """Return a copy with new weights."""
    copy = deepcopy(network)
    for module in copy.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return copy


BUILDERS: dict[str, Callable[..., Autoencoder | Classifier]] = {
    "autoencoder": new_autoencoder,
    "classifier": new_classifier,
}
