"""The experiments on file: what they may change, and that the fast path computes what a plain loop computes."""

import json
from itertools import islice
from pathlib import Path

import modules
import pytest
import torch
from conftest import REPO, composed, run_here, train
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from aeprobe.config.schema import fingerprint, plain
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.sampler import EpochBatches
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe_tools.report import comparison
from aeprobe_tools.results.stage_run import StageRun

EXPERIMENTS = sorted(path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml"))
STEPS = 20
WHOLE = ("trainer=debug", f"trainer.limit_train_batches={STEPS}", "trainer.figures=false")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_preset_keeps_the_reports_widths_and_has_its_ranges_on_file(name: str) -> None:
    composition = composed([f"experiment={name}"])
    if name != "own_digits":
        assert composition.autoencoder.network["widths"] == ["auto", 500, 200, 100, 30]
        head = [256, 256] if name == "wide_head" else [20, 15]
        assert composition.classifier.head["widths"] == ["auto", *head, "auto"]
    assert composition.data.name == "mnist"
    if name == "wide_head":  # needs another's encoder
        return
    config = plain(composition)
    on_file = OmegaConf.to_container(OmegaConf.load(comparison.RANGES))
    assert isinstance(on_file, dict)
    stages = {"autoencoder"} if name == "denoising" else {"autoencoder", "classifier"}  # see docs/DENOISING.md
    assert on_file[name].keys() == stages
    for stage in on_file[name]:
        run = StageRun(Path(), {"stage": stage, "config": config})
        assert on_file[name][stage]["settings"] == fingerprint(run.settings())


@pytest.mark.slow
def test_twenty_steps_of_both_stages_equal_a_plain_loop(root: Path, tmp_path: Path) -> None:
    """The reference: images as floats, plain Adam written out per layer, no Trainer, no cache of codes."""
    run_here(tmp_path / "run", ["seed=5", *WHOLE, f"data.root={root}"])
    data = ImageDataModule(root=str(root), split_seed=5)
    data.setup()
    train_split = data.splits["train"]
    images, labels = train_split.images.double() / 255, train_split.labels

    torch.manual_seed(5)
    autoencoder = modules.autoencoder([784, 500, 200, 100, 30]).double()
    expected = plain_losses(autoencoder, images, images, list(autoencoder.parameters()), mse_loss)
    row = metrics_of(tmp_path / "run" / "autoencoder")
    assert row["train/loss"] == pytest.approx(sum(expected) / STEPS, abs=1e-6)
    assert row["train/loss_last"] == pytest.approx(expected[-1], abs=1e-6)
    trained = checkpoints.load(tmp_path / "run" / "autoencoder" / "checkpoints" / "last.ckpt")
    for ours, reference in zip(trained.parameters(), autoencoder.parameters(), strict=True):
        torch.testing.assert_close(ours.double(), reference, rtol=0, atol=2e-5)  # float32 beside float64

    torch.manual_seed(5)
    classifier = modules.classifier([784, 500, 200, 100, 30], [30, 20, 15, 10]).double()
    best = checkpoints.load(tmp_path / "run" / "autoencoder")
    assert isinstance(best, Autoencoder)
    classifier.encoder.load_state_dict(best.encoder.double().state_dict())
    expected = plain_losses(classifier, images, labels, list(classifier.head.parameters()), cross_entropy)
    row = metrics_of(tmp_path / "run" / "classifier")
    assert row["train/loss"] == pytest.approx(sum(expected) / STEPS, abs=1e-6)
    assert row["train/loss_last"] == pytest.approx(expected[-1], abs=1e-6)


def plain_losses(
    module: nn.Module, images: torch.Tensor, targets: torch.Tensor, parameters: list[nn.Parameter], loss_of: object
) -> list[float]:
    optimizer = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-5, foreach=False, fused=False)
    losses = []
    for indices in islice(EpochBatches(len(images), 100, seed=5), STEPS):
        loss = loss_of(module(images[indices]), targets[indices])  # type: ignore[operator]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def metrics_of(directory: Path) -> dict[str, float]:
    return dict(json.loads((directory / "metrics.json").read_text())["epochs"][0])


@pytest.mark.slow
def test_speedrun_has_the_reports_quality(root: Path, tmp_path: Path) -> None:
    result = train("experiment=speedrun", "trainer.figures=false", f"data.root={root}", cwd=tmp_path)
    assert result.status == 0, result.err
    (run,) = (tmp_path / "outputs" / "all").iterdir()
    stage1, stage2 = (
        json.loads((run / s / "metrics.json").read_text())["final"] for s in ("autoencoder", "classifier")
    )
    assert stage1["test/loss"] <= 0.0183
    assert stage2["test/accuracy"] >= 0.93
