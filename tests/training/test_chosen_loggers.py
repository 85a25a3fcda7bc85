"""Loggers beside TensorBoard that a person chooses by `logger=NAME`."""

import csv
import shutil
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path

import lightning as L
import pytest
import yaml
from conftest import metrics, rewrite, run_here, scalars, train
from same_runs import resume_here

from aeprobe.errors import AeprobeError

SHORT = (
    "stage=autoencoder",
    "trainer.limit_train_batches=4",
    "trainer.limit_test_batches=1",
    "trainer.figures=false",
)
FEW = ("data=folder", "data.val_size=20", "autoencoder.batch_size=20")
Curves = dict[str, list[tuple[int, float]]]


def table(run: Path) -> Curves:
    found: Curves = defaultdict(list)
    for row in csv.DictReader((run / "csv" / "metrics.csv").open()):
        for tag, value in row.items():
            if tag != "step" and value:
                found[tag].append((int(row["step"]), float(value)))
    return found


def database(run: Path) -> Curves:
    found: Curves = defaultdict(list)
    rows = sqlite3.connect(run / "mlflow.db").execute(
        "select key, step, value, run_uuid from metrics order by step"
    )
    runs = set()
    for tag, step, value, identity in rows:
        found[tag].append((step, value))
        runs.add(identity)
    assert len(runs) == 1
    return found


def assert_same_curves(found: Curves, run: Path) -> None:
    events = {tag: values for tag, values in scalars(run).items() if not tag.startswith("final/")}
    assert found.keys() == events.keys()
    for tag, values in events.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in values], tag
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in values], rel=1e-5)


@pytest.mark.slow
def test_mlflow_has_the_same_metrics_at_the_same_steps_also_of_a_resumed_run(tmp_path: Path, few: Path) -> None:
    pytest.importorskip("mlflow")
    typed = [*SHORT, *FEW, f"data.root={few}", "logger=mlflow", "hydra.run.dir=run"]
    assert train(*typed, "autoencoder.max_epochs=1", cwd=tmp_path).status == 0
    assert_same_curves(database(tmp_path / "run"), tmp_path / "run")
    again = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path)
    assert again.status == 0, again.err
    assert not metrics(tmp_path / "run")["not_drawn"]
    found, events = database(tmp_path / "run"), scalars(tmp_path / "run")
    assert found["train/loss_step"] == [(step, pytest.approx(value)) for step, value in events["train/loss_step"]]
    assert [step for step, _ in found["val/loss"]] == [4, 8]


class Logs(L.Callback):
    """Logs by the module, of which Lightning takes the mean after the checkpoint is saved, and by itself."""

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        module.log("train/norm", next(module.parameters()).norm())

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({"own": float(trainer.global_step)}, trainer.global_step)


class Killed(L.Callback):
    """Leaves a copy of the run's directory, as a kill in its third epoch would."""

    def __init__(self, run: Path, killed: Path) -> None:
        self.run, self.killed = run, killed

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        if trainer.current_epoch == 2 and not self.killed.exists():
            for logger in trainer.loggers:
                logger.save()
            shutil.copytree(self.run, self.killed)
            for file in (*self.killed.rglob("*tfevents*"), *self.killed.rglob("metrics.csv")):
                file.write_bytes(file.read_bytes()[:-3])


@pytest.mark.parametrize("how", ["killed", "lengthened"])
def test_every_point_is_there_once_however_it_was_logged(how: str, tmp_path: Path, few: Path) -> None:
    own = [
        "callbacks@autoencoder.callbacks=lr_monitor",
        "logger=csv",
        "+logger.mine={_target_: lightning.pytorch.loggers.CSVLogger, name: mine}",
        "+logger.events={_target_: lightning.pytorch.loggers.TensorBoardLogger, name: events}",
    ]
    typed = [*SHORT, *own, *FEW, f"data.root={few}"]
    whole, run = tmp_path / "whole", tmp_path / "run"

    killed = [Killed(whole, run)] if how == "killed" else []
    run_here(whole, [*typed, "autoencoder.max_epochs=4"], callbacks=[Logs(), *killed])
    if how == "lengthened":
        run_here(run, [*typed, "autoencoder.max_epochs=2"], callbacks=[Logs()])
    longer = ["autoencoder.max_epochs=4"] if how == "lengthened" else []
    resume_here(run, *longer, "plugins=[lightning]", callbacks=[Logs()])
    events = scalars(whole)
    assert [step for step, _ in events["lr-Adam"]] == [0, 4, 8, 12]
    assert [step for step, _ in events["train/norm"]] == [step for step, _ in events["epoch"]] == [3, 7, 11, 15]
    assert [step for step, _ in events["own"]] == list(range(1, 17))
    assert scalars(run) == events
    for table in ("csv/metrics.csv", "mine/version_0/metrics.csv"):
        assert (run / table).read_text() == (whole / table).read_text()
    assert scalars(run, "events/version_0") == scalars(whole, "events/version_0")


@pytest.mark.slow
def test_weights_and_biases_keeps_its_run_here_and_goes_on_in_it(tmp_path: Path, few: Path) -> None:
    pytest.importorskip("wandb")
    typed = [*SHORT, *FEW, f"data.root={few}", "logger=wandb", "hydra.run.dir=run"]
    assert train(*typed, "autoencoder.max_epochs=1", cwd=tmp_path).status == 0
    name = metrics(tmp_path / "run")["loggers"]["wandb"]
    again = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path)
    assert again.status == 0, again.err
    assert metrics(tmp_path / "run")["loggers"]["wandb"] == name
    offline = [*(tmp_path / "run" / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb")]
    assert len(offline) == 2
    assert all(file.stat().st_size > 1000 for file in offline)


def test_each_stage_has_a_run_of_its_own(tmp_path: Path, few: Path) -> None:
    once = ["trainer.limit_epochs=1", "trainer.figures=false", "logger=csv"]
    run_here(tmp_path / "run", [*FEW, *once, f"data.root={few}"])
    for stage in ("autoencoder", "classifier"):
        assert_same_curves(table(tmp_path / "run" / stage), tmp_path / "run" / stage)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_without_its_package_it_says_what_to_install(
    name: str, tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(AeprobeError, match=rf"{name} is not installed: pip install 'aeprobe\[loggers\]'"):
        run_here(tmp_path / "run", [*SHORT, *FEW, f"data.root={few}", f"logger={name}"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("+logger.x={_target_: torch.nn.ReLU}", "logger.x._target_=torch.nn.ReLU: is no Logger"),
        ("+logger.csv.nam=x", "logger.csv.nam: .* takes no such argument; did you mean name"),
        ("+logger.a-b={_target_: lightning.pytorch.loggers.CSVLogger}", "must be called by a name of letters"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    typed: str, said: str, tmp_path: Path, few: Path
) -> None:
    with pytest.raises(AeprobeError, match=said):
        run_here(tmp_path / "run", [*SHORT, *FEW, f"data.root={few}", "logger=csv", typed])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "node",
    [
        "{_target_: lightning.pytorch.loggers.CSVLogger, save_dir: /tmp/elsewhere}",
        "{_target_: lightning.pytorch.loggers.MLFlowLogger, tracking_uri: 'http://localhost:1'}",
    ],
)
def test_a_stored_configuration_sends_nothing_elsewhere(tmp_path: Path, few: Path, node: str) -> None:
    run_here(tmp_path / "run", [*SHORT, *FEW, f"data.root={few}", "autoencoder.max_epochs=1"])
    rewrite(tmp_path / "run", lambda found: found["config"].update(logger={"x": yaml.safe_load(node)}))
    done = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path)
    (line,) = done.err.splitlines()
    assert done.status == 1
    assert "logger.x." in line
    assert "stored" in line


def test_a_run_s_name_is_no_path(tmp_path: Path, few: Path) -> None:
    run_here(tmp_path / "run", [*SHORT, *FEW, f"data.root={few}", "autoencoder.max_epochs=1", "logger=csv"])
    rewrite(tmp_path / "run", lambda found: found.update(loggers={"csv": "../../x"}))
    done = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "loggers.csv=../../x: is no run's name" in done.err
