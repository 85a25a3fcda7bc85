"""The scale of pixels."""

import torch
from torch import Tensor


def as_pixels(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return images as floats in [0, 1]: uint8 is divided by 255, floats pass as they are."""
    if images.is_floating_point():
        return images
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}: expected uint8, or floats in [0, 1]")
    return images.to(dtype).mul_(1 / 255)
