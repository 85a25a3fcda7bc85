"""The clustering beside stage 1's MSE: what it measures, that it needs no label, and that it fades."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, metrics, run_here, scalars
from torch.distributions import Categorical
from torch.nn.functional import kl_div

from aeprobe.data.augmentation import randomly_deformed
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.networks import MLPAutoencoder
from aeprobe.models.regularizers import (
    ClusterAgreement,
    InformationMaximization,
    divergence,
    entropy,
    mutual_information,
)

CLUSTERS = "regularizer@autoencoder.regularizer=clusters"
CLUSTERED = ("stage=autoencoder", *TINY, CLUSTERS, "trainer.limit_epochs=4", "autoencoder.max_epochs=4")


def test_mutual_information_of_known_clusters() -> None:
    one_each = 100 * torch.eye(8).repeat(5, 1)
    assert mutual_information(one_each, one_each).item() == pytest.approx(math.log(8), abs=1e-4)
    assert mutual_information(one_each, one_each.roll(1, 0)).item() < math.log(8) - 0.5
    assert mutual_information(one_each, torch.zeros(40, 8)).item() == pytest.approx(0, abs=1e-4)
    with torch.autocast("cpu", torch.half):
        assert mutual_information(one_each.half(), one_each.half()).item() == pytest.approx(math.log(8), abs=1e-4)
    halves = 100 * torch.eye(2).repeat_interleave(torch.tensor([3, 1]), dim=0)
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))  # the entropy of clusters of three and one
    assert mutual_information(halves, halves).item() == pytest.approx(expected, abs=1e-4)


def test_every_image_is_deformed_its_own_way_and_none_far() -> None:
    torch.manual_seed(0)
    images = torch.zeros(500, 1, 28, 28)
    images[:, :, 9:19, 13:15] = 1  # an upright stroke, 10 x 2 pixels
    made = randomly_deformed(images)
    assert made.shape == images.shape
    assert 0 <= made.min() <= made.max() <= 1.0001
    assert len(made.flatten(1).unique(dim=0)) == 500
    place = torch.arange(28) + 0.5
    ink = made.sum((1, 2, 3))
    assert 20 * 0.65 < ink.min() < ink.max() < 20 * 1.6  # a fifth longer or shorter along each axis
    for axis in (2, 3):  # the middle is 14 on average; two pixels of an image that is then stretched
        middle = (made.sum((1, 5 - axis)) * place).sum(1) / ink
        assert middle.mean().item() == pytest.approx(14, abs=0.1)
        assert 1.5 < (middle - 14).abs().max() < 3
    torch.manual_seed(0)
    assert torch.equal(randomly_deformed(images), made)


@pytest.mark.slow
def test_clusters_see_no_label(root: Path, tmp_path: Path) -> None:
    class Unlabelled(ImageDataModule):
        def setup(self, stage: str | None = None) -> None:
            super().setup(stage)
            self.splits["train"].labels = torch.zeros_like(self.splits["train"].labels)

    settings = [*CLUSTERED, "regularizer@autoencoder.regularizer=information", f"data.root={root}"]
    run_here(tmp_path / "labelled", settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aeprobe.training.build.ImageDataModule", Unlabelled)
        run_here(tmp_path / "unlabelled", settings)
    one, other = (checkpoints.load(tmp_path / name).state_dict() for name in ("labelled", "unlabelled"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_clusters_are_weighted_less_and_less_and_the_loss_stays_the_mse(root: Path, tmp_path: Path) -> None:
    weights: list[float] = []
    forward = ClusterAgreement.forward

    def spy(self: ClusterAgreement, *given: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        term, measured = forward(self, *given)
        weights.append((-term / measured["agreement"]).item())
        return term, measured

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterAgreement, "forward", spy)
        settings = [
            "autoencoder.regularizer.weight=1",
            "autoencoder.network.initialization=he",
            f"data.root={root}",
        ]
        run_here(tmp_path / "run", [*CLUSTERED, *settings])
    expected = [share**2 for share in (1, 0.75, 0.5, 0.25) for _ in range(5)]
    assert weights == pytest.approx(expected, abs=1e-6)
    rows = metrics(tmp_path / "run")["epochs"]
    assert all(0 <= row["train/agreement"] <= math.log(10) for row in rows)
    assert rows[-1]["train/agreement"] > rows[0]["train/agreement"]
    assert abs(rows[0]["train/loss"] - rows[0]["val/loss"]) < 0.05  # both the MSE alone
    assert len(scalars(tmp_path / "run")["train/agreement_step"]) == 20


def test_divergence_and_entropy_are_those_of_torch() -> None:
    torch.manual_seed(0)
    target, found = torch.randn(2, 6, 3, dtype=torch.float64).softmax(2)
    assert divergence(target, found).item() == pytest.approx(
        kl_div(found.log(), target, reduction="batchmean").item(), abs=1e-9
    )
    assert entropy(target).item() == pytest.approx(Categorical(target).entropy().mean().item(), abs=1e-9)
    assert entropy(torch.eye(3)).item() == pytest.approx(0, abs=1e-6)
    assert math.isfinite(divergence(torch.eye(3), torch.eye(3).roll(1, 0)).item())


def test_adversarial_noise_has_its_length_and_changes_the_clusters_more_than_any_other(root: Path) -> None:
    torch.manual_seed(0)
    data = ImageDataModule(root=str(root))
    data.setup()
    images, _ = data.splits["train"][torch.arange(50)]
    module = Autoencoder(MLPAutoencoder([1, 28, 28], [784, 100, 30], "SiLU"))
    regularizer = InformationMaximization(weight=1.0, radius=1.3)

    def clusters_of(changed: torch.Tensor) -> torch.Tensor:
        return (20 * regularizer._clusters(module.encoder(changed)).log()).softmax(1)

    target = clusters_of(images).detach()
    noise = regularizer._adversarial(images, target, clusters_of)
    assert noise.flatten(1).norm(dim=1).tolist() == pytest.approx([1.3] * 50, abs=1e-4)
    assert not noise.requires_grad
    changed = divergence(target, clusters_of(images + noise))
    for _ in range(10):
        other = torch.randn_like(images)
        other *= 1.3 / other.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        assert divergence(target, clusters_of(images + other)) < changed / 2
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("autoencoder.regularizer.weight=-1", "autoencoder.regularizer: weight=-1.* above 0"),
        (
            "regularizer@autoencoder.regularizer=information autoencoder.regularizer.radius=0",
            "autoencoder.regularizer: radius=0: must be above 0",
        ),
        ("autoencoder.regularizer.clusters=31", "autoencoder .*: clusters=31: a code has 30 numbers"),
        ("++autoencoder.regularizer._target_=torch.nn.ReLU", "is no Regularizer"),
    ],
)
def test_what_clusters_cannot_be_is_refused_before_anything_is_written(
    typed: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(AeprobeError, match=said) as caught:
        run_here(tmp_path / "run", [*CLUSTERED, f"data.root={tmp_path / 'data'}", *typed.split()])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
