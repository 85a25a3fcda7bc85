"""A stage's module from plain values: those of a configuration, or those that a checkpoint keeps.

Both stages, `stage=test` and `aeprobe.load` build by the same settings, so that a file needs nothing beside it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from aeprobe.config import nodes
from aeprobe.errors import AeprobeError
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier

Node = dict[str, Any]
LOSSES = {"mse": "torch.nn.MSELoss", "bce": "aeprobe.models.losses.BinaryCrossEntropy", "l1": "torch.nn.L1Loss"}


def network_node(node: Mapping[str, Any], shape: Sequence[int]) -> Node:
    """The node of a network with what the images fix: their shape, and the first of its `widths`."""
    ends = {0: math.prod(shape)}
    return _completed(_with_widths(node, ends), "autoencoder.network", shape=list(shape))


def head_node(node: Mapping[str, Any], code: int, classes: int) -> Node:
    """The node of a head with what the code and the images fix: the ends of its `widths`, or two numbers."""
    return _completed(_with_widths(node, {0: code, -1: classes}), "classifier.head", code=code, classes=classes)


def _with_widths(node: Mapping[str, Any], ends: Mapping[int, int]) -> Node:
    widths = node.get("widths")
    if not isinstance(widths, list):
        return dict(node)
    widths = [*widths]
    for end, number in ends.items():
        if widths and widths[end] == "auto":
            widths[end] = number
    return {**node, "widths": widths}


def _completed(node: Node, key: str, **fixed: Any) -> Node:
    return {"_target_": node["_target_"]} | nodes.bound(node, key, nn.Module, **fixed).keywords


def loss_node(loss: Any) -> Mapping[str, Any]:
    """The node of a loss that may be a word; cross_entropy has none: it is the classifier's own."""
    return loss if isinstance(loss, Mapping) else {"_target_": LOSSES.get(loss)}


def autoencoder(
    settings: Mapping[str, Any], mean_image: Callable[[], Tensor] | None = None, **training: Any
) -> Autoencoder:
    """Stage 1's module with new weights; `settings` are kept in its checkpoints.

    Args:
        settings: "module", "network" and "loss", which are nodes or words, "shape", "mean" and "std".
        mean_image: computes the mean of the training images, for a network that starts at it.
        training: further arguments, of training alone.

    Raises:
        AeprobeError: something cannot be built, or the network does not fit the images.
    """
    network: Any = _network(settings)
    if mean_image is not None and getattr(network, "starts_at_mean", False):
        network.start_at(mean_image())
    loss = nodes.build(loss_node(settings["loss"]), "autoencoder.loss", nn.Module)
    plain = {name: settings[name] for name in ("shape", "mean", "std")}
    make = nodes.bound(settings["module"], "autoencoder", Autoencoder)
    try:
        module = make(network=network, loss=loss, **plain, **training)
    except (TypeError, ValueError) as error:
        raise AeprobeError(f"autoencoder ({settings['network']['_target_']}): {error}") from error
    module.save_hyperparameters(dict(settings), logger=False)
    return module


def classifier(settings: Mapping[str, Any], encoder: nn.Module | None = None, **training: Any) -> Classifier:
    """Stage 2's module with a new head; `settings` are kept in its checkpoints.

    Args:
        settings: "network", "head" and "loss", which are nodes or words, and plain arguments of `Classifier`.
        encoder: a trained one, of which a copy is taken; None: one with new weights.
        training: further arguments, of training alone.

    Raises:
        AeprobeError: something cannot be built, or the head does not fit the code.
    """
    own = fresh(encoder) if encoder is not None else _network(settings).get_submodule("encoder")
    head = _module(settings["head"], "classifier.head")
    loss = nodes.build(loss_node(settings["loss"]), "classifier.loss", nn.Module)
    plain = {name: value for name, value in settings.items() if name not in ("network", "head", "loss")}
    try:
        module = Classifier(own, head, loss=loss, **plain, **training)
    except ValueError as error:
        raise AeprobeError(f"classifier.head ({settings['head']['_target_']}): {error}") from error
    if encoder is not None:
        module.encoder.load_state_dict(encoder.state_dict())
    module.save_hyperparameters(dict(settings), logger=False)
    return module


def _network(settings: Mapping[str, Any]) -> nn.Module:
    network = _module(settings["network"], "autoencoder.network")
    missing = [name for name in ("encoder", "decoder") if not isinstance(getattr(network, name, None), nn.Module)]
    if missing:
        raise AeprobeError(
            f"autoencoder.network={settings['network']['_target_']}: has no {' and no '.join(missing)}: a network "
            "has two modules of these names"
        )
    return network


def _module(node: Mapping[str, Any], key: str) -> nn.Module:
    module = nodes.build(node, key, nn.Module)
    assert module is not None, "checked by validate"
    return module


def fresh(network: nn.Module) -> nn.Module:
    """A copy with new weights. A head's are drawn after them, as they always were."""
    copy = deepcopy(network)
    for module in copy.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return copy


def nodes_of(settings: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every node among a module's settings, with its key."""
    keys = {"module": "autoencoder", "network": "autoencoder.network", "head": "classifier.head", "loss": "loss"}
    return [(key, settings[name]) for name, key in keys.items() if isinstance(settings.get(name), dict)]


BUILDERS: dict[str, Callable[..., Autoencoder | Classifier]] = {
    "autoencoder": autoencoder,
    "classifier": classifier,
}
