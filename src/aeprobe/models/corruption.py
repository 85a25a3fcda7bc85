"""Corruptions of the encoder's input in a denoising autoencoder, which reconstructs the images as they were.

Vincent et al., JMLR 11 (2010), section 3: additive Gaussian noise, and masking noise. torch.nn.Dropout differs
from the latter: it makes the pixels that are left brighter.
"""

import torch
from torch import Tensor, nn


class Gaussian(nn.Module):
    """Adds normal noise to every pixel.

    Args:
        std: its standard deviation, above 0, of pixels in [0, 1].
        clip: pixels that leave [0, 1] are set to its ends, as an image file has them.
    """

    def __init__(self, std: float, clip: bool = False) -> None:
        super().__init__()
        if not std > 0:
            raise ValueError(f"std={std}: must be above 0")
        self.std, self.clip = std, clip

    def forward(self, images: Tensor) -> Tensor:
        """Return noisy images of the same shape, any."""
        noisy = images + self.std * torch.randn_like(images)
        return noisy.clamp(0, 1) if self.clip else noisy


class Masking(nn.Module):
    """Makes a share of the pixels, above 0 and below 1, black, others each time."""

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share={share}: must be above 0 and below 1")
        self.share = share

    def forward(self, images: Tensor) -> Tensor:
        """Return masked images of the same shape, any."""
        return images * (torch.rand_like(images) >= self.share)
