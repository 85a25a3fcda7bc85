"""An optimizer step takes the mean of the gradients of the batches that it has, however many these are."""

import math
from pathlib import Path

import aeprobe.runtime

import modules
import pytest
import torch
from conftest import run_here, scalars
from images import folder_data, write_folder
from launches import srun
from torch.nn.functional import cross_entropy, mse_loss

from aeprobe.data.sampler import EpochBatches
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier

WIDTHS, HEAD, SEED, EPOCHS = [784, 8, 4], [4, 5, 3], 3, 2
SGD = ("weight_decay=0", "momentum=0", "nesterov=false")
# Images that train, batch size, batches to a step, and the limit of an epoch's batches.
CASES = {
    "an uneven last batch, alone in its window": (102, 10, 5, None),
    "an uneven last batch with another": (57, 10, 4, None),
    "a fraction of the batches": (120, 10, 4, 0.5),
    "one at a time": (57, 10, 1, None),
}


def arguments(case: str, folder: Path, stage: str) -> list[str]:
    _, size, accumulate, limit = CASES[case]
    sgd = [f"optimizer@{stage}.optimizer=sgd", f"{stage}.optimizer.lr=0.5"]
    sgd += [f"{stage}.optimizer.{setting}" for setting in SGD]
    return [
        *("data=folder", f"data.root={folder}", "data.val_size=20", "trainer.figures=false", f"seed={SEED}"),
        *("trainer.precision=64-true", f"trainer.accumulate_grad_batches={accumulate}", "trainer.accelerator=cpu"),
        *(f"trainer.limit_train_batches={'null' if limit is None else limit}", f"stage={stage}", *sgd),
        *(f"{stage}.batch_size={size}", f"{stage}.max_epochs={EPOCHS}"),
        *(
            ["autoencoder.network.widths=[784,8,4]"]
            if stage == "autoencoder"
            else ["classifier.head.widths=[4,5,3]"]
        ),
    ]


def by_hand(case: str, folder: Path, encoder: Path | None = None) -> tuple[dict[str, torch.Tensor], int]:
    """The weights after so many epochs, in float64, and the number of optimizer steps."""
    _, size, accumulate, limit = CASES[case]
    data = folder_data(folder, 20, SEED)
    data.setup()
    images, labels = data.splits["train"].images.double() / 255, data.splits["train"].labels
    aeprobe.runtime.seed(SEED)
    module: Autoencoder | Classifier = (
        modules.autoencoder(WIDTHS) if encoder is None else modules.classifier(WIDTHS, HEAD)
    )
    if encoder is not None:
        module.encoder.load_state_dict(checkpoints.load(encoder).encoder.state_dict())
    module.double()
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer, order, steps = (torch.optim.SGD(weights, lr=0.5), EpochBatches(len(labels), size, SEED), 0)
    for epoch in range(EPOCHS):
        order.set_epoch(epoch)
        batches = list(order)
        batches = batches[: int(limit * len(batches)) if isinstance(limit, float) else limit]
        for first in range(0, len(batches), accumulate):
            window = batches[first : first + accumulate]
            losses = [
                mse_loss(module(images[b]), images[b])
                if isinstance(module, Autoencoder)
                else cross_entropy(module(images[b]), labels[b])
                for b in window
            ]
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
            steps += 1
    return module.state_dict(), steps


def assert_equal(run: Path, expected: dict[str, torch.Tensor], steps: int) -> None:
    stored = checkpoints.read(run / "checkpoints" / "last.ckpt")
    assert stored["global_step"] == steps
    assert len(scalars(run)["train/loss_step"]) == steps
    for key, weight in expected.items():
        torch.testing.assert_close(stored["state_dict"][key].double(), weight, rtol=0, atol=1e-7, msg=key)


@pytest.mark.parametrize("case", CASES)
def test_the_weights_are_those_of_steps_by_hand(tmp_path: Path, case: str) -> None:
    folder = write_folder(tmp_path / "images", CASES[case][0] + 20)
    run_here(tmp_path / "run", arguments(case, folder, "autoencoder"))
    expected, steps = by_hand(case, folder)
    batches = math.ceil(CASES[case][0] / CASES[case][1])
    assert steps <= EPOCHS * math.ceil(batches / CASES[case][2])
    assert_equal(tmp_path / "run", expected, steps)


def test_stage_2_has_the_same_windows(tmp_path: Path) -> None:
    case = "an uneven last batch with another"
    folder = write_folder(tmp_path / "images", CASES[case][0] + 20)
    run_here(tmp_path / "encoder", arguments(case, folder, "autoencoder"))
    run_here(tmp_path / "run", [*arguments(case, folder, "classifier")[4:], f"ckpt={tmp_path / 'encoder'}"])
    assert_equal(tmp_path / "run", *by_hand(case, folder, tmp_path / "encoder"))


@pytest.mark.slow
def test_several_processes_take_the_same_steps(tmp_path: Path) -> None:
    """Only one process has a part of the last batch, two images."""
    case = "an uneven last batch, alone in its window"
    folder = write_folder(tmp_path / "images", CASES[case][0] + 20)
    for result in srun(tmp_path, *arguments(case, folder, "autoencoder"), "hydra.run.dir=run"):
        assert (result.status, result.err) == (0, "")
    assert_equal(tmp_path / "run", *by_hand(case, folder))


def test_a_batch_norm_takes_an_epoch_with_one_image_left_over(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 120)  # 100 to train on, in batches of 33
    few = ["data=folder", f"data.root={folder}", "data.val_size=20", "trainer.figures=false", "stage=autoencoder"]
    norm = ["autoencoder.network.batch_norm=true", "autoencoder.batch_size=33", "autoencoder.max_epochs=2"]
    run_here(tmp_path / "run", [*few, *norm, "scheduler@autoencoder.scheduler=onecycle"])
    rates = [rate for _, rate in scalars(tmp_path / "run")["train/lr"]]
    assert len(rates) == 6
    assert rates[-1] < 1e-6 < rates[-2], "the schedule is as long as the training"
