"""TensorBoard's table of runs: a column for everything that can change a number."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import modules
import pytest
from conftest import composed

from aeprobe.config.schema import STAGES, Config, changes_a_number, flat, plain
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training.build import BuiltStage
from aeprobe.training.recorder import hyperparameters


def row(stage: str, config: Config, **data: Any) -> dict[str, Any]:
    images: Any = SimpleNamespace(title=str(config.data.name))
    module = modules.autoencoder([784, 5]) if stage == "autoencoder" else modules.classifier([784, 5], [5, 3])
    module.save_hyperparameters({"mean": config.data.mean, "std": config.data.std} | data)
    directory = RunDirectory(Path("run"))
    return hyperparameters(BuiltStage(stage, config, directory, module, images, 0, getattr(config, stage)))


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_that_can_change_a_number_has_a_column(stage: str) -> None:
    config = composed(["corruption@autoencoder.corruption=dropout", "scheduler@classifier.scheduler=cosine"])
    values = row(stage, config, mean=0.5)
    known = {key: value for key, value in flat(plain(config)).items() if changes_a_number(key)}
    assert known.keys() <= values.keys()
    assert {"autoencoder.corruption.p", "classifier.optimizer.betas", "trainer.precision"} <= known.keys()
    assert {type(value) for value in values.values()} <= {int, float, str, bool}
    assert (values["stage"], values["autoencoder.optimizer.lr"], values["data.mean"]) == (stage, 1e-3, 0.5)


def test_a_row_does_not_claim_what_it_does_not_know() -> None:
    both = row("classifier", composed(["autoencoder.optimizer.lr=5e-3"]))
    alone = row("classifier", composed(["stage=classifier", "ckpt=a/run"]))
    assert both.keys() == alone.keys()
    assert (both["autoencoder.optimizer.lr"], alone["autoencoder.optimizer.lr"]) == (5e-3, "-")
    assert (both["ckpt"], alone["ckpt"]) == ("-", "a/run")
