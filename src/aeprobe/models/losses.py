"""Losses of stage 1 beside torch's own."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy


class BinaryCrossEntropy(nn.Module):
    """The cross-entropy between a pixel's brightness, taken as a probability, and its reconstruction.

    The mean over all pixels, in nats; grey pixels keep it above 0 however good the reconstruction is.
    """

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        """The loss of reconstructions in [0, 1], of images of the same shape."""
        with torch.autocast(reconstruction.device.type, enabled=False):  # torch's refuses half precision
            return binary_cross_entropy(reconstruction.float(), images.float())
