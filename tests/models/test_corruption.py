"""Denoising: what the encoder sees while training, and what it has to reconstruct."""

from pathlib import Path

import modules
import pytest
import torch
from conftest import metrics, run_here, train
from torch import nn

from aeprobe.data.augmentation import Gaussian, Masking
from aeprobe.models import checkpoints

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


@pytest.mark.slow
def test_a_run_goes_on_to_the_same_bits_and_is_measured_on_clean_images(tmp_path: Path, few: Path) -> None:
    typed = ["stage=autoencoder", "data=folder", f"data.root={few}", "data.val_size=20", "trainer.figures=false"]
    typed += ["corruption@autoencoder.corruption=masking", "autoencoder.corruption.share=0.25"]
    typed += ["autoencoder.batch_size=20"]
    run_here(tmp_path / "whole", [*typed, "autoencoder.max_epochs=2"])
    run_here(tmp_path / "run", [*typed, "autoencoder.max_epochs=1"])
    assert train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path).status == 0
    one, other = (checkpoints.read(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("whole", "run"))
    assert all(torch.equal(one["state_dict"][key], other["state_dict"][key]) for key in one["state_dict"])
    final = metrics(tmp_path / "run")["final"]
    tested = run_here(tmp_path / "test", ["stage=test", f"ckpt={tmp_path / 'run'}", "trainer.figures=false"])
    assert tested["test"]["final"]["test/loss"] == pytest.approx(final["test/loss"], abs=1e-7)
