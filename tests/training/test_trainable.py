"""Optimizers, schedules and losses of one's own: their class is made of the real weights before a run begins."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import modules
import pytest
import torch
from conftest import run_here
from torch import Tensor, nn

from aeprobe.config.checks import UNFIT
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.models.stage import Optimization

OPTIMIZERS = sorted(
    f"torch.optim.{name}"
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
)
SMALL = ("data=folder", "data.val_size=20", "trainer.figures=false", "trainer.limit_epochs=1")
IMAGES, LABELS = torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.arange(8) % 4
MLP_KEYS = ("widths", "activation", "initialization", "dropout", "batch_norm")
NO_BIASES = [
    f"autoencoder.network={{_target_: {__name__}.NoBiases}}",
    *(f"~autoencoder.network.{key}" for key in MLP_KEYS),
]


class NoBiases(nn.Module):
    """A network of matrices alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 8, bias=False))
        self.decoder = nn.Sequential(nn.Linear(8, 784, bias=False), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))


class MatricesApart(torch.optim.SGD):
    """Trains matrices at a rate of their own, and refuses weights that have none."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, matrices: float) -> None:
        weights = [*params]
        others = [weight for weight in weights if weight.ndim < 2]
        if not others:
            raise ValueError("only matrices\nin two lines")
        groups = [{"params": [weight for weight in weights if weight.ndim == 2], "lr": matrices}]
        super().__init__([*groups, {"params": others}], lr)


class Summed(nn.Module):
    """Adds up over images without a word for it."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.flatten(1).mean(1) - targets.flatten(1).float().mean(1)).square().sum()


def optimizer_of(target: str) -> list[str]:
    node = f"autoencoder.optimizer={{_target_: {target}, _partial_: true, lr: 0.01}}"
    return [node, *(f"~autoencoder.optimizer.{key}" for key in ("weight_decay", "betas", "fused"))]


def refused(few: Path, run: Path, *typed: str) -> str:
    """The one line that a run ends in before anything is written."""
    with pytest.raises(AeprobeError) as caught:
        run_here(run, [*SMALL, f"data.root={few}", *typed])
    assert "\n" not in str(caught.value)
    assert not run.exists()
    return str(caught.value)


@pytest.mark.parametrize("target", [target for target in OPTIMIZERS if target not in UNFIT])
def test_every_optimizer_of_torch_takes_steps(target: str) -> None:
    node = {"_target_": target, "_partial_": True, "lr": 1e-3}
    made = Optimization("classifier", node, {"_target_": None}, batches=2, epochs=1)
    module = modules.classifier([784, 8], [8, 6], optimization=made)
    weights = [weight for weight in module.head.parameters() if target != "torch.optim.Muon" or weight.ndim == 2]
    optimizer, before = made.configure(weights), [weight.clone() for weight in weights]
    for _ in range(2):
        optimizer.zero_grad()
        module.loss(module(torch.rand(5, 1, 28, 28)), torch.arange(5)).backward()
        optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, weights, strict=True))


def test_muon_trains_matrices_and_says_what_else_it_takes(few: Path, tmp_path: Path) -> None:
    muon = ["stage=autoencoder", *optimizer_of("torch.optim.Muon")]
    done = run_here(tmp_path / "run", [*SMALL, f"data.root={few}", *muon, *NO_BIASES])
    assert done["autoencoder"]["status"] == "completed"
    words = "autoencoder.optimizer (Muon): Muon only supports 2D parameters"
    assert refused(few, tmp_path / "biases", *muon).startswith(words)


def test_an_optimizer_of_two_groups_keeps_its_rates(few: Path, tmp_path: Path) -> None:
    apart = [
        "stage=autoencoder",
        *optimizer_of(f"{__name__}.MatricesApart"),
        "+autoencoder.optimizer.matrices=0.1",
    ]
    step = ["scheduler@autoencoder.scheduler=onecycle", "+autoencoder.scheduler.pct_start=0.5"]
    run_here(tmp_path / "run", [*SMALL, f"data.root={few}", *apart, *step])
    saved = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["optimizer_states"][0]
    matrices, others = saved["param_groups"]
    assert (len(matrices["params"]), len(others["params"])) == (8, 8)
    assert matrices["lr"] == pytest.approx(10 * others["lr"])
    said = refused(few, tmp_path / "refused", *apart, *NO_BIASES)
    assert said == "autoencoder.optimizer (MatricesApart): only matrices"


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("{_target_: torch.nn.MSELoss, reduction: sum}", "is no mean over images: "),
        (f"{{_target_: {__name__}.Summed}}", "is no mean over images: "),
        ("{_target_: torch.nn.L1Loss, reduction: none}", "does not fit the autoencoder: a Tensor with 6272"),
        ("{_target_: torch.nn.NLLLoss}", "does not fit the autoencoder: "),
    ],
)
def test_a_loss_that_is_no_mean_over_images_is_refused(loss: str, words: str, few: Path, tmp_path: Path) -> None:
    said = refused(few, tmp_path / "run", "stage=autoencoder", f"autoencoder.loss={loss}")
    assert said.startswith(f"autoencoder.loss: {words}")


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(torch.tensor([1.0, 0, 2, 3]), label_smoothing=0.1), nn.MultiMarginLoss(), None]
)
def test_a_weighted_mean_is_one(loss: nn.Module | None) -> None:
    modules.classifier([784, 8], [8, 4], loss=loss).require_mean_loss(IMAGES, LABELS)


def test_lists_become_tensors_where_a_loss_wants_them(few: Path, tmp_path: Path) -> None:
    weighted = "{_target_: torch.nn.CrossEntropyLoss, weight: [1, 2, 0.5], label_smoothing: 0.1}"
    pixels = "{_target_: torch.nn.BCEWithLogitsLoss, pos_weight: 2}"
    typed = [f"data.root={few}", f"classifier.loss={weighted}", f"autoencoder.loss={pixels}"]
    done: dict[str, Any] = run_here(tmp_path / "run", [*SMALL, *typed])
    assert [done[stage]["status"] for stage in done] == ["completed"] * 2
    loss = checkpoints.load(tmp_path / "run").own_loss
    assert loss.weight.tolist() == [1, 2, 0.5]
    assert loss.label_smoothing == 0.1
    said = refused(few, tmp_path / "both", f"classifier.loss={weighted}", "classifier.class_weights=balanced")
    assert "weighs the cross-entropy alone; give your loss its own weights" in said
