"""Modules of fully connected networks, without a configuration."""

from collections.abc import Sequence
from typing import Any

from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.networks import MLP, MLPAutoencoder

SHAPE = [1, 28, 28]


def autoencoder(
    widths: Sequence[int], activation: str = "ReLU", initialization: str = "torch", **more: Any
) -> Autoencoder:
    """An autoencoder of images of 28 x 28 pixels."""
    return Autoencoder(MLPAutoencoder(SHAPE, [*widths], activation, initialization), SHAPE, **more)


def classifier(encoder: Sequence[int], widths: Sequence[int], activation: str = "ReLU", **more: Any) -> Classifier:
    """A classifier on the encoder of such a one."""
    return Classifier(MLP([*encoder], activation), MLP([*widths], activation), SHAPE, **more)
