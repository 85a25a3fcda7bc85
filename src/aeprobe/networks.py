"""Fully connected networks. Plain torch: nothing here knows of training."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(widths: Sequence[int], activation: str = "ReLU", output: nn.Module | None = None) -> nn.Sequential:
    """A multilayer perceptron: linear layers with an activation between them, none after the last.

    Args:
        widths: units of the input, of each hidden layer and of the output; at least two.
        activation: the name of an activation in torch.nn.
        output: what follows the last layer, such as `nn.Sigmoid()`.

    Returns:
        A module from (N, widths[0]) to (N, widths[-1]), with torch's own initialisation.

    Raises:
        ValueError: fewer than two widths.
    """
    if len(widths) < 2:
        raise ValueError(f"a network needs two widths or more, got {list(widths)}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), getattr(nn, activation)()]
    layers.pop()
    return nn.Sequential(*layers, *([] if output is None else [output]))


def describe(widths: Sequence[int], activation: str) -> str:
    """One phrase for an architecture, such as "784-500-200-100-30 with ReLU"."""
    return f"{'-'.join(map(str, widths))} with {activation}"
