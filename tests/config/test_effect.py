"""No setting is typed in vain: it has an effect, or one line says why it has none."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from conftest import REPO, metrics, run_here, train
from hydra import compose, initialize_config_dir
from images import write_folder
from omegaconf import OmegaConf
from same_runs import same

from aeprobe.cli.resume import resume
from aeprobe.config.checks import validate
from aeprobe.config.settings import flat
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.models.optimization import Optimization
from aeprobe.training import run as runner

EXPERIMENTS = sorted(path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml"))
SMALL = ("data=folder", "data.val_size=20", "trainer.figures=false", "trainer.limit_epochs=2")
RUN = ("stage=autoencoder", "autoencoder.batch_size=20", *SMALL)
ONECYCLE = "scheduler@autoencoder.scheduler=onecycle"
CYCLED = f"{ONECYCLE} autoencoder.scheduler.cycle_momentum=true"
CYCLIC = (
    "++autoencoder.scheduler._target_=torch.optim.lr_scheduler.CyclicLR ++autoencoder.scheduler._partial_=true "
    "++autoencoder.scheduler.max_lr=0.01"
)
SGD = "optimizer@autoencoder.optimizer=sgd"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("few") / "images", count=120)


def composed(*typed: str, swept: bool = False) -> Any:
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        return validate(compose("config", overrides=list(typed)), typed, swept)


def last(run: Path) -> dict[str, Any]:
    return checkpoints.read(run / "checkpoints" / "last.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if not name.startswith("report")])
def test_the_betas_of_a_preset_are_those_that_train(name: str, tmp_path: Path, few: Path) -> None:
    batches = ["autoencoder.batch_size=20", "classifier.batch_size=20"]
    run_here(tmp_path / "run", [f"experiment={name}", *SMALL, *batches, f"data.root={few}"])
    for stage in ("autoencoder", "classifier"):
        (group,) = last(tmp_path / "run" / stage)["optimizer_states"][0]["param_groups"]
        own = metrics(tmp_path / "run" / stage)["config"][stage]
        if name == "denoising" and stage == "classifier":
            continue  # which is the report's, without a schedule
        assert own["scheduler"]["_target_"].endswith("OneCycleLR")
        assert list(group["betas"]) == own["optimizer"]["betas"]


def test_betas_beside_onecycle_change_the_weights(tmp_path: Path, few: Path) -> None:
    for betas in ("[0.9,0.999]", "[0.5,0.999]"):
        run_here(tmp_path / betas, [*RUN, ONECYCLE, f"autoencoder.optimizer.betas={betas}", f"data.root={few}"])
    one, other = (last(tmp_path / betas)["state_dict"] for betas in ("[0.9,0.999]", "[0.5,0.999]"))
    assert not same(one, other)


REPLACED = [
    (
        CYCLED,
        ["autoencoder.optimizer.betas=[0.9, 0.999]", "[0.95, 0.999], its max_momentum", "cycle_momentum=false"],
    ),
    (f"{ONECYCLE} autoencoder.scheduler.max_lr=0.01", ["autoencoder.optimizer.lr=0.001", "0.01, its max_lr"]),
    (f"{CYCLIC} ++autoencoder.scheduler.base_lr=1e-4", ["autoencoder.optimizer.lr=0.001", "0.0001, its base_lr"]),
    (
        f"{CYCLIC} ++autoencoder.scheduler.base_lr=1e-3 autoencoder.optimizer.betas=[0.8,0.999]",
        ["autoencoder.optimizer.betas=[0.8, 0.999]", "[0.9, 0.999], its max_momentum"],
    ),
    (f"{SGD} {CYCLED}", ["autoencoder.optimizer.momentum=0.9", "0.95, its max_momentum"]),
]


@pytest.mark.parametrize(("typed", "words"), REPLACED, ids=[typed for typed, _ in REPLACED])
def test_a_schedule_that_replaces_a_number_is_refused(
    typed: str, words: list[str], tmp_path: Path, few: Path
) -> None:
    for stage in ("autoencoder", "classifier"):  # stage 2's before stage 1 trains
        arguments = [*SMALL, *typed.replace("autoencoder", stage).split(), f"data.root={few}"]
        with pytest.raises(AeprobeError) as caught:
            run_here(tmp_path / "run", arguments)
        assert "\n" not in str(caught.value)
        for word in words:
            assert word.replace("autoencoder", stage) in str(caught.value)
        assert not (tmp_path / "run").exists()


OWNED = [
    f"{CYCLED} autoencoder.optimizer.betas=[0.95,0.999]",
    f"{CYCLED} +autoencoder.scheduler.max_momentum=0.9",
    f"{ONECYCLE} autoencoder.optimizer.lr=0.01",
    f"{SGD} {ONECYCLE}",
    f"{CYCLIC} ++autoencoder.scheduler.base_lr=1e-3",
    f"{CYCLIC} ++autoencoder.scheduler.base_lr=1e-4 autoencoder.optimizer.lr=1e-4",
    "++autoencoder.scheduler._target_=torch.optim.lr_scheduler.LinearLR ++autoencoder.scheduler._partial_=true",
]


@pytest.mark.parametrize("typed", OWNED)
def test_a_number_that_is_the_same_in_both_places_is_accepted(typed: str, tmp_path: Path, few: Path) -> None:
    done = run_here(tmp_path / "run", [*RUN, *typed.split(), f"data.root={few}"])
    assert done["autoencoder"]["status"] == "completed"


def test_a_run_that_was_made_before_goes_on_as_it_began(
    tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the schedule replaced the momentum, and its node said nothing of that."""

    class Cut(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, *_: object) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    overrides = [*RUN, ONECYCLE, "~autoencoder.scheduler.cycle_momentum", f"data.root={few}"]
    with monkeypatch.context() as then:
        then.setattr(Optimization, "require_own_numbers", lambda _: None)
        run_here(tmp_path / "whole", overrides)
        with pytest.raises(KeyboardInterrupt):
            runner.run(runner.Request(composed(*overrides), tmp_path / "part", overrides, callbacks=[Cut()]))
    file = tmp_path / "part" / ".hydra" / "config.yaml"
    stored = OmegaConf.load(file)
    del stored.autoencoder.scheduler["interval"]
    OmegaConf.save(stored, file)
    goes_on = resume([f"resume={tmp_path / 'part'}"])
    runner.run(runner.Request(goes_on.config, goes_on.directory, goes_on.overrides, resume=True))
    one, other = last(tmp_path / "whole"), last(tmp_path / "part")
    for key in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert same(one[key], other[key]), key
    assert one["optimizer_states"][0]["param_groups"][0]["betas"][0] > 0.9


NO_MOMENTUM = "autoencoder.optimizer.momentum=0 autoencoder.optimizer.nesterov=false"
VAIN = [  # what is typed last, and the setting that leaves it without effect
    (
        "autoencoder.network.widths=[784,30] autoencoder.network.activation=Tanh",
        "autoencoder.network.widths=[784, 30]",
    ),
    ("classifier.head.widths=[30,10] classifier.head.activation=Tanh", "classifier.head.widths=[30, 10]"),
    ("trainer.figures=false trainer.figure_epochs=[2]", "trainer.figures=False"),
    (
        f"{SGD} {NO_MOMENTUM} +autoencoder.optimizer.dampening=0.5",
        "autoencoder.optimizer.momentum=0",
    ),
    (f"{ONECYCLE} +autoencoder.scheduler.max_momentum=0.9", "autoencoder.scheduler.cycle_momentum=False"),
    (f"{ONECYCLE} +autoencoder.scheduler.epochs=3", "autoencoder.scheduler.total_steps=auto"),
    ("+autoencoder.scheduler.step_size=3", "without a schedule"),
    ("+classifier.scheduler.interval=epoch", "without a schedule"),
]


@pytest.mark.parametrize(("typed", "words"), VAIN, ids=[typed for typed, _ in VAIN])
def test_what_has_no_effect_is_refused(typed: str, words: str) -> None:
    given = typed.split()
    with pytest.raises(AeprobeError) as caught:
        composed(*given)
    assert str(caught.value).startswith(f"{given[-1]}: has no effect ")
    assert words in str(caught.value)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, few: Path) -> Path:
    """The directory of a run of both stages."""
    path = tmp_path_factory.mktemp("both") / "run"
    run_here(path, [*SMALL, f"data.root={few}"])
    return path


TRAINS = (
    "limit_train_batches=5 limit_val_batches=5 limit_epochs=2 gradient_clip_val=1 accumulate_grad_batches=2 "
    "check_val_every_n_epoch=2 figure_epochs=[2]"
)


@pytest.mark.parametrize("typed", [*(f"trainer.{setting}" for setting in TRAINS.split()), "objective=val/loss"])
def test_a_test_refuses_what_only_training_uses(typed: str, both: Path) -> None:
    for stage in ("autoencoder", "classifier"):
        with pytest.raises(AeprobeError, match="has no effect with stage=test"):
            composed("stage=test", f"ckpt={both / stage}", typed)
    composed("stage=test", f"ckpt={both}", "trainer=debug", "trainer.gradient_clip_val=null")  # none of it typed
    composed("stage=autoencoder", typed)


NEUTRAL = [
    "experiment=best augmentation@autoencoder.augmentation=none",
    "experiment=best autoencoder.regularizer.clusters=5",
    "regularizer@autoencoder.regularizer=clusters autoencoder.regularizer.clusters=5",
    f"{CYCLED} +autoencoder.scheduler.max_momentum=0.9",
    "trainer.figures=false",
]


@pytest.mark.parametrize("typed", NEUTRAL)
def test_what_has_an_effect_or_asks_for_none_is_accepted(typed: str) -> None:
    composed(*typed.split())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_value_of_a_preset_is_without_effect(name: str) -> None:
    values = OmegaConf.to_container(OmegaConf.load(REPO / "conf" / "experiment" / f"{name}.yaml"))
    assert isinstance(values, dict)
    typed = [f"{key}={value}".replace(" ", "") for key, value in flat(values).items() if key != "defaults"]
    composed(f"experiment={name}", *typed)


@pytest.mark.parametrize(("step_size", "said"), [(2, True), (1, False)])
def test_a_schedule_that_never_changes_the_rate_is_said(
    step_size: int, said: bool, tmp_path: Path, few: Path
) -> None:
    """No error: a short look at a run, such as trainer=debug, may end before the first change."""
    typed = ["scheduler@autoencoder.scheduler=step", f"autoencoder.scheduler.step_size={step_size}"]
    run_here(tmp_path / "run", [*RUN, *typed, f"data.root={few}"])
    words = f"StepLR(step_size={step_size}, gamma=0.1) does not change the rate in 2 epochs"
    assert (words in (tmp_path / "run" / "train.log").read_text()) is said


@pytest.mark.slow
def test_a_sweep_may_leave_a_setting_idle_in_some_of_its_jobs(tmp_path: Path, few: Path) -> None:
    both = ["autoencoder.network.activation=Tanh", "autoencoder.network.widths=[784,30],[784,20,30]"]
    done = train("-m", "sweep=s", *RUN, *both, f"data.root={few}", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    composed("++autoencoder.optimizer.momentum=0", "++autoencoder.optimizer.dampening=0.5", swept=True)
    with pytest.raises(AeprobeError, match="has no effect"):  # in all of them
        composed("++autoencoder.optimizer.dampening=0.5", "seed=1", swept=True)
