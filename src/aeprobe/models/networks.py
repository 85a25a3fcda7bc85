"""Fully connected networks. Plain torch: nothing here knows of training."""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite

import torch
from torch import Tensor, nn

from aeprobe.data.pixels import as_pixels


def mlp(
    widths: Sequence[int],
    activation: str = "ReLU",
    output: nn.Module | None = None,
    initialization: str = "torch",
) -> nn.Sequential:
    """A multilayer perceptron: linear layers with an activation between them, none after the last.

    Args:
        widths: units of the input, of each hidden layer and of the output; at least two.
        activation: the name of an activation in torch.nn.
        output: what follows the last layer, such as `nn.Sigmoid()`.
        initialization: "torch" for `nn.Linear`'s own, uniform with a variance of 1 / (3 fan_in), or "he" for
            normal weights with a variance of 2 / fan_in and zero biases (He et al., ICCV 2015): what ReLU and its
            kin need so that a signal keeps its size through many layers.

    Returns:
        A module from (N, widths[0]) to (N, widths[-1]).

    Raises:
        ValueError: fewer than two widths.
    """
    if len(widths) < 2:
        raise ValueError(f"a network needs two widths or more, got {list(widths)}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layer = nn.Linear(fan_in, fan_out)
        if initialization == "he":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        layers += [layer, getattr(nn, activation)()]
    layers.pop()
    return nn.Sequential(*layers, *([] if output is None else [output]))


class Normalize(nn.Module):
    """The layer in front of an encoder: pixels in [0, 1] become (pixel - mean) / std.

    So whoever loads a module need not know how it was trained. A `state_dict` does not hold mean and std.

    Args:
        mean: subtracted from pixels in [0, 1].
        std: divides them after that.

    Raises:
        ValueError: `std` is not above 0, or one of the two is not finite.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        if not (isfinite(mean) and isfinite(std) and std > 0):
            raise ValueError(f"mean={mean} and std={std}: expected finite numbers, and std above 0")
        self.changes = (mean, std) != (0, 1)  # else no time is lost, and no bit is changed
        self.register_buffer("mean", torch.tensor(float(mean)), persistent=False)
        self.register_buffer("std", torch.tensor(float(std)), persistent=False)

    def pixels(self, images: Tensor) -> Tensor:
        """Images as floats in [0, 1], of this layer's precision where they are uint8."""
        return as_pixels(images, self.mean.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images, float, of images that are uint8 or floats in [0, 1], of any shape."""
        pixels = self.pixels(images)
        return (pixels - self.mean) / self.std if self.changes else pixels


class Standardize(nn.Module):
    """Shifts and scales each feature to mean 0 and standard deviation 1; the statistics are buffers.

    Args:
        features: numbers per sample. Until `fit`, samples pass as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, samples: Tensor) -> None:
        """Takes the statistics of samples, float (N, features); a feature that never varies is only shifted."""
        std, mean = torch.std_mean(samples, dim=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, 1))

    def forward(self, samples: Tensor) -> Tensor:
        """Standardised samples, (N, features)."""
        return (samples - self.mean) / self.std


class GaussianNoise(nn.Module):
    """Adds normal noise while training, and nothing after.

    Args:
        std: its standard deviation, in the samples' units.
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, samples: Tensor) -> Tensor:
        """Samples of the same shape."""
        return samples + self.std * torch.randn_like(samples) if self.training else samples


def describe(widths: Sequence[int], activation: str) -> str:
    """One phrase for an architecture, such as "784-500-200-100-30 with ReLU"."""
    return f"{'-'.join(map(str, widths))} with {activation}"
