"""Principal components: the linear baseline beside the autoencoder, and the plane on which codes are shown."""

import aeprobe.runtime  # noqa: F401

import torch
from torch import Tensor

CHUNK = 1_000  # rows that are floats at one time


def principal_components(rows: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """The directions in which `rows` vary most.

    Args:
        rows: (N, features), of any number type.
        components: how many; at most the features.

    Returns:
        The mean, (features,), the components as columns, (features, components), the strongest first, and
        each one's share of the variance, (components,).
    """
    features = rows.shape[1]
    total, products = torch.zeros(features), torch.zeros(features, features)
    for chunk in rows.split(CHUNK):
        values = chunk.float()
        total += values.sum(0)
        products.addmm_(values.T, values)
    mean = total / len(rows)
    variances, directions = torch.linalg.eigh(products / len(rows) - mean.outer(mean))
    variances = variances.clamp_min(0).flip(0)
    shares = variances[:components] / variances.sum().clamp_min(torch.finfo().tiny)
    return mean, directions.flip(1)[:, :components], shares
