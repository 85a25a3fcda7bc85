"""Principal components: the linear baseline beside the autoencoder, and the plane on which codes are shown."""

from dataclasses import dataclass

import aeprobe.runtime  # noqa: F401

import torch
from torch import Tensor

CHUNK = 1_000  # rows that are floats at one time
FEW = 2_000  # features whose products with each other are computed, in 32 MB; of more, only some directions
MORE, PASSES = 10, 8  # directions beside the wanted ones, and how often they are turned towards the strongest
IMAGES = 20_000  # a third of MNIST: the test MSE differs from that of all 60,000 by 0.1 %
NUMBERS, LEAST = 40_000_000, 2_000  # fewer images where each has many numbers
ROUNDING = 1e-20  # an MSE of pixels below it is what double precision leaves of nothing
VARIES = 1e-12  # of all variance: a component with less is a direction that rounding chose


@dataclass(frozen=True)
class LinearCode:
    """What an image is as principal components.

    Attributes:
        mean: of pixels in [0, 255], (features,).
        axes: the components as columns, (features, components).
        images: how many it was fitted to.
    """

    mean: Tensor
    axes: Tensor
    images: int

    def encode(self, images: Tensor) -> Tensor:
        """Codes, double (N, components), of images with pixels in [0, 255], (N, channels, height, width)."""
        codes: Tensor = (images.flatten(1).double() - self.mean) @ self.axes
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Pixels, double (N, features), in about [0, 1]."""
        pixels: Tensor = (self.mean + codes @ self.axes.T) / 255
        return pixels


def fitted(images: Tensor, components: int) -> LinearCode:
    """The linear code of some of the training images, for all others.

    Args:
        images: uint8 (N, channels, height, width).
        components: numbers of the code; fewer are used where the images do not vary in as many directions.
    """
    rows = images.flatten(1)
    most = min(IMAGES, max(LEAST, NUMBERS // rows.shape[1]))
    rows = rows[:: max(1, round(len(rows) / most))]
    mean, axes, shares = principal_components(rows, components)
    return LinearCode(mean, axes[:, shares > VARIES], len(rows))


def principal_components(rows: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """The directions in which `rows` vary most, in double precision.

    Of rows with more than `FEW` features they are found by subspace iteration: some directions are multiplied by
    the covariance again and again, which needs no more memory than the directions (Halko, Martinsson and Tropp,
    SIAM Review 53, 2011, algorithm 4.4).

    The mean is subtracted before anything is multiplied: of rows that hardly vary, the difference of two large
    sums of products would be rounding alone.

    Args:
        rows: (N, features), of any number type.
        components: how many; at most the features.

    Returns:
        The mean, (features,), the components as columns, (features, components), the strongest first, and
        each one's share of the variance, (components,), all of them 0 where nothing varies.
    """
    features = rows.shape[1]
    if features > FEW:
        return _strongest(rows, components)
    mean = _mean(rows)
    products = torch.zeros(features, features, dtype=torch.float64)
    for chunk in rows.split(CHUNK):
        values = chunk.double() - mean
        products.addmm_(values.T, values)
    variances, directions = torch.linalg.eigh(products / len(rows))
    variances = variances.clamp_min(0).flip(0)
    shares = variances[:components] / variances.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return mean, directions.flip(1)[:, :components], shares


def _mean(rows: Tensor) -> Tensor:
    return torch.stack([chunk.double().sum(0) for chunk in rows.split(CHUNK)]).sum(0) / len(rows)


def _strongest(rows: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    mean, features = _mean(rows), rows.shape[1]
    random = torch.Generator().manual_seed(0)
    wide = min(components + MORE, features)
    turned = torch.randn(features, wide, dtype=torch.float64, generator=random)
    for _ in range(PASSES):
        directions, _ = torch.linalg.qr(turned)
        turned, whole = torch.zeros_like(directions), 0.0
        for chunk in rows.split(CHUNK):
            values = chunk.double() - mean
            whole += values.square().sum().item()
            turned.addmm_(values.T, values @ directions)
    # Within these directions the components are those of a small matrix.
    variances, mixed = torch.linalg.eigh(directions.T @ turned)
    shares = variances.clamp_min(0).flip(0)[:components] / max(whole, torch.finfo(torch.float64).tiny)
    return mean, (directions @ mixed).flip(1)[:, :components], shares
