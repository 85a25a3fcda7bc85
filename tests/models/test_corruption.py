"""Denoising: what the encoder sees while training, and what it has to reconstruct."""

import modules
import pytest
import torch
from torch import nn

from aeprobe.data.augmentation import Gaussian, Masking

IMAGES = torch.full((50, 1, 28, 28), 0.5)


def test_normal_noise_has_its_standard_deviation() -> None:
    torch.manual_seed(0)
    noise = Gaussian(0.3)(IMAGES) - IMAGES
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_a_share_of_the_pixels_is_black_and_the_others_as_they_were() -> None:
    torch.manual_seed(0)
    masked = Masking(0.25)(IMAGES)
    assert set(masked.unique().tolist()) == {0.0, 0.5}
    assert (masked == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert not torch.equal(masked, Masking(0.25)(IMAGES))


def test_the_encoder_sees_it_and_the_clean_images_are_the_target() -> None:
    class Grey(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(images)

    module, images = modules.autoencoder([784, 20, 5], corruption=Grey()), torch.rand(4, 1, 28, 28)
    expected = (module.decoder(module.encode(torch.zeros_like(images))).view_as(images) - images).square().mean()
    assert module.training_step((images, torch.zeros(4)), 0).item() == pytest.approx(expected.item())
