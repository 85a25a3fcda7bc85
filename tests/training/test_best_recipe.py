"""The settings beyond the report's: what they do to images, codes and weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, run_here

from aeprobe.data.augmentation import RandomShift
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.networks import MLP, GaussianNoise, MLPAutoencoder, Standardize
from aeprobe.training.trainer import EpochSeed

AUGMENTATION = "augmentation@autoencoder.augmentation"
WIDTHS = [784, 500, 200, 100, 30]


def test_he_keeps_a_signals_size_through_the_layers_and_torchs_own_does_not() -> None:
    torch.manual_seed(0)
    images = torch.rand(500, 784)
    he, plain = (MLP(WIDTHS, initialization=name)(images).std() / images.std() for name in ("he", "torch"))
    assert 0.7 < he < 5
    assert plain < 0.3
    layer = MLP([784, 500], initialization="he")[0]
    assert layer.weight.std().item() == pytest.approx((2 / 784) ** 0.5, rel=0.01)
    assert not layer.bias.any()


def test_a_shift_moves_every_image_by_itself_and_loses_nothing_inside() -> None:
    torch.manual_seed(0)
    images = torch.zeros(400, 1, 28, 28)
    images[:, :, 10, 20] = 1
    moved = RandomShift(2)(images)
    assert moved.shape == images.shape
    assert moved.sum() == 400
    _, _, rows, columns = moved.nonzero().T
    assert {*(rows - 10).tolist()} == {*(columns - 20).tolist()} == {-2, -1, 0, 1, 2}
    places = {*zip(rows.tolist(), columns.tolist(), strict=True)}
    assert len(places) == 25
    assert RandomShift(1)(images[:1] * 0 + 1).sum() >= 27 * 27  # zeros move in, nothing wraps round


def test_only_training_images_of_the_first_epochs_are_shifted(root: Path, tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    class Spy(ImageDataModule):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            assert self.trainer is not None
            if not self.trainer.training:
                made = super().on_after_batch_transfer(batch, dataloader_idx)
                seen["other"] = seen.get("other", 0) + int(not torch.equal(made[0], batch[0]))
                return made
            key = f"train {self.trainer.current_epoch}"
            after = super().on_after_batch_transfer(batch, dataloader_idx)
            seen[key] = seen.get(key, 0) + int(not torch.equal(after[0], batch[0]))
            return after

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aeprobe.training.build.ImageDataModule", Spy)
        settings = [f"{AUGMENTATION}=shift", "autoencoder.augmentation.epochs=2", "autoencoder.max_epochs=3"]
        run_here(
            tmp_path / "run",
            ["stage=autoencoder", *settings, *TINY, "trainer.limit_epochs=3", f"data.root={root}"],
        )
    assert seen == {"train 0": 5, "train 1": 5, "train 2": 0, "other": 0}


def test_every_epoch_draws_by_seed_and_epoch_alone() -> None:
    class At:
        def __init__(self, epoch: int, rank: int = 0) -> None:
            self.current_epoch, self.global_rank = epoch, rank

    def draw(seed: int, epoch: int, rank: int = 0) -> list[float]:
        EpochSeed(seed).on_train_epoch_start(At(epoch, rank))  # type: ignore[arg-type]
        return torch.rand(3).tolist()

    assert draw(2**32 - 1, 3) == draw(2**32 - 1, 3)
    assert draw(0, 3) != draw(0, 4)
    assert draw(0, 3) != draw(1, 3)
    assert draw(0, 3) != draw(0, 3, rank=1)
    assert len({tuple(draw(seed, 3)) for seed in range(0, 4000, 4)}) == 1000


@pytest.mark.slow
def test_standardised_codes_use_the_training_images_alone_and_travel_in_the_checkpoint(
    root: Path, tmp_path: Path, trained: Path
) -> None:
    overrides = ["stage=classifier", f"ckpt={trained}", "classifier.standardize=true", *TINY, f"data.root={root}"]
    run_here(tmp_path / "run", [*overrides, "classifier.code_noise=0.1"])
    classifier = checkpoints.load(tmp_path / "run")
    assert isinstance(classifier, Classifier)
    data = ImageDataModule(root=str(root), split_seed=3)
    data.setup()
    images, _ = data.splits["train"][:]
    codes = classifier.encode(images)
    layer = classifier.head[0]
    assert isinstance(layer, Standardize)
    torch.testing.assert_close(layer.mean, codes.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.std, codes.std(0), rtol=1e-4, atol=1e-4)
    others = classifier.encode(torch.cat([data.splits["val"][:][0], images]))
    assert not torch.allclose(layer.mean, others.mean(0), rtol=1e-6, atol=1e-6)
    standardised = layer(codes)
    torch.testing.assert_close(standardised.mean(0), torch.zeros(30), rtol=0, atol=1e-3)
    torch.testing.assert_close(standardised.std(0), torch.ones(30), rtol=0, atol=1e-3)
    torch.manual_seed(0)
    assert torch.equal(classifier(codes), classifier(codes))  # no noise outside of training


def test_noise_is_added_while_training_only() -> None:
    noise, samples = GaussianNoise(0.5), torch.zeros(10_000, 3)
    assert noise(samples).std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(noise.eval()(samples), samples)


def test_a_feature_that_never_varies_is_only_shifted() -> None:
    layer = Standardize(2)
    layer.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert layer(torch.tensor([[2.0, 6.0]])).tolist() == [[0.0, 1.0]]


def test_a_he_autoencoder_starts_at_the_mean_training_image(root: Path) -> None:
    data = ImageDataModule(root=str(root))
    data.setup()
    mean = data.mean_image()
    torch.testing.assert_close(mean, data.splits["train"].images.float().mean(0) / 255, rtol=1e-4, atol=1e-5)
    network = MLPAutoencoder([1, 28, 28], WIDTHS, initialization="he")
    network.start_at(mean)
    module = Autoencoder(network)
    with torch.no_grad():
        module.decoder[-3].weight.zero_()
    blank = module(torch.rand(1, 1, 28, 28))[0]
    torch.testing.assert_close(blank, mean.clamp(0.01, 0.99), rtol=1e-4, atol=1e-4)
