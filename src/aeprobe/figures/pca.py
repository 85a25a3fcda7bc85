"""Principal components: the linear baseline beside the autoencoder, and the plane on which codes are shown."""

import aeprobe.runtime  # noqa: F401

import torch
from torch import Tensor

CHUNK = 1_000  # rows that are floats at one time


def principal_components(rows: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """The directions in which `rows` vary most, in double precision.

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
    mean = torch.stack([chunk.double().sum(0) for chunk in rows.split(CHUNK)]).sum(0) / len(rows)
    products = torch.zeros(features, features, dtype=torch.float64)
    for chunk in rows.split(CHUNK):
        values = chunk.double() - mean
        products.addmm_(values.T, values)
    variances, directions = torch.linalg.eigh(products / len(rows))
    variances = variances.clamp_min(0).flip(0)
    shares = variances[:components] / variances.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return mean, directions.flip(1)[:, :components], shares
