"""The training step: gradients that are clipped, and means that are of samples."""

import math
from pathlib import Path

import modules
import pytest
import torch
from conftest import run_here

from aeprobe.models import checkpoints

SHORT = ("stage=autoencoder", "data=folder", "data.val_size=20", "trainer.figures=false")


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = checkpoints.read(run / "checkpoints" / "last.ckpt")["state_dict"]
    return state


@pytest.mark.parametrize(
    ("typed", "order", "clip"),
    [
        ([], 2, 1e-4),
        (["trainer.gradient_clip_algorithm=value"], float("inf"), 1e-5),  # of weights about 0.01 large
        (["trainer.precision=bf16-mixed", "+autoencoder.optimizer.fused=true"], 2, 1e-4),
    ],
)
def test_gradients_are_clipped(typed: list[str], order: float, clip: float, tmp_path: Path, few: Path) -> None:
    sgd = ["lr=1", "nesterov=false", "momentum=0", "weight_decay=0"]
    settings = ["optimizer@autoencoder.optimizer=sgd", *(f"autoencoder.optimizer.{one}" for one in sgd)]
    settings += [*SHORT, f"data.root={few}", "trainer.limit_train_batches=1", f"trainer.gradient_clip_val={clip}"]
    for epochs in (1, 2):
        run_here(tmp_path / str(epochs), [*settings, *typed, f"autoencoder.max_epochs={epochs}"])
    first, second = weights(tmp_path / "1"), weights(tmp_path / "2")
    moved = torch.cat([(second[key] - first[key]).flatten() for key in first])
    assert moved.norm(order).item() == pytest.approx(clip, rel=0.01)


def test_means_are_of_samples_and_stay_no_number() -> None:
    module = modules.classifier([784, 8], [8, 4])
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    batches = [(torch.randn(size, 8), torch.randint(4, (size,))) for size in (100, 7, 0)]
    for batch in batches:
        module.validation_step(batch, 0)
    logits, labels = module(torch.cat([codes for codes, _ in batches])), torch.cat([y for _, y in batches])
    means = {name: module.get_submodule(f"means.val_{name}").compute().item() for name in module.measured}
    right = (logits.argmax(1) == labels).float().mean().item()
    assert means == pytest.approx({"loss": module.loss(logits, labels).item(), "accuracy": right}, rel=1e-6)
    module.validation_step((torch.full((3, 8), float("nan")), torch.zeros(3, dtype=torch.int64)), 0)
    assert math.isnan(module.get_submodule("means.val_loss").compute())
