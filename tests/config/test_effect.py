"""No setting is typed in vain: it has an effect, or one line says why it has none."""

from pathlib import Path
from typing import Any

import pytest
from conftest import REPO, metrics, run_here
from hydra import compose, initialize_config_dir
from images import write_folder
from same_runs import same

from aeprobe.config.checks import validate
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints

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


@pytest.mark.parametrize(("step_size", "said"), [(2, True), (1, False)])
def test_a_schedule_that_never_changes_the_rate_is_said(
    step_size: int, said: bool, tmp_path: Path, few: Path
) -> None:
    """No error: a short look at a run, such as trainer=debug, may end before the first change."""
    typed = ["scheduler@autoencoder.scheduler=step", f"autoencoder.scheduler.step_size={step_size}"]
    run_here(tmp_path / "run", [*RUN, *typed, f"data.root={few}"])
    words = f"StepLR(step_size={step_size}, gamma=0.1) does not change the rate in 2 epochs"
    assert (words in (tmp_path / "run" / "train.log").read_text()) is said
