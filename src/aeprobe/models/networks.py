"""Fully connected and convolutional networks, the layers around them, and the structure that is read of any."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from aeprobe.data.datamodule import as_pixels
from aeprobe.errors import first_line

SILENT = (nn.Flatten, nn.Unflatten, nn.Identity)  # change no number
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Tanh")


class MLP(nn.Sequential):
    """A multilayer perceptron: linear layers with an activation between them, none after the last.

    It takes inputs of any shape, (N, …), with widths[0] numbers each, and returns (N, widths[-1]).

    Args:
        widths: units of the input, of each hidden layer and of the output; at least two.
        activation: one of `ACTIVATIONS`, which are torch.nn's.
        initialization: "torch" for `nn.Linear`'s own, uniform with a variance of 1 / (3 fan_in), or "he" for
            normal weights with a variance of 2 / fan_in and zero biases (He et al., ICCV 2015).
        dropout: the share of each hidden layer's outputs that a training step sets to 0; 0 or more, below 1.
        batch_norm: before the activation, each hidden layer's units have mean 0 and variance 1.
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "ReLU",
        initialization: str = "torch",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        if len(widths) < 2 or not all(type(width) is int and 1 <= width <= 2**20 for width in widths):
            raise ValueError(f"widths={[*widths]}: must be two or more numbers from 1 to {2**20}")
        require_word("activation", activation, ACTIVATIONS)
        require_word("initialization", initialization, ("torch", "he"))
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: must be 0 or more, and below 1")
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            if layers:
                layers += [nn.BatchNorm1d(fan_in)] if batch_norm else []
                layers += [getattr(nn, activation)()]
                layers += [nn.Dropout(dropout)] if dropout else []
            layer = nn.Linear(fan_in, fan_out)
            if initialization == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
            layers.append(layer)
        super().__init__(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs, (N, widths[-1])."""
        outputs: Tensor = super().forward(inputs.flatten(1))  # type: ignore[no-untyped-call]
        return outputs


class MLPAutoencoder(nn.Module):
    """The report's network: an `MLP` from an image to its code, and its mirror, with a Sigmoid at the end.

    Args:
        shape: of an image: channels, height and width.
        widths: units of the encoder's layers, from an image's numbers to the code.
        activation: as the other arguments, of `MLP`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        activation: str = "ReLU",
        initialization: str = "torch",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        numbers = math.prod(shape)
        if widths[:1] != [numbers]:
            size = " x ".join(map(str, shape))
            raise ValueError(f"widths={widths}: must begin with {numbers}, or auto: an image has {size} numbers")
        options = activation, initialization, dropout, batch_norm
        self.encoder = MLP(widths, *options)
        self.decoder = nn.Sequential(*MLP(widths[::-1], *options), nn.Sigmoid(), nn.Unflatten(1, tuple(shape)))
        self.starts_at_mean = initialization == "he"

    @torch.no_grad()
    def start_at(self, image: Tensor) -> None:
        """Set the output's biases so that a code of zeros decodes to `image`, float in [0, 1], about."""
        output = self.decoder[-3]
        assert isinstance(output, nn.Linear)
        output.bias.copy_(image.flatten().logit(eps=0.01))


class ConvAutoencoder(nn.Module):
    """Each convolution halves height and width, and a linear layer makes the code; the decoder mirrors them.

    Args:
        shape: of an image: channels, height and width.
        channels: of the convolutions' outputs, from the first to the last.
        code: how many numbers an image becomes.
        activation: after each convolution, a class of torch.nn; none follows the code, a Sigmoid ends the decoder.
    """

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], code: int = 30, activation: str = "ReLU"
    ) -> None:
        super().__init__()
        require_word("activation", activation, ACTIVATIONS)
        if not channels or not all(type(number) is int and number > 0 for number in (*channels, code)):
            raise ValueError(f"channels={[*channels]} code={code}: must be numbers of 1 or more")
        sizes = [tuple(shape[1:])]
        for layers in range(len(channels)):
            if max(sizes[-1]) == 1:
                raise ValueError(f"channels={[*channels]}: an image is a single pixel after {layers} layers")
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        act, widths = getattr(nn, activation), [shape[0], *channels]
        last = (widths[-1], *sizes[-1])
        down: list[nn.Module] = []
        for before, after in pairwise(widths):
            down += [nn.Conv2d(before, after, 3, stride=2, padding=1), act()]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(math.prod(last), code))
        up: list[nn.Module] = [nn.Linear(code, math.prod(last)), act(), nn.Unflatten(1, last)]
        for (before, after), (_, size) in zip(pairwise(widths[::-1]), pairwise(sizes[::-1]), strict=True):
            even = 1 - size[0] % 2, 1 - size[1] % 2  # where halving has not rounded up
            up += [nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=even), act()]
        self.decoder = nn.Sequential(*up[:-1], nn.Sigmoid())


def require_word(name: str, value: object, words: Sequence[str]) -> None:
    """Raise ValueError for a value that is none of the words."""
    if value not in words:
        raise ValueError(f"{name}={value}: must be one of {', '.join(words)}")


class Normalize(nn.Module):
    """The layer in front of an encoder: pixels in [0, 1] become (pixel - mean) / std.

    So whoever loads a module need not know how it was trained. A `state_dict` does not hold mean and std.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError(f"mean={mean} and std={std}: expected finite numbers, and std above 0")
        self.changes = (mean, std) != (0, 1)  # else no time is lost, and no bit is changed
        self.register_buffer("mean", torch.tensor(float(mean)), persistent=False)
        self.register_buffer("std", torch.tensor(float(std)), persistent=False)

    def pixels(self, images: Tensor) -> Tensor:
        """Return images as floats in [0, 1], of this layer's precision where they are uint8."""
        return as_pixels(images, self.mean.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Return normalized images, float, of images that are uint8 or floats in [0, 1], of any shape."""
        pixels = self.pixels(images)
        return (pixels - self.mean) / self.std if self.changes else pixels


class Standardize(nn.Module):
    """Shifts and scales each feature to mean 0 and standard deviation 1; until `fit`, samples pass as they are."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, samples: Tensor) -> None:
        """Take the statistics of samples, float (N, features); a feature that never varies is only shifted."""
        std, mean = torch.std_mean(samples, dim=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, 1))

    def forward(self, samples: Tensor) -> Tensor:
        """Return standardised samples, (N, features)."""
        return (samples - self.mean) / self.std


class GaussianNoise(nn.Module):
    """Adds normal noise of a standard deviation while training, and nothing after."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, samples: Tensor) -> Tensor:
        """Return samples of the same shape."""
        return samples + self.std * torch.randn_like(samples) if self.training else samples


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
        raise ValueError(f"the {name} does not take {(2, *size)}: {first_line(error)}") from error


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
