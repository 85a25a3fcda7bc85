"""The structure of a network, read from its modules, for the log, the diagram and the page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SILENT = (nn.Flatten, nn.Unflatten, nn.Identity)  # change no number
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Layer:
    """A layer with weights, and the layers without that follow it."""

    size: tuple[int, ...]  # of its output for one image, such as (500,) or (16, 14, 14)
    parameters: int  # its weights and biases, and those of a norm that follows
    then: tuple[str, ...] = ()  # the classes of the layers that follow


@dataclass(frozen=True)
class Structure:
    """A network's layers in the order of its computation."""

    size: tuple[int, ...]  # of its input for one image or code
    layers: tuple[Layer, ...]
    parameters: int  # of the whole network

    @property
    def sizes(self) -> list[str]:
        """The sizes of the input and of each layer's output, such as "784" or "16x14x14"."""
        return ["x".join(map(str, size)) for size in (self.size, *(layer.size for layer in self.layers))]

    @property
    def between(self) -> list[str]:
        """The classes of the layers without weights between its layers, each once."""
        return [*dict.fromkeys(name for layer in self.layers[:-1] for name in layer.then)]

    def __str__(self) -> str:
        """Write it such as "784-500-200-100-30 with ReLU"."""
        return "-".join(self.sizes) + (f" with {' and '.join(self.between)}" if self.between else "")


def structure(network: nn.Module, size: tuple[int, ...]) -> Structure:
    """Read a network's layers by computing with it once, in eval mode, on inputs of (N, *size)."""
    layers: list[Layer] = []
    before = size

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal before
        weights = sum(p.numel() for p in module.parameters())
        if weights and not isinstance(module, NORMS):
            if not layers and isinstance(module, nn.Linear):
                before = tuple(inputs[0].shape[1:])  # flattened by then
            layers.append(Layer(tuple(output.shape[1:]), weights))
        elif layers and not isinstance(module, SILENT):
            last = layers.pop()
            layers.append(Layer(last.size, last.parameters + weights, (*last.then, type(module).__name__)))

    hooks = [m.register_forward_hook(note) for m in network.modules() if not [*m.children()]]
    try:
        output_of(network, size)
    finally:
        for hook in hooks:
            hook.remove()
    return Structure(before, tuple(layers), sum(p.numel() for p in network.parameters()))


@torch.no_grad()
def output_of(network: nn.Module, size: tuple[int, ...]) -> Any:
    """Return a network's output for two samples of zeros, (2, *size), in eval mode and where its weights are."""
    weight = next(network.parameters(), torch.zeros(()))
    with evaluating(network):
        return network(torch.zeros(2, *size, dtype=weight.dtype, device=weight.device))


def tried(name: str, network: nn.Module, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size of the same output; raise ValueError with the network's name for whatever it ends in."""
    try:
        return tuple(output_of(network, size).shape)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"the {name} does not take {(2, *size)}: {reason}") from error


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode for a while; each of its modules is then as before."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
