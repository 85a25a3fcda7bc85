"""Principal components: the linear baseline beside the autoencoder, and the plane on which codes are shown."""

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1_000  # rows that are floats at one time
IMAGES = 20_000  # a third of MNIST: the test MSE differs from that of all 60,000 by 0.1 %
FEW = 2_000  # features whose covariance is computed; of more, so many images, and their products with each other
NUMBERS = 40_000_000  # fewer images where each has many numbers
ROUNDING = 1e-20  # an MSE of pixels below it is what double precision leaves of nothing
VARIES = 1e-12  # of all variance: a component with less is a direction that rounding chose


@dataclass(frozen=True)
class LinearCode:
    """The code of an image by principal components."""

    mean: Tensor  # of pixels in [0, 255], (features,)
    axes: Tensor  # the components as columns, (features, components)
    images: int  # that it was fitted to

    def encode(self, images: Tensor) -> Tensor:
        """Encode images, (N, channels, height, width), pixels in [0, 255], as codes, double (N, components)."""
        return (images.flatten(1).double() - self.mean) @ self.axes

    def decode(self, codes: Tensor) -> Tensor:
        """Return pixels, double (N, features), in about [0, 1]."""
        return (self.mean + codes @ self.axes.T) / 255


def fitted(images: Tensor, components: int) -> LinearCode:
    """Fit a linear code to some of the images, uint8 (N, channels, height, width).

    It has fewer numbers than `components` where the images vary in fewer directions.
    """
    rows = images.flatten(1)
    most = min(IMAGES if rows.shape[1] <= FEW else FEW, NUMBERS // rows.shape[1])
    rows = rows[:: max(1, round(len(rows) / max(1, most)))]
    mean, axes, shares = principal_components(rows, components)
    return LinearCode(mean, axes[:, shares > VARIES], len(rows))


def principal_components(rows: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean, (features,), of `rows`, (N, features), and the directions in which they vary most, exactly.

    These are columns, (features, components), the strongest first, with each one's share of the variance,
    (components,): eigenvectors of the covariance, or made of those of the rows' products with each other where
    these are fewer. The mean is subtracted first: of rows that hardly vary, large products differ by rounding.
    """
    count, features = rows.shape
    mean = torch.stack([chunk.double().sum(0) for chunk in rows.split(CHUNK)]).sum(0) / count
    tiny = torch.finfo(torch.float64).tiny
    if features <= max(count, FEW):
        products = torch.zeros(features, features, dtype=torch.float64)
        for chunk in rows.split(CHUNK):
            values = chunk.double() - mean
            products.addmm_(values.T, values)
        variances, axes = torch.linalg.eigh(products)
    else:
        values = rows.double() - mean
        variances, mixed = torch.linalg.eigh(values @ values.T)
        axes = values.T @ (mixed / variances.clamp_min(tiny).sqrt())
    variances = variances.clamp_min(0).flip(0)
    shares = variances[:components] / variances.sum().clamp_min(tiny)
    return mean, axes.flip(1)[:, :components], shares
