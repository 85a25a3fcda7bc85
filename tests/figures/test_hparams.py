"""TensorBoard's table of runs: a column for everything that can change a number."""

from types import SimpleNamespace
from typing import Any

import modules
import pytest
from conftest import composed

from aeprobe.config.schema import STAGES, Config, plain
from aeprobe.config.settings import changes_a_number, flat
from aeprobe.training.experiment import Experiment
from aeprobe.training.loggers import hyperparameters


def row(stage: str, config: Config, **data: Any) -> dict[str, Any]:
<<<<<<< HEAD
    images: Any = SimpleNamespace(title=str(config.data.name))
=======
    images: Any = SimpleNamespace(
        title=str(config.data.name), root=config.data.root, val_size=config.data.val_size
    )
>>>>>>> w-r5
    module = modules.autoencoder([784, 5]) if stage == "autoencoder" else modules.classifier([784, 5], [5, 3])
    module.save_hyperparameters({"mean": config.data.mean, "std": config.data.std} | data)
    return hyperparameters(Experiment(stage, module, images, config.seed, getattr(config, stage)), config)


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_that_can_change_a_number_has_a_column(stage: str) -> None:
    config = composed(["corruption@autoencoder.corruption=dropout", "scheduler@classifier.scheduler=cosine"])
    values = row(stage, config, mean=0.5)
    known = {key: value for key, value in flat(plain(config)).items() if changes_a_number(key)}
    assert known.keys() <= values.keys()
    assert {"autoencoder.corruption.p", "classifier.optimizer.betas", "trainer.precision"} <= known.keys()
    assert {type(value) for value in values.values()} <= {int, float, str, bool}
    assert (values["stage"], values["autoencoder.optimizer.lr"], values["data.mean"]) == (stage, 1e-3, 0.5)


<<<<<<< HEAD
def test_a_row_does_not_claim_what_it_does_not_know() -> None:
    both = row("classifier", composed(["autoencoder.optimizer.lr=5e-3"]))
    alone = row("classifier", composed(["stage=classifier", "ckpt=a/run"]))
    assert both.keys() == alone.keys()
    assert (both["autoencoder.optimizer.lr"], alone["autoencoder.optimizer.lr"]) == (5e-3, "-")
    assert (both["ckpt"], alone["ckpt"]) == ("-", "a/run")
=======
@pytest.mark.parametrize("group", CHANGES)
def test_every_setting_that_can_change_a_number_has_a_column(group: str) -> None:
    left_out = {"optimizer", "scheduler", "augmentation", "corruption", "regularizer", "network", "head"}  # below
    known = {f.name for f in fields(getattr(composed(), group)) if f"{group}.{f.name}" not in roles()} - left_out
    assert known == CHANGES[group].keys()
    for name, value in CHANGES[group].items():
        for stage in STAGES:
            if (group, stage) == ("classifier", "autoencoder"):
                continue  # it comes later
            config = composed()
            before = row(stage, config)
            setattr(getattr(config, group), name, value)
            after = row(stage, config)
            assert after != before, f"{group}.{name} in the row of the {stage}"
            assert after.keys() == before.keys()
            assert [type(v) for v in after.values()] == [type(v) for v in before.values()], name


@pytest.mark.parametrize("group", STAGES)
def test_arguments_of_optimizer_and_schedule_have_one_too(group: str) -> None:
    for node, keys in (("optimizer", [*NODES]), ("scheduler", ["_target_", "betas"])):
        for key in keys:
            config = composed("scheduler@autoencoder.scheduler=cosine", "scheduler@classifier.scheduler=cosine")
            before = row("classifier", config)
            getattr(getattr(config, group), node)[key] = NODES[key]
            assert row("classifier", config) != before, f"{group}.{node}.{key}"


def test_rows_of_both_stages_have_the_same_columns_and_do_not_claim_what_they_do_not_know() -> None:
    config = composed("autoencoder.network.initialization=he", "autoencoder.optimizer.lr=5e-3")
    one, two = row("autoencoder", config), row("classifier", config)
    assert list(one) == list(two)
    assert (one["lr"], one["encoder.lr"], two["lr"], two["encoder.lr"]) == (0.005, "0.005", 0.001, "0.005")
    assert [
        ("initialization=he" in row[key])
        for row, key in ((one, "network"), (two, "network"), (two, "encoder.network"))
    ] == [True, False, True]
    config.stage, config.ckpt = Stage.classifier, "a/run"
    alone = row("classifier", config)
    assert list(alone) == list(two)
    assert (alone["encoder.lr"], alone["encoder.network"], alone["ckpt"]) == ("-", "-", "a/run")
    assert row("classifier", config, mean=0.5) != alone


@pytest.mark.parametrize(
    ("node", "choice", "arguments"),
    [
        ("augmentation", "shift", ["pixels", "epochs"]),
        ("corruption", "dropout", ["p"]),
        ("regularizer", "clusters", ["weight", "clusters"]),
    ],
)
def test_arguments_of_an_autoencoder_s_other_nodes_have_one_too(
    node: str, choice: str, arguments: list[str]
) -> None:
    without = row("autoencoder", composed())
    for argument in arguments:
        config = composed(f"{node}@autoencoder.{node}={choice}")
        rows = {stage: row(stage, config) for stage in STAGES}
        assert rows["autoencoder"][node] != without[node] == "none"
        getattr(config.autoencoder, node)[argument] = 3
        for stage in STAGES:
            assert row(stage, config) != rows[stage]
>>>>>>> w-r5
