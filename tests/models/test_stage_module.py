"""The training step: clipping, accumulation, a fraction of an epoch, and a signal in it."""

from pathlib import Path

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


@pytest.mark.parametrize("clip", [0.001, 1e6])
def test_gradients_are_clipped_to_their_norm(clip: float, tmp_path: Path, root: Path) -> None:
    sgd = [
        "optimizer@autoencoder.optimizer=sgd",
        "autoencoder.optimizer.lr=1",
        "autoencoder.optimizer.nesterov=false",
        "autoencoder.optimizer.momentum=0",
    ]
    settings = [*SHORT, *sgd, "autoencoder.optimizer.weight_decay=0", f"data.root={root}"]
    one = [*settings, "trainer.limit_train_batches=1", "autoencoder.max_epochs=1"]
    two = [*settings, "trainer.limit_train_batches=1"]
    for name, typed in (("one", one), ("two", two)):
        run_here(tmp_path / name, [*typed, f"trainer.gradient_clip_val={clip}"])
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    moved = torch.cat([(second[key] - first[key]).flatten() for key in first if first[key].is_floating_point()])
    if clip == 0.001:
        assert moved.norm().item() == pytest.approx(clip, rel=1e-3)
    else:
        assert 0.001 < moved.norm().item() < 10


def test_gradients_are_clipped_to_a_value(tmp_path: Path, root: Path) -> None:
    sgd = ["optimizer@autoencoder.optimizer=sgd", "autoencoder.optimizer.lr=1", "autoencoder.optimizer.momentum=0"]
    plain = ["autoencoder.optimizer.nesterov=false", "autoencoder.optimizer.weight_decay=0"]
    typed = [*SHORT, *sgd, *plain, f"data.root={root}", "trainer.limit_train_batches=1"]
    clip = ["trainer.gradient_clip_val=1e-5", "trainer.gradient_clip_algorithm=value"]
    run_here(tmp_path / "one", [*typed, *clip, "autoencoder.max_epochs=1"])
    run_here(tmp_path / "two", [*typed, *clip, "autoencoder.max_epochs=2"])
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    moved = torch.cat([(second[key] - first[key]).flatten() for key in first])
    assert moved.abs().max().item() == pytest.approx(1e-5, rel=0.01)  # of weights about 0.01 large
    assert (moved.abs() > 0.9e-5).sum() > 100


def test_a_fraction_of_an_epoch(tmp_path: Path, root: Path) -> None:
    settings = ["trainer.limit_train_batches=0.01", f"data.root={root}"]
    run_here(tmp_path / "run", [*SHORT, *settings])
    assert [step for step, _ in scalars(tmp_path / "run")["train/loss_step"]] == list(range(1, 11))  # 5 of 550
