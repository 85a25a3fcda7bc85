"""Augmentations, which change input and target alike, and corruptions, which change the input alone.

All draw from torch's global generator, for each image anew. The corruptions are those of Vincent et al., JMLR 11
(2010), section 3; torch.nn.Dropout differs from masking noise: it makes the pixels that are left brighter.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate, max_pool2d, pad


class RandomShift(nn.Module):
    """Moves each image by up to 1 to 14 pixels along each axis, in the first `epochs` or all; zeros move in."""

    def __init__(self, pixels: int, epochs: int | None = None) -> None:
        super().__init__()
        if not 1 <= pixels <= 14:
            raise ValueError(f"pixels={pixels}: must be from 1 to 14")
        if epochs is not None and epochs < 1:
            raise ValueError(f"epochs={epochs}: must be null, or at least 1")
        self.pixels, self.epochs = pixels, epochs

    def forward(self, images: Tensor) -> Tensor:
        """Shift images, float (N, 1, height, width)."""
        most, (count, _, height, width) = self.pixels, images.shape
        # A view: (N, 1, shifts, shifts, height, width).
        windows = pad(images, [most] * 4).unfold(2, height, 1).unfold(3, width, 1)
        down, right = torch.randint(0, 2 * most + 1, (2, count), device=images.device)
        return windows[torch.arange(count, device=images.device), :, down, right]


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


class Handwriting(nn.Module):
    """Changes digits as other hands and pens would have written them.

    Each image is turned, slanted, scaled and moved as `randomly_deformed` does, and bent smoothly; some images get
    strokes that are wider or thinner by up to a pixel at each side.

    Args:
        bend: standard deviation of the bending at 5 x 5 places, as a share of half the image's width.
        thicker: the share of images whose strokes become wider, and the share of those where they become thinner.
        epochs: only in the first so many epochs; None: in all of them.
    """

    def __init__(self, bend: float = 0.05, thicker: float = 0.25, epochs: int | None = None) -> None:
        super().__init__()
        if not (bend >= 0 and 0 <= thicker <= 0.5):
            raise ValueError(f"bend={bend} thicker={thicker}: must be at least 0, and from 0 to 0.5")
        self.bend, self.thicker, self.epochs = bend, thicker, epochs

    def forward(self, images: Tensor) -> Tensor:
        """Change images, float (N, channels, height, width), light on black."""
        count = len(images)
        bends = self.bend * torch.randn(count, 2, 5, 5).to(images)
        images = randomly_deformed(
            images, interpolate(bends, images.shape[2:], mode="bicubic", align_corners=True)
        )
        chance, strength = torch.rand(2, count, 1, 1, 1).to(images)
        wide, thin = max_pool2d(images, 3, 1, 1), -max_pool2d(-images, 3, 1, 1)
        thinner = torch.where(chance > 1 - self.thicker, images + 0.7 * strength * (thin - images), images)
        return torch.where(chance < self.thicker, images + strength * (wide - images), thinner)


def randomly_deformed(images: Tensor, bends: Tensor | None = None) -> Tensor:
    """Turn each image by up to 15°, slant it by up to 0.3, scale it by about a fifth, move it by about 2 pixels.

    One digit as two people write it differs by as much. Zeros move in; each axis has its own scale, which
    stretches the move too. Images are float (N, channels, height, width); bends, (N, 2, height, width), move each
    pixel besides, along the row and along the column, where an image is 2 wide.
    """
    count, _, _, width = images.shape
    most = torch.tensor([math.radians(15), 0.3, 0.2, 0.2, 4 / width, 4 / width])  # an image is 2 wide
    draws = (2 * torch.rand(6, count) - 1) * most[:, None]
    angle, slant, wide, high, right, down = draws.to(images)
    cos, sin = angle.cos(), angle.sin()
    rows = [(1 + wide) * cos, (1 + high) * (slant - sin), right, (1 + wide) * sin, (1 + high) * cos, down]
    grid = affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(images.shape), align_corners=False)
    if bends is not None:
        grid = grid + bends.movedim(1, -1)
    return grid_sample(images, grid, align_corners=False)
