"""A module owns its normalization: it gets images, and is right by itself wherever it is loaded."""

from pathlib import Path

import aeprobe.runtime  # noqa: F401

import lightning as L
import modules
import pytest
import torch
from conftest import metrics, run_here
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms.v2.functional import to_dtype

from aeprobe.data.augmentation import Gaussian
from aeprobe.data.datamodule import ImageDataModule, as_pixels
from aeprobe.models import checkpoints
from aeprobe.models.networks import Normalize

MEAN, STD = 0.1307, 0.3081
WIDTHS = [784, 8, 5]
NORMALIZED = (f"data.mean={MEAN}", f"data.std={STD}", "trainer.figures=false")
EVERY_PIXEL = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def images(count: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)


def test_bytes_become_the_floats_that_torchvision_makes_of_them() -> None:
    assert torch.equal(as_pixels(EVERY_PIXEL), to_dtype(EVERY_PIXEL, torch.float32, scale=True))
    assert as_pixels(EVERY_PIXEL).max() == 1


def test_normalize_takes_bytes_or_floats_and_costs_nothing_where_it_changes_nothing() -> None:
    layer, pixels = Normalize(0.5, 0.25), as_pixels(EVERY_PIXEL)
    torch.testing.assert_close(layer(pixels), (pixels - 0.5) / 0.25)
    assert torch.equal(layer(EVERY_PIXEL), layer(pixels))
    assert Normalize()(pixels) is pixels
    assert layer.double()(EVERY_PIXEL).dtype == torch.float64
    assert layer.state_dict() == {}  # mean and std are arguments, as an activation is
    with pytest.raises(TypeError, match=r"images are torch.int64: expected uint8, or floats in \[0, 1\]"):
        layer(EVERY_PIXEL.long())
    for mean, std in ((0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(ValueError, match="std above 0"):
            Normalize(mean, std)


def test_the_encoder_sees_normalized_pixels_and_the_loss_is_of_pixels() -> None:
    module = modules.autoencoder(WIDTHS, mean=MEAN, std=STD)
    pixels = images().float() / 255
    seen: list[torch.Tensor] = []
    module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for given in (images(), pixels):
        loss = module.training_step((given, torch.zeros(6)), 0)
        torch.testing.assert_close(seen[-1], (pixels - MEAN) / STD)
        torch.testing.assert_close(loss, (module(given) - pixels).square().mean())
        assert module.predict_step((given, None))["reconstruction"].shape == given.shape  # type: ignore[arg-type]
    classifier = modules.classifier(WIDTHS, [5, 3], mean=MEAN, std=STD)
    classifier.encoder.load_state_dict(module.encoder.state_dict())
    torch.testing.assert_close(classifier.encode(images()), module.encode(pixels))


@pytest.mark.parametrize(
    "wrong",
    [images().float(), images() / 255 * 2 - 1, torch.full((6, 1, 28, 28), float("nan"))],
    ids=["bytes", "-1 to 1", "nan"],
)
def test_floats_that_are_no_pixels_are_refused(wrong: torch.Tensor) -> None:
    batches = DataLoader(TensorDataset(wrong, wrong), batch_size=6)
    words = r"^images are floats from .*: expected floats in \[0, 1\], or uint8$"
    fresh = modules.autoencoder(WIDTHS), modules.classifier(WIDTHS, [5, 3])  # in training mode, in no Trainer
    for module in (*fresh, modules.autoencoder(WIDTHS).eval(), modules.classifier(WIDTHS, [5, 3]).eval()):
        for entrance in (module, module.encode, module.predict):
            with pytest.raises(ValueError, match=words):
                entrance(wrong)
            entrance(images())
            entrance(images() / 255 + 1e-4)  # as resizing rounds
        with pytest.raises(ValueError, match=words):
            module.predict(wrong.double().numpy())
        with pytest.raises(ValueError, match=words):
            L.Trainer(logger=False, barebones=True).predict(module, batches)
        assert module.predict(images()[:0])["code"].shape == (0, 5)


def test_a_steps_noise_may_leave_the_pixels() -> None:
    module = modules.autoencoder(WIDTHS, corruption=Gaussian(std=2.0))
    assert module.training_step((images(), torch.zeros(6)), 0).isfinite()


def test_hidden_pixels_are_black_before_they_are_normalized() -> None:
    module = modules.autoencoder(WIDTHS, mean=MEAN, std=STD, corruption=nn.Dropout(0.5))
    seen: list[torch.Tensor] = []
    module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module.training_step((torch.ones(50, 1, 28, 28), torch.zeros(50)), 0)
    expected = torch.tensor([(0 - MEAN) / STD, (2 - MEAN) / STD])  # the others stand for those that are missing
    torch.testing.assert_close(seen[0].unique(), expected)


@pytest.fixture(scope="module")
def normalized(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Both stages on normalized MNIST, with all that moves or hides pixels; tested on 2,000 images."""
    path = tmp_path_factory.mktemp("normalized") / "run"
    limits = ["trainer.limit_train_batches=30", "trainer.limit_val_batches=1", "trainer.limit_test_batches=2"]
    moves = [
        "augmentation@autoencoder.augmentation=shift",
        "corruption@autoencoder.corruption=dropout",
        "autoencoder.corruption.p=0.1",
        "classifier.max_epochs=2",
    ]
    run_here(path, ["experiment=speedrun", *NORMALIZED, *limits, *moves, f"data.root={root}"])
    return path


def test_a_loaded_model_is_the_trained_one(normalized: Path, root: Path) -> None:
    autoencoder, classifier = (checkpoints.load(normalized / stage) for stage in ("autoencoder", "classifier"))
    data = ImageDataModule(root=str(root))
    data.setup()
    pixels, labels = data.splits["test"][:2000]
    for given in (pixels, data.splits["test"].images[:2000]):
        right = classifier.predict_step((given, labels))["label"] == labels
        final = metrics(normalized / "classifier")["final"]
        assert right.float().mean().item() == pytest.approx(final["test/accuracy"], abs=1e-6)
        assert final["test/accuracy"] > 0.3  # one that forgot mean and std is near 0.1
        made = autoencoder.predict_step((given, labels))["reconstruction"]
        final = metrics(normalized / "autoencoder")["final"]
        assert (made - pixels).square().mean().item() == pytest.approx(final["test/loss"], rel=1e-4)
        assert final["test/loss"] < 0.1  # in [0, 1]: of normalized images it would be above 0.5
    for stage in ("autoencoder", "classifier"):
        said = metrics(normalized / stage)["data"]
        assert (said["mean"], said["std"]) == (MEAN, STD)
