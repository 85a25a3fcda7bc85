"""A trained network as plain layers, which JSON holds and a few lines of JavaScript compute."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from aeprobe.errors import AeprobeError
from aeprobe.models.networks import MLP, GaussianNoise, Normalize, Standardize

Plain = dict[str, Any]
SILENT = (nn.Identity, nn.Dropout, GaussianNoise, nn.Flatten, nn.Unflatten)  # once a network is trained
ACTIVATIONS: dict[type[nn.Module], tuple[str, ...]] = {  # with their settings
    **dict.fromkeys((nn.ReLU, nn.SELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid), ()),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.GELU: ("approximate",),
}
LARGEST = torch.finfo(torch.float16).max


@torch.no_grad()
def plain(network: nn.Module, shape: tuple[int, ...], name: str) -> list[Plain]:
    """Return the layers of a network in the order of their computation: each one's "kind" and numbers.

    "from" and "to" are the shapes of its input and its output; numbers are in torch's order, so none is reshaped.
    Weights of linear layers and convolutions are 16-bit floats, all other numbers 32-bit ones, little-endian, in
    base64. Batch normalisation, and each other step that scales and shifts, is "affine": one scale and one shift
    for each channel.

    Args:
        network: in eval mode, on the CPU.
        shape: of its input for one sample, such as (1, 28, 28).
        name: of the network, for the one line that refuses a layer.
    """
    layers, sample = [], torch.zeros(1, *shape)
    for module in _flat(network):
        before, sample = sample, module(sample)
        try:
            layer = _layer(module)
            if isinstance(module, nn.Linear) and before.ndim != 2:
                raise ValueError("its input is no row of numbers")
        except ValueError as error:
            called = type(module).__name__ if [*module.children()] else f"{module!s:.80}"
            raise AeprobeError(f"{name}: the playground cannot compute {called}: {error}") from None
        if layer is not None:
            layers.append(layer | {"from": [*before.shape[1:]], "to": [*sample.shape[1:]]})
    return layers


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that are no plain sequence of others."""
    if type(module) not in (nn.Sequential, MLP):
        yield module
        return
    if type(module) is MLP:  # takes inputs of any shape
        yield nn.Flatten()
    for child in module.children():
        yield from _flat(child)


def _layer(module: nn.Module) -> Plain | None:
    """Return one layer, None for one that changes no number; raise ValueError for an unknown one."""
    kind = type(module)
    if kind in SILENT:
        return None
    if kind in ACTIVATIONS:
        return {"kind": kind.__name__} | {name: getattr(module, name) for name in ACTIVATIONS[kind]}
    if kind in OTHERS:
        return OTHERS[kind](module)
    raise ValueError("it has no such layer")


def _linear(module: nn.Linear) -> Plain:
    return {"kind": "linear", **_weights(module, module.out_features)}


def _convolution(module: nn.Conv2d | nn.ConvTranspose2d) -> Plain:
    for key, usual in (("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros")):
        if (value := getattr(module, key)) != usual:
            raise ValueError(f"{key}={value} is not supported")
    if isinstance(module.padding, str):
        raise ValueError(f"padding={module.padding!r} is not supported, only numbers")
    return {
        "kind": "convolution" if isinstance(module, nn.Conv2d) else "transposedConvolution",
        **{"kernel": [*module.kernel_size], "stride": [*module.stride], "padding": [*module.padding]},
        **_weights(module, module.out_channels),
    }


def _weights(module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, outputs: int) -> Plain:
    if not (module.weight.abs() <= LARGEST).all():
        raise ValueError(f"a weight is {module.weight.abs().max().item():.3g}, which no 16-bit float is")
    bias = torch.zeros(outputs) if module.bias is None else module.bias
    return {"weight": packed(module.weight.half()), "bias": _floats(bias)}


def _normalisation(module: nn.BatchNorm1d | nn.BatchNorm2d) -> Plain:
    if module.running_mean is None or module.running_var is None:
        raise ValueError("it normalises by its batch, and here every image comes alone")
    scale = 1 / (module.running_var + module.eps).sqrt()
    scale = scale if module.weight is None else scale * module.weight
    shift = -module.running_mean * scale
    return _affine(scale, shift if module.bias is None else shift + module.bias)


def _standardize(module: Normalize | Standardize) -> Plain:
    return _affine(1 / module.std.flatten(), (-module.mean / module.std).flatten())


def _affine(scale: Tensor, shift: Tensor) -> Plain:
    return {"kind": "affine", "scale": _floats(scale), "shift": _floats(shift)}


OTHERS: dict[type[nn.Module], Callable[[Any], Plain]] = {
    nn.Linear: _linear,
    **dict.fromkeys((nn.Conv2d, nn.ConvTranspose2d), _convolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), _normalisation),
    **dict.fromkeys((Normalize, Standardize), _standardize),
}


def _floats(values: Tensor) -> str:
    if not values.float().isfinite().all():
        raise ValueError("one of its numbers is not finite")
    return packed(values.float())


def packed(values: Tensor) -> str:
    """Return the numbers of a tensor, little-endian, in base64."""
    array = values.contiguous().numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
