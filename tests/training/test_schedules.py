"""Learning-rate schedules: what they count, what resuming and lengthening make of them, what is said of them."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from conftest import REPO, metrics, run_here, scalars, train
from hydra import compose, initialize_config_dir
from images import write_folder
from omegaconf import OmegaConf
from same_runs import same

from aeprobe.cli.resume import resume
from aeprobe.config.checks import validate
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


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("few") / "images", count=120)


def choose(name: str, **arguments: Any) -> list[str]:
    """The overrides for a file of conf/scheduler, or for a class of torch's."""
    if name[0].islower():
        return [f"scheduler@{NODE}={name}", *(f"++{NODE}.{key}={value}" for key, value in arguments.items())]
    target = {"_target_": f"torch.optim.lr_scheduler.{name}", "_partial_": "true"}
    return [f"++{NODE}.{key}={value}" for key, value in (target | arguments).items()]


def rates(run: Path) -> list[float]:
    """Of each optimizer step, as TensorBoard has them."""
    return [value for _, value in scalars(run)["train/lr"]]


def composed(*typed: str) -> Any:
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        return validate(compose("config", overrides=list(typed)), typed)


def resumed(run: Path, *typed: str) -> None:
    """`python train.py resume=RUN`, in this process."""
    goes_on = resume([f"resume={run}", *typed])
    runner.run(runner.Request(goes_on.config, goes_on.directory, goes_on.overrides, resume=True))


COUNTED = [  # what is typed, the interval that is meant, and the rate of each of three epochs
    (choose("step", step_size=1), "epoch", [1e-3, 1e-4, 1e-5]),
    (choose("exponential", gamma=0.5), "epoch", [1e-3, 5e-4, 2.5e-4]),
    (choose("StepLR", step_size=2), "epoch", [1e-3, 1e-3, 1e-4]),
    (choose("MultiStepLR", milestones="[1,2]", gamma=0.5, interval="null"), "epoch", [1e-3, 5e-4, 2.5e-4]),
    (choose("StepLR", step_size=BATCHES, interval="step"), "step", [1e-3, 1e-4, 1e-5]),
    (choose("PolynomialLR", total_iters="auto", interval="epoch"), "epoch", [1e-3, 2e-3 / 3, 1e-3 / 3]),
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
    stored = OmegaConf.load(tmp_path / "run" / ".hydra" / "config.yaml")
    assert stored.autoencoder.scheduler.interval == interval


@pytest.mark.parametrize(("interval", "length"), [("step", 3 * 2), ("epoch", 2)])
def test_auto_is_the_number_of_what_is_counted(interval: str, length: int, tmp_path: Path, few: Path) -> None:
    """Five batches, two of them to a step: three steps in each of two epochs."""
    typed = [*choose("PolynomialLR", total_iters="auto", interval=interval), "trainer.accumulate_grad_batches=2"]
    run_here(tmp_path / "run", [*RUN, *typed, "autoencoder.max_epochs=2", f"data.root={few}"])
    counted = range(6) if interval == "step" else [0, 0, 0, 1, 1, 1]
    assert rates(tmp_path / "run") == pytest.approx([1e-3 * (1 - n / length) for n in counted])


def test_auto_counts_steps_where_nothing_else_is_said() -> None:
    for typed, interval in ((choose("CosineAnnealingLR", T_max="auto"), "step"), (choose("onecycle"), "step")):
        assert composed(*typed).autoencoder.scheduler["interval"] == interval
    assert composed(*choose("CosineAnnealingLR", T_max=5)).autoencoder.scheduler["interval"] == "epoch"
    assert composed().autoencoder.scheduler == {"_target_": None}  # as stored runs have it


def test_a_plateau_looks_at_the_epochs_that_were_validated(tmp_path: Path, few: Path) -> None:
    typed = choose("plateau", patience=0, threshold=0.99, factor=0.1)  # nothing is an improvement
    every = ["trainer.check_val_every_n_epoch=2", "autoencoder.max_epochs=7", f"data.root={few}"]
    run_here(tmp_path / "run", [*RUN, *typed, *every])
    assert rates(tmp_path / "run")[::BATCHES] == pytest.approx([1e-3] * 4 + [1e-4] * 2 + [1e-5])
    (state,) = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["lr_schedulers"]
    rows = metrics(tmp_path / "run")["epochs"]
    assert state["best"] == rows[1]["val/loss"]


RESUMED = [
    choose("step", step_size=1),
    choose("plateau", patience=0, threshold=0.99),
    choose("onecycle"),
    *(
        pytest.param(typed, marks=pytest.mark.slow)
        for typed in (
            choose("exponential"),
            choose("cosine", interval="epoch"),
            choose("onecycle", interval="epoch"),
            choose("MultiStepLR", milestones="[1,3]"),
            choose("CyclicLR", base_lr=1e-3, max_lr=1e-2, step_size_up=3, mode="exp_range", gamma=0.9),
            choose("CosineAnnealingWarmRestarts", T_0=3, interval="step"),
            choose("LinearLR", total_iters=7, interval="step"),
        )
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
        runner.run(runner.Request(composed(*overrides), tmp_path / "part", overrides, callbacks=[Cut()]))
    assert len(metrics(tmp_path / "part")["epochs"]) == 2
    resumed(tmp_path / "part")
    assert_same_runs(tmp_path / "whole", tmp_path / "part")


def assert_same_runs(one: Path, other: Path) -> None:
    assert scalars(one) == scalars(other)
    for name in ("best", "last"):
        a, b = (checkpoints.read(run / "checkpoints" / f"{name}.ckpt") for run in (one, other))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
            assert same(a[key], b[key]), (name, key)


LONGER = [
    choose("step", step_size=1),
    choose("plateau", patience=0, threshold=0.99),
    choose("StepLR", step_size=2),
]


@pytest.mark.parametrize("typed", LONGER, ids=lambda typed: " ".join(typed))
def test_a_schedule_without_a_length_may_be_lengthened(typed: list[str], tmp_path: Path, few: Path) -> None:
    overrides = [*RUN, *typed, f"data.root={few}"]
    run_here(tmp_path / "long", [*overrides, "autoencoder.max_epochs=3"])
    run_here(tmp_path / "run", [*overrides, "autoencoder.max_epochs=1"])
    resumed(tmp_path / "run", "autoencoder.max_epochs=3")
    assert_same_runs(tmp_path / "long", tmp_path / "run")


FIXED = [
    choose("cosine", interval="epoch"),
    choose("OneCycleLR", max_lr=1e-3, total_steps=1, cycle_momentum="false"),
]


@pytest.mark.parametrize("typed", FIXED, ids=lambda typed: " ".join(typed))
def test_a_schedule_with_a_length_is_not_lengthened(typed: list[str], tmp_path: Path, few: Path) -> None:
    run_here(tmp_path / "run", [*RUN, *typed, "autoencoder.max_epochs=1", f"data.root={few}"])
    with pytest.raises(AeprobeError, match="was made for 1 epochs"):
        resumed(tmp_path / "run", "autoencoder.max_epochs=3")


def test_a_stored_schedule_that_says_nothing_counts_steps(tmp_path: Path, few: Path) -> None:
    typed = [*RUN, *choose("StepLR", step_size=BATCHES, interval="step"), f"data.root={few}"]
    run_here(tmp_path / "whole", [*typed, "autoencoder.max_epochs=3"])
    run_here(tmp_path / "run", [*typed, "autoencoder.max_epochs=1"])
    file = tmp_path / "run" / ".hydra" / "config.yaml"
    stored = OmegaConf.load(file)
    del stored.autoencoder.scheduler["interval"]
    OmegaConf.save(stored, file)
    resumed(tmp_path / "run", "autoencoder.max_epochs=3")
    assert rates(tmp_path / "run") == rates(tmp_path / "whole")


ZERO = [
    (choose("step", step_size=1, interval="step"), "in epoch 2 of 4"),  # the eighth step's is 1e-10
    (choose("exponential", gamma=1e-8), "in epoch 2 of 4"),
    (choose("CosineAnnealingLR", T_max=3), "in epoch 4 of 4"),
    (choose("plateau", patience=0, threshold=0.99, factor=0), "in epoch 3 of 4"),
]


@pytest.mark.parametrize(("typed", "when"), ZERO, ids=[" ".join(typed) for typed, _ in ZERO])
def test_a_rate_that_falls_to_zero_is_said_once(typed: list[str], when: str, tmp_path: Path, few: Path) -> None:
    run_here(tmp_path / "run", [*RUN, *typed, "autoencoder.max_epochs=4", f"data.root={few}"])
    assert_said(tmp_path / "run" / "train.log", when)


def assert_said(log: Path, when: str) -> None:
    (line,) = [line for line in log.read_text().splitlines() if "warning: " in line]
    assert "autoencoder: the rate is down from 0.001 to" in line
    assert when in line


@pytest.mark.slow
def test_the_command_prints_the_warning_too(tmp_path: Path, few: Path) -> None:
    typed, when = ZERO[0]
    done = train(*RUN, *typed, "autoencoder.max_epochs=4", f"data.root={few}", "hydra.run.dir=run", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    (tmp_path / "out").write_text(done.out)
    assert_said(tmp_path / "out", when)


@pytest.mark.parametrize("name", ["none", "cosine", "onecycle", "step", "exponential", "plateau"])
def test_a_rate_that_reaches_zero_at_the_end_is_no_warning(name: str, tmp_path: Path, few: Path) -> None:
    run_here(tmp_path / "run", [*RUN, *choose(name), "autoencoder.max_epochs=4", f"data.root={few}"])
    assert "warning" not in (tmp_path / "run" / "train.log").read_text()
    assert min(rates(tmp_path / "run")) > 0 or math.isclose(rates(tmp_path / "run")[-1], 0)


REFUSED = [
    (choose("plateau", interval="step"), f"{NODE}.interval=step: must be epoch"),
    (choose("plateau", mode="max"), f"{NODE}.mode=max: must be min"),
    ([*choose("plateau"), "data.val_size=0"], "the test set's with data.val_size=0"),
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
