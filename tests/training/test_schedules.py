"""Learning-rate schedules: what they count, what resuming and lengthening make of them, what is said of them."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from conftest import composed, metrics, run_here, scalars
from same_runs import assert_equal_stages, resume_here, same
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.training import run as runner

BATCHES = 5  # of 20 images in an epoch
RUN = (
    "stage=autoencoder",
    "data=folder",
    "data.val_size=20",
    "autoencoder.batch_size=20",
    "trainer.figures=false",
)
NODE = "autoencoder.scheduler"


def choose(name: str, **arguments: Any) -> list[str]:
    """The overrides for a file of conf/scheduler, or for a class of torch's."""
    if name[0].islower():
        return [f"scheduler@{NODE}={name}", *(f"++{NODE}.{key}={value}" for key, value in arguments.items())]
    target = {"_target_": f"torch.optim.lr_scheduler.{name}", "_partial_": "true"}
    return [f"++{NODE}.{key}={value}" for key, value in (target | arguments).items()]


def rates(run: Path) -> list[float]:
    """Of each optimizer step, as TensorBoard has them."""
    return [value for _, value in scalars(run)["train/lr"]]


COUNTED = [  # what is typed, the interval that is meant, and the rate of each of three epochs
    (choose("step", step_size=1), "epoch", [1e-3, 1e-4, 1e-5]),
    (choose("MultiStepLR", milestones="[1,2]", gamma=0.5, interval="null"), "epoch", [1e-3, 5e-4, 2.5e-4]),
    (choose("StepLR", step_size=BATCHES, interval="step"), "step", [1e-3, 1e-4, 1e-5]),
    (choose("cosine", interval="epoch"), "epoch", [1e-3, 7.5e-4, 2.5e-4]),
    (choose("plateau", patience=0, threshold=0.99, factor=0.5), "epoch", [1e-3, 1e-3, 5e-4]),
]


@pytest.mark.parametrize(
    ("typed", "interval", "wanted"), COUNTED, ids=[" ".join(typed) for typed, _, _ in COUNTED]
)
def test_a_schedule_counts_what_it_says(
    typed: list[str], interval: str, wanted: list[float], tmp_path: Path, few: Path
) -> None:
    run_here(tmp_path / "run", [*RUN, *typed, "autoencoder.max_epochs=3", f"data.root={few}"])
    of_steps = [rate for rate in wanted for _ in range(BATCHES)]
    assert rates(tmp_path / "run") == pytest.approx(of_steps, rel=1e-5)
    assert metrics(tmp_path / "run")["config"]["autoencoder"]["scheduler"]["interval"] == interval


@pytest.mark.parametrize(("interval", "length"), [("step", 3 * 2), ("epoch", 2)])
def test_auto_is_the_number_of_what_is_counted(interval: str, length: int, tmp_path: Path, few: Path) -> None:
    """Five batches, two of them to a step: three steps in each of two epochs."""
    typed = [*choose("PolynomialLR", total_iters="auto", interval=interval), "trainer.accumulate_grad_batches=2"]
    run_here(tmp_path / "run", [*RUN, *typed, "autoencoder.max_epochs=2", f"data.root={few}"])
    counted = range(6) if interval == "step" else [0, 0, 0, 1, 1, 1]
    assert rates(tmp_path / "run") == pytest.approx([1e-3 * (1 - n / length) for n in counted])


def test_auto_counts_steps_where_nothing_else_is_said() -> None:
    for typed, interval in ((choose("CosineAnnealingLR", T_max="auto"), "step"), (choose("onecycle"), "step")):
        assert composed(typed).autoencoder.scheduler["interval"] == interval
    assert composed(choose("CosineAnnealingLR", T_max=5)).autoencoder.scheduler["interval"] == "epoch"
    assert composed([]).autoencoder.scheduler == {"_target_": None}  # as stored runs have it


def test_a_plateau_looks_at_the_epochs_that_were_validated(
    tmp_path: Path, few: Path, recwarn: pytest.WarningsRecorder
) -> None:
    typed = choose("plateau", patience=0, threshold=0.99, factor=0.1)  # nothing is an improvement
    every = ["trainer.check_val_every_n_epoch=2", "autoencoder.max_epochs=7", f"data.root={few}"]
    run_here(tmp_path / "run", [*RUN, *typed, *every])
    assert not [found for found in recwarn if "ReduceLROnPlateau" in str(found.message)]
    assert rates(tmp_path / "run")[::BATCHES] == pytest.approx([1e-3] * 4 + [1e-4] * 2 + [1e-5])
    (state,) = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["lr_schedulers"]
    rows = metrics(tmp_path / "run")["epochs"]
    assert state["best"] == rows[1]["val/loss"]


RESUMED = [
    choose("plateau", patience=0, threshold=0.99),
    choose("onecycle"),
    pytest.param(choose("cosine", interval="epoch"), marks=pytest.mark.slow),
    pytest.param(
        choose("CyclicLR", base_lr=1e-3, max_lr=1e-2, step_size_up=3, mode="exp_range", gamma=0.9),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("typed", RESUMED, ids=lambda typed: " ".join(typed))
def test_a_resumed_schedule_goes_on_to_the_same_bits(typed: list[str], tmp_path: Path, few: Path) -> None:
    class Cut(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
            if trainer.current_epoch == 2:
                raise KeyboardInterrupt

    overrides = [*RUN, *typed, "autoencoder.max_epochs=4", f"data.root={few}"]
    run_here(tmp_path / "whole", overrides)
    with pytest.raises(KeyboardInterrupt):
        runner.run(runner.Request(composed(overrides), tmp_path / "part", overrides, callbacks=[Cut()]))
    assert len(metrics(tmp_path / "part")["epochs"]) == 2
    resume_here(tmp_path / "part")
    assert_equal_stages(tmp_path / "whole", tmp_path / "part")


def test_a_schedule_without_a_length_may_be_lengthened(tmp_path: Path, few: Path) -> None:
    overrides = [*RUN, *choose("plateau", patience=0, threshold=0.99), f"data.root={few}"]
    run_here(tmp_path / "long", [*overrides, "autoencoder.max_epochs=3"])
    run_here(tmp_path / "run", [*overrides, "autoencoder.max_epochs=1"])
    resume_here(tmp_path / "run", "autoencoder.max_epochs=3")
    assert_equal_stages(tmp_path / "long", tmp_path / "run")


FIXED = [
    choose("cosine", interval="epoch"),
    choose("OneCycleLR", max_lr=1e-3, total_steps=1, cycle_momentum="false"),
]


@pytest.mark.parametrize("typed", FIXED, ids=lambda typed: " ".join(typed))
def test_a_schedule_with_a_length_is_not_lengthened(typed: list[str], tmp_path: Path, few: Path) -> None:
    run_here(tmp_path / "run", [*RUN, *typed, "autoencoder.max_epochs=1", f"data.root={few}"])
    with pytest.raises(AeprobeError, match="was made for 1 epochs"):
        resume_here(tmp_path / "run", "autoencoder.max_epochs=3")


class Plateau(ReduceLROnPlateau):
    """One of the person's own."""


OWN = [f"++{NODE}.{key}" for key in (f"_target_={__name__}.Plateau", "_partial_=true")]
REFUSED = [
    ([*OWN, f"++{NODE}.mode=max"], f"{NODE}.mode=max: must be min"),
    ([*OWN, "data.val_size=0"], "the test set's with data.val_size=0"),
    (choose("plateau", interval="step"), f"{NODE}.interval=step: must be epoch"),
    ([*choose("plateau"), "trainer.check_val_every_n_epoch=11"], "not measured in 10 epochs"),
    (choose("step", interval="batch"), f"{NODE}.interval=batch: must be step or epoch"),
    (choose("onecycle", pct_start=2), f"{NODE} (OneCycleLR): Expected float between 0 and 1 pct_start"),
    (choose("LambdaLR"), f"{NODE} (LambdaLR): "),
    (choose("Counter"), "is no LRScheduler"),
]


@pytest.mark.parametrize(("typed", "words"), REFUSED, ids=[" ".join(typed) for typed, _ in REFUSED])
def test_a_schedule_that_cannot_work_is_refused_before_anything_is_made(
    typed: list[str], words: str, tmp_path: Path, few: Path
) -> None:
    with pytest.raises(AeprobeError) as caught:
        run_here(tmp_path / "run", [*RUN, *typed, f"data.root={few}"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_second_stages_schedule_is_looked_at_before_the_first_trains(tmp_path: Path, few: Path) -> None:
    small = ["data=folder", f"data.root={few}", "trainer.figures=false", "trainer.limit_epochs=1"]
    plateau = "scheduler@classifier.scheduler=plateau"
    with pytest.raises(AeprobeError, match=r"classifier.scheduler: .* test set's"):
        run_here(tmp_path / "run", [*small, plateau, "data.val_size=0"])
    assert not (tmp_path / "run").exists()
    run_here(tmp_path / "first", [*small, "stage=autoencoder", "data.val_size=0"])
    with pytest.raises(AeprobeError, match=r"classifier.scheduler: .* test set's"):  # the checkpoint says so
        run_here(tmp_path / "run", [*small, "stage=classifier", f"ckpt={tmp_path / 'first'}", plateau])


def test_betas_beside_onecycle_change_the_weights(tmp_path: Path, few: Path) -> None:
    weights = []
    for betas in ("[0.9,0.999]", "[0.5,0.999]"):
        typed = [*choose("onecycle"), f"autoencoder.optimizer.betas={betas}", "autoencoder.max_epochs=2"]
        run_here(tmp_path / betas, [*RUN, *typed, f"data.root={few}"])
        weights.append(checkpoints.read(tmp_path / betas / "checkpoints" / "last.ckpt")["state_dict"])
    assert not same(*weights)
