"""The training step: clipping, accumulation, a fraction of an epoch, and a signal in it."""

import math
from pathlib import Path

import modules
import pytest
import torch
from conftest import TINY, metrics, run_here, scalars

from aeprobe.models import checkpoints

SHORT = ("stage=autoencoder", *TINY, "autoencoder.max_epochs=2", "trainer.limit_epochs=2")


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = checkpoints.read(run / "checkpoints" / "last.ckpt")["state_dict"]
    return state


def test_accumulated_halves_make_the_step_of_the_whole(tmp_path: Path, root: Path) -> None:
    for name, size, halves in (("whole", 100, 1), ("halves", 50, 2)):
        settings = [f"autoencoder.batch_size={size}", f"trainer.accumulate_grad_batches={halves}"]
        batches = f"trainer.limit_train_batches={6 * halves}"
        run_here(tmp_path / name, [*SHORT, *settings, batches, f"data.root={root}"])
    steps = [[value for _, value in scalars(tmp_path / name)["train/loss_step"]] for name in ("whole", "halves")]
    assert len(steps[0]) == 12
    assert steps[0] == pytest.approx(steps[1], abs=1e-6)
    assert metrics(tmp_path / "whole")["final"] == pytest.approx(metrics(tmp_path / "halves")["final"], abs=1e-5)


@pytest.mark.parametrize(
    ("typed", "order", "clip"),
    [
        ([], 2, 1e-3),
        (["trainer.gradient_clip_algorithm=value"], float("inf"), 1e-5),  # of weights about 0.01 large
        (["trainer.precision=bf16-mixed", "+autoencoder.optimizer.fused=true"], 2, 1e-3),
    ],
)
def test_gradients_are_clipped(typed: list[str], order: float, clip: float, tmp_path: Path, root: Path) -> None:
    sgd = ["lr=1", "nesterov=false", "momentum=0", "weight_decay=0"]
    settings = ["optimizer@autoencoder.optimizer=sgd", *(f"autoencoder.optimizer.{one}" for one in sgd)]
    settings += [*SHORT, f"data.root={root}", "trainer.limit_train_batches=1", f"trainer.gradient_clip_val={clip}"]
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


def test_a_fraction_of_an_epoch(tmp_path: Path, root: Path) -> None:
    settings = ["trainer.limit_train_batches=0.01", f"data.root={root}"]
    run_here(tmp_path / "run", [*SHORT, *settings])
    assert [step for step, _ in scalars(tmp_path / "run")["train/loss_step"]] == list(range(1, 11))  # 5 of 550
