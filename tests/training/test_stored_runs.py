"""Runs that were stored: made before a key existed, lengthened, or stopped early by a callback."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from conftest import composed, metrics, rewrite, run_here, train
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import OmegaConf
from same_runs import resume_here

from aeprobe.training import run as runner
from aeprobe_tools.report import page as report
from aeprobe_tools.results import folding

FEW = ("trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "trainer.figures=false")
SHORT = ("stage=autoencoder", *FEW)
# Keys that some earlier version did not have.
YOUNG = (
    "autoencoder.augmentation",
    "autoencoder.regularizer",
    "trainer.gradient_clip_val",
    "classifier.code_noise",
    "objective",
)


def take_away(directory: Path, keys: tuple[str, ...]) -> None:
    """Takes keys from what a run stored, as if it had been made before they existed."""

    def change(found: dict[str, Any]) -> None:
        for key in keys:
            *owners, name = key.split(".")
            node = found["config"]
            for owner in owners:
                node = node[owner]
            del node[name]

    for file in directory.rglob("metrics.json"):
        rewrite(file.parent, change)


@pytest.mark.slow
def test_a_run_from_before_a_key_existed_resumes_and_folds(tmp_path: Path, root: Path) -> None:
    settings_of = [*SHORT, f"data.root={root}"]
    run_here(tmp_path / "runs" / "long", [*settings_of, "autoencoder.max_epochs=2"])
    run_here(tmp_path / "runs" / "run", [*settings_of, "autoencoder.max_epochs=1"])
    take_away(tmp_path / "runs", YOUNG)
    result = train(f"resume={tmp_path / 'runs' / 'run'}", "autoencoder.max_epochs=2", cwd=tmp_path)
    assert result.status == 0, result.err
    long, run = (metrics(tmp_path / "runs" / name) for name in ("long", "run"))
    assert [row["train/loss"] for row in run["epochs"]] == [row["train/loss"] for row in long["epochs"]]
    run_here(tmp_path / "runs" / "other", [*settings_of, "autoencoder.max_epochs=2", "seed=1"])
    (row,) = folding.summarize(folding.find_runs([tmp_path / "runs"]))
    assert (row["n"], row["seeds"], row["repeated"]) == (2, ["0", "1"], {"0": 2})
    values = [run["final"]["test/loss"], metrics(tmp_path / "runs" / "other")["final"]["test/loss"]]
    assert row["metrics"]["test/loss"]["mean"] == pytest.approx(sum(values) / 2)


@pytest.mark.slow
def test_what_was_changed_on_resuming_stays_for_whoever_looks(tmp_path: Path, root: Path) -> None:
    short = [*FEW, f"data.root={root}"]
    path = tmp_path / "run"
    run_here(path, [*short, "autoencoder.max_epochs=1", "classifier.max_epochs=1"])
    assert train("resume=run", "classifier.max_epochs=3", "trainer.progress=false", cwd=tmp_path).status == 0
    for stage in ("autoencoder", "classifier"):
        found, record = metrics(path / stage), OmegaConf.load(path / stage / ".hydra" / "config.yaml")
        assert found["config"]["classifier"]["max_epochs"] == record.classifier.max_epochs == 3
        assert "classifier.max_epochs=3" in found["overrides"]
        assert "classifier.max_epochs=1" not in found["overrides"]
        assert list(OmegaConf.load(path / stage / ".hydra" / "overrides.yaml")) == found["overrides"]
    assert "nothing is left to do" in train("resume=run", cwd=tmp_path).out
    (run,) = folding.find_runs([path])
    assert run.settings["classifier.max_epochs"] == 3
    page = report.write_report([path]).read_text()
    assert "classifier.max_epochs=3" in page
    assert "classifier.max_epochs=1" not in page


class Ends(L.Callback):
    """Ends the run as a signal does, in its third epoch."""

    def on_train_epoch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt


def test_a_lengthened_run_that_is_ended_goes_on_to_its_new_length(tmp_path: Path, root: Path) -> None:
    short, path = [*SHORT, f"data.root={root}"], tmp_path / "run"
    run_here(path, [*short, "autoencoder.max_epochs=1"])
    with pytest.raises(KeyboardInterrupt):
        resume_here(path, "autoencoder.max_epochs=4", callbacks=[Ends()])
    assert (metrics(path)["status"], len(metrics(path)["epochs"])) == ("interrupted", 2)
    resume_here(path)
    run_here(tmp_path / "whole", [*short, "autoencoder.max_epochs=4"])
    assert len(metrics(path)["epochs"]) == 4
    assert metrics(path)["final"] == metrics(tmp_path / "whole")["final"]


@pytest.mark.slow
def test_each_stage_has_callbacks_of_its_own_and_an_early_stop_is_complete(tmp_path: Path, root: Path) -> None:
    overrides = [*FEW, f"data.root={root}", "autoencoder.max_epochs=8", "classifier.max_epochs=6"]
    config = composed(overrides)
    stopping = EarlyStopping("val/loss", min_delta=0.5, patience=2)  # three steps do not gain as much
    made = runner.run(runner.Request(config, tmp_path / "run", overrides, callbacks=[stopping])).metrics
    assert {stage: len(found["epochs"]) for stage, found in made.items()} == {"autoencoder": 3, "classifier": 3}
    assert {found["status"] for found in made.values()} == {"completed"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.json")}
    again = runner.Request(config, tmp_path / "run", overrides, resume=True)
    assert not runner.run(again).worked
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.json")} == before
    assert "nothing is left to do" in train("resume=run", cwd=tmp_path).out
