"""No setting is typed in vain: it has an effect, or one line says why it has none."""

from pathlib import Path
from typing import Any

import pytest
from conftest import REPO, metrics, run_here
from same_runs import same

from aeprobe.models import checkpoints

EXPERIMENTS = sorted(path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml"))
SMALL = ("data=folder", "data.val_size=20", "trainer.figures=false", "trainer.limit_epochs=2")


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
    weights = []
    for betas in ("[0.9,0.999]", "[0.5,0.999]"):
        schedule = ["scheduler@autoencoder.scheduler=onecycle", f"autoencoder.optimizer.betas={betas}"]
        typed = ["stage=autoencoder", "autoencoder.batch_size=20", *SMALL, *schedule, f"data.root={few}"]
        run_here(tmp_path / betas, typed)
        weights.append(last(tmp_path / betas)["state_dict"])
    assert not same(*weights)
