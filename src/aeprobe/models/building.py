"""The modules of both stages, from plain values: those of a configuration, or those that a checkpoint keeps.

Both stages, `stage=test` and `aeprobe.load` build by the same settings, so that a file needs nothing beside it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from aeprobe import nodes
from aeprobe.errors import AeprobeError
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier

Node = dict[str, Any]
OWN = "aeprobe.models.autoencoder.BinaryCrossEntropy"
LOSSES = {"mse": "torch.nn.MSELoss", "bce": OWN, "l1": "torch.nn.L1Loss"}  # cross_entropy is the classifier's own


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


def autoencoder(
    settings: Mapping[str, Any], mean_image: Callable[[], Tensor] | None = None, **training: Any
) -> Autoencoder:
    """Build stage 1's module with new weights; `settings` are kept in its checkpoints.

    Args:
        settings: "module", "network" and "loss", which are nodes or words, "shape", "mean" and "std".
        mean_image: computes the mean of the training images, for a network that starts at it.
        training: further arguments, of training alone.
    """
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


def classifier(settings: Mapping[str, Any], encoder: nn.Module | None = None, **training: Any) -> Classifier:
    """Build stage 2's module with a new head; `settings` are kept in its checkpoints.

    Args:
        settings: "network", "head" and "loss", which are nodes or words, and plain arguments of `Classifier`.
        encoder: a trained one, of which a copy is taken; None: one with new weights.
        training: further arguments, of training alone.
    """
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
    node = settings["loss"] if isinstance(settings["loss"], dict) else {"_target_": LOSSES.get(settings["loss"])}
    return nodes.build_or_none(node, f"{stage}.loss", nn.Module)


def fresh(network: nn.Module) -> nn.Module:
    """Return a copy with new weights."""
    copy = deepcopy(network)
    for module in copy.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return copy


BUILDERS: dict[str, Callable[..., Autoencoder | Classifier]] = {
    "autoencoder": autoencoder,
    "classifier": classifier,
}
