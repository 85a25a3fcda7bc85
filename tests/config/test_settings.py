"""What makes runs alike: neutral values of keys that they lack, roles, fingerprints, and what a table folds."""

from pathlib import Path
from typing import Any

import finished_runs
import pytest
from conftest import REPO
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from aeprobe.config.checks import validate
from aeprobe.config.schema import NEUTRAL, Config, complete, experiment, fingerprint, flat, plain
from aeprobe_tools.report import page as report
from aeprobe_tools.report.comparison import range_of, ranges
from aeprobe_tools.results import folding
from aeprobe_tools.results import table as results
from aeprobe_tools.results.stage_run import StageRun


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        return plain(validate(compose("config", overrides=list(overrides)), overrides))


def test_every_key_is_given_a_value_in_conf() -> None:
    """So that a reader of conf/ sees all that can be set; the schema's values are for what was stored before."""
    shown = OmegaConf.to_container(
        OmegaConf.merge(
            *(OmegaConf.load(REPO / "conf" / name) for name in ("config.yaml", "trainer/default.yaml"))
        )
    )
    assert isinstance(shown, dict)
    for group in ("autoencoder", "classifier", "data"):
        file = "mnist" if group == "data" else "default"
        shown |= OmegaConf.to_container(OmegaConf.load(REPO / "conf" / group / f"{file}.yaml"))  # type: ignore[operator]
    names = {key.rpartition(".")[2] for key in flat(OmegaConf.to_container(OmegaConf.structured(Config)))}  # type: ignore[arg-type]
    assert names <= shown.keys() | {"optimizer", "scheduler", "_target_"}


def test_an_absent_key_means_its_neutral_value() -> None:
    callback = {"_target_": "mine.Own"}
    young = {"stage": "all", "trainer": {"precision": "64-true"}, "autoencoder": {"callbacks": {"a": callback}}}
    now = complete(young)
    assert (now["trainer"]["precision"], now["autoencoder"]["callbacks"]) == ("64-true", {"a": callback})
    for key in ("autoencoder.augmentation._target_", "classifier.loss_on", "data.std", "trainer.devices"):
        assert flat(now)[key] == NEUTRAL[key]
    assert "seed" not in now, "it has no neutral value"


@pytest.mark.slow
def test_a_fingerprint_stays_when_a_neutral_key_comes_and_changes_with_every_other() -> None:
    whole = composed("experiment=report")
    data = whole["data"]
    before = fingerprint(experiment(whole, data, "autoencoder"))
    young = composed("experiment=report")
    del young["autoencoder"]["regularizer"], young["trainer"]["gradient_clip_val"]
    assert fingerprint(experiment(young, data, "autoencoder")) == before
    for same in ("seed=3", "outputs=x", "trainer.threads=1", "data.root=x", "classifier.max_epochs=3", "sweep=s"):
        assert fingerprint(experiment(composed("experiment=report", same), data, "autoencoder")) == before, same
    for other in (
        "augmentation@autoencoder.augmentation=shift",
        "autoencoder.optimizer.lr=2e-3",
        "trainer.gradient_clip_val=1",
        "trainer.limit_train_batches=1.0",
        "autoencoder.max_epochs=11",
        "scheduler@autoencoder.scheduler=cosine",
    ):
        assert fingerprint(experiment(composed("experiment=report", other), data, "autoencoder")) != before, other


def test_the_same_seed_twice_is_one_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        finished_runs.write_run(tmp_path / f"run{i}", seed, 0.001 * seed) for i, seed in enumerate((0, 0, 0, 1))
    ]
    assert results.main([str(tmp_path), "--metric", "autoencoder test/loss"]) == 0
    table = capsys.readouterr().out
    assert "seed 0 was run 3 times with the same settings, counted once" in table
    assert "0.02100 ± 0.00071" in table
    assert report.main([*map(str, runs[:2])]) == 1
    assert "with the same seed, 0: give one of them" in capsys.readouterr().err


def test_an_edited_preset_and_a_lengthened_run_are_rows_of_their_own(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"autoencoder__optimizer__lr": 0.003},
        {"autoencoder__max_epochs": 20},
        {"outputs": "elsewhere", "trainer__progress": "false", "trainer__threads": 1},
    ]
    for seed, change in enumerate(changes):
        finished_runs.write_run(tmp_path / str(seed), seed, **change)
    rows = folding.summarize(folding.find_runs([tmp_path]), metric="autoencoder test/loss")
    told = {
        (row["settings"]["autoencoder.optimizer.lr"], row["settings"]["autoencoder.max_epochs"]) for row in rows
    }
    assert told == {("0.001", "10"), ("0.003", "10"), ("0.001", "20")}
    assert sorted(row["n"] for row in rows) == [1, 1, 2]
    (row,) = folding.summarize(folding.find_runs([tmp_path]), by="experiment")
    assert row["mixed"] == ["autoencoder.max_epochs", "autoencoder.optimizer.lr"]


def test_presets_are_told_apart_by_their_name_alone(tmp_path: Path) -> None:
    for name in ("report", "best"):
        for seed in (0, 1):
            config = composed(f"experiment={name}", f"seed={seed}", "stage=autoencoder")
            made = finished_runs.metrics("autoencoder", seed, config=config, data=config["data"])
            made["overrides"] = [f"experiment={name}", f"seed={seed}"]
            finished_runs.write_stage(tmp_path / f"{name}{seed}", made, figures=False)
    rows = folding.summarize(folding.find_runs([tmp_path]))
    assert [(row["settings"], row["n"]) for row in rows] == [
        ({"experiment": "best"}, 2),
        ({"experiment": "report"}, 2),
    ]


def test_the_default_has_the_range_of_its_own_seeds() -> None:
    config = composed()
    for stage, key in (("autoencoder", "val/loss"), ("autoencoder", "test/loss"), ("classifier", "test/accuracy")):
        known = range_of(StageRun(Path(), {"stage": stage, "config": config}), key)
        assert known == {"n": 5, **ranges()["default"][stage]["final"][key]}
