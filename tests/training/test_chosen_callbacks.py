"""Callbacks that a person chooses by `callbacks@STAGE.callbacks=NAME`, or names by `_target_`."""

import shutil
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from conftest import composed, metrics, rewrite, run_here, scalars, train
from lightning.pytorch.callbacks import WeightAveraging
from same_runs import resume_here, same

from aeprobe import load
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.training import instantiate

FEW = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1")
SHORT = ("stage=autoencoder", *FEW, "trainer.figures=false")
STOPPING = "callbacks@autoencoder.callbacks=[early_stopping,lr_monitor,ema,every_n_epochs]"
LIGHTNING = "lightning.pytorch.callbacks"
STOPS = """
from lightning.pytorch.callbacks import EarlyStopping

class Stops(EarlyStopping):
    def __init__(self):
        super().__init__("val/accuracy")
"""
MINE = """
from pathlib import Path
from lightning.pytorch.callbacks import Callback

Path(__file__).with_name("imported").touch()

class Count(Callback):
    def __init__(self, start: int) -> None:
        self.count = start
    def on_train_batch_end(self, *_) -> None:
        self.count += 1
    def state_dict(self):
        return {"count": self.count}
    def load_state_dict(self, state):
        self.count = state["count"]
"""


def last(run: Path) -> dict[str, object]:
    return checkpoints.read(run / "checkpoints" / "last.ckpt")


@pytest.mark.slow
def test_they_go_on_to_the_same_bits_and_do_what_they_say(tmp_path: Path, root: Path) -> None:
    typed = [*SHORT, f"data.root={root}", STOPPING, "autoencoder.callbacks.every_n_epochs.every_n_epochs=2"]
    run_here(tmp_path / "whole", [*typed, "autoencoder.max_epochs=4"])
    run_here(tmp_path / "before", [*typed, "autoencoder.max_epochs=2"])
    (tmp_path / "before").rename(tmp_path / "run")
    resumed = train("resume=run", "autoencoder.max_epochs=4", cwd=tmp_path)
    assert (resumed.status, resumed.err) == (0, "")
    whole, run = last(tmp_path / "whole"), last(tmp_path / "run")
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert same(whole[part], run[part]), part
    assert not torch.equal(
        whole["state_dict"]["encoder.0.weight"], whole["current_model_state"]["encoder.0.weight"]
    )  # type: ignore[index]
    assert whole["callbacks"].keys() == run["callbacks"].keys()  # type: ignore[attr-defined]
    assert metrics(tmp_path / "whole")["final"] == metrics(tmp_path / "run")["final"]
    assert scalars(tmp_path / "run")["lr-Adam"][-1][1] == pytest.approx(1e-3)
    files = {file.name for file in (tmp_path / "run" / "checkpoints").iterdir()}
    assert files == {"best.ckpt", "last.ckpt", "epoch_1.ckpt", "epoch_3.ckpt"}


@pytest.mark.slow
def test_the_average_is_what_is_tested_and_handed_on(tmp_path: Path, root: Path) -> None:
    typed = [*SHORT, f"data.root={root}", "autoencoder.max_epochs=2", "callbacks@autoencoder.callbacks=ema"]
    run_here(tmp_path / "run", [*typed, "autoencoder.callbacks.ema.decay=0.5"])
    kept = last(tmp_path / "run")
    assert metrics(tmp_path / "run")["checkpoint"] == "best"
    assert same({**load(tmp_path / "run").state_dict()}, {**kept["state_dict"]})  # type: ignore[dict-item]
    tested = run_here(
        tmp_path / "test", ["stage=test", f"ckpt={tmp_path / 'run'}", FEW[-1], "trainer.figures=false"]
    )
    final = metrics(tmp_path / "run")["final"]
    assert tested["test"]["final"]["test/loss"] == pytest.approx(final["test/loss"], abs=1e-7)


def of(images: Path, epochs: int) -> list[str]:
    """A short run of five steps an epoch."""
    sizes = ["data.val_size=20", "autoencoder.batch_size=20", f"autoencoder.max_epochs={epochs}"]
    return ["stage=autoencoder", "trainer.figures=false", "data=folder", f"data.root={images}", *sizes]


class Averages(WeightAveraging):
    """A plain average over steps, from the sixteenth on: the fourth epoch's first."""

    def __init__(self) -> None:
        super().__init__(avg_fn=lambda average, weights, number: average + (weights - average) / (number + 1))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and step_idx >= 15


class Copies(L.Callback):
    """Leaves copies of a run's directory, as kills in its third and in its last epoch would."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def on_train_epoch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.current_epoch in (2, 4):
            shutil.copytree(self.run, self.run.with_name(f"killed_in_{trainer.current_epoch}"))


def test_an_average_that_has_not_begun_gives_way_to_the_weights(tmp_path: Path, few: Path) -> None:
    whole, plain = tmp_path / "whole", tmp_path / "plain"
    run_here(plain, of(few, 5))
    run_here(whole, of(few, 5), callbacks=[Averages(), Copies(whole)])
    with_average, without = metrics(whole)["epochs"], metrics(plain)["epochs"]
    assert [row["val/loss"] for row in with_average[:3]] == [row["val/loss"] for row in without[:3]]
    assert all(a["val/loss"] != b["val/loss"] for a, b in zip(with_average[3:], without[3:], strict=True))
    assert [row["train/loss"] for row in with_average] == [row["train/loss"] for row in without]
    early = last(tmp_path / "killed_in_2")
    assert same(early["state_dict"], early["current_model_state"])
    for epoch in (2, 4):  # before it has begun, and after
        resume_here(tmp_path / f"killed_in_{epoch}", callbacks=[Averages()])
        for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
            assert same(last(whole)[key], last(tmp_path / f"killed_in_{epoch}")[key]), key
        assert metrics(tmp_path / f"killed_in_{epoch}")["final"] == metrics(whole)["final"]


def test_a_run_that_stops_before_the_average_has_begun_is_that_of_the_weights(tmp_path: Path, few: Path) -> None:
    stopping = ["callbacks@autoencoder.callbacks=[early_stopping,ema]"]
    stopping += [f"autoencoder.callbacks.early_stopping.{key}" for key in ("patience=2", "min_delta=0.9")]
    run_here(tmp_path / "run", [*of(few, 9), *stopping, "+autoencoder.callbacks.ema.update_starting_at_step=40"])
    run_here(tmp_path / "plain", of(few, 3))
    assert len(metrics(tmp_path / "run")["epochs"]) == 3
    assert "an average never began" in (tmp_path / "run" / "train.log").read_text()
    assert same(last(tmp_path / "run")["state_dict"], last(tmp_path / "plain")["state_dict"])
    assert metrics(tmp_path / "run")["final"] == metrics(tmp_path / "plain")["final"]


class Validated(L.Callback):
    """Keeps the weights that were validated last."""

    def on_validation_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        type(self).weights = deepcopy(module.state_dict())


def test_an_average_over_epochs_is_validated_as_it_is_saved(tmp_path: Path, few: Path) -> None:
    own = ("decay=0.5", "update_every_n_steps=0", "update_starting_at_epoch=1")
    typed = ["callbacks@autoencoder.callbacks=ema", *(f"++autoencoder.callbacks.ema.{key}" for key in own)]
    run_here(tmp_path / "run", [*of(few, 3), *typed], callbacks=[Validated()])
    saved = last(tmp_path / "run")
    assert saved["averaging_state"]["n_averaged"] == 2  # type: ignore[index]
    assert same(saved["state_dict"], Validated.weights)
    assert not same(saved["state_dict"], saved["current_model_state"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["update_starting_at_step=10"], "ema: the average would never begin in 2 epochs of 5 steps"),
        (["update_every_n_steps=0", "update_starting_at_epoch=2"], "the average would never begin"),
        (["update_starting_at_epoch=2"], "the average would never begin"),
        (["update_starting_at_epoch=1"], "at_epoch=1: delays nothing, .* give update_starting_at_step=5 instead"),
        (["update_starting_at_step=9"], None),
        (["update_starting_at_step=99", "update_starting_at_epoch=1"], None),
    ],
)
def test_an_average_that_never_begins_is_refused(typed: list[str], said: str | None, few: Path) -> None:
    own = [f"+autoencoder.callbacks.ema.{key}" for key in typed]
    config = composed([*of(few, 2), "callbacks@autoencoder.callbacks=ema", *own])
    data = SimpleNamespace(val_size=20, epoch_size=100)
    with pytest.raises(AeprobeError, match=said) if said else nullcontext():
        instantiate.make_callbacks(config, "autoencoder", data)  # type: ignore[arg-type]


EARLY = "_target_: lightning.pytorch.callbacks.EarlyStopping"
CHECKPOINT = "_target_: lightning.pytorch.callbacks.ModelCheckpoint"


@pytest.mark.parametrize(
    ("stage", "node", "mode"),
    [
        ("classifier", f"{{{EARLY}, monitor: val/accuracy}}", "max"),
        ("classifier", f"{{{EARLY}, monitor: val/loss}}", "min"),
        ("classifier", f"{{{EARLY}, monitor: val/f1, mode: max}}", "max"),
        ("classifier", f"{{{CHECKPOINT}, monitor: val/f1}}", "max"),
        ("classifier", f"{{{CHECKPOINT}, monitor: val/loss, mode: max}}", None),
        ("classifier", "{_target_: mine_stops.Stops}", None),  # watches val/accuracy by itself, for its lowest
    ],
)
def test_a_callback_takes_the_direction_of_what_it_watches(
    stage: str, node: str, mode: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_stops.py").write_text(STOPS)
    monkeypatch.syspath_prepend(tmp_path)
    f1 = "+classifier.metrics.f1={_target_: torchmetrics.classification.MulticlassF1Score, num_classes: 10}"
    config = composed([f"+{stage}.callbacks.x={node}", f1])
    with (
        nullcontext() if mode else pytest.raises(AeprobeError, match=r"callbacks.x.mode=m.*: val/.* is best where")
    ):
        (callback,) = instantiate.make_callbacks(config, stage, SimpleNamespace(val_size=20))  # type: ignore[arg-type]
        assert callback.mode == mode  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "autoencoder.callbacks.early_stopping.monitor=val/accuracy",
            "monitor=val/accuracy: the autoencoder has no",
        ),
        ("data.val_size=0", "monitor=val/loss, which is the test set's with data.val_size=0"),
        ("trainer.check_val_every_n_epoch=9", "which is not measured in 2 epochs"),
        ("+autoencoder.callbacks.early_stopping.patiance=3", "takes no such argument; did you mean patience"),
        (
            "+autoencoder.callbacks.b={_target_: lightning.pytorch.callbacks.EarlyStopping}",
            "autoencoder.callbacks.b: .*monitor",
        ),
        (
            f"+autoencoder.callbacks.b={{_target_: {LIGHTNING}.EarlyStopping, monitor: val/loss}}",
            "autoencoder: Found more than one stateful callback of type `EarlyStopping`",
        ),
        (
            f"+autoencoder.callbacks.swa={{_target_: {LIGHTNING}.StochasticWeightAveraging, swa_lrs: 0.1}}",
            "swa: StochasticWeightAveraging averages after the last checkpoint is saved",
        ),
        (
            "+autoencoder.callbacks.x={_target_: nowhere.Callback}",
            "there is no such class .No module named 'nowhere'",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    typed: str, said: str, tmp_path: Path, few: Path
) -> None:
    stopping = "callbacks@autoencoder.callbacks=early_stopping"
    with pytest.raises(AeprobeError, match=said) as caught:
        run_here(tmp_path / "run", [*of(few, 2), stopping, typed])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_load_of_the_device_is_shown(tmp_path: Path, few: Path) -> None:
    run_here(tmp_path / "run", [*of(few, 20), "callbacks@autoencoder.callbacks=device_stats"])
    assert any("cpu" in tag for tag in scalars(tmp_path / "run"))


def test_one_of_the_person_s_own_beside_where_they_type(tmp_path: Path, few: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    own = "+autoencoder.callbacks.count={_target_: mine.Count, start: 5}"
    assert train(*of(few, 1), "hydra.run.dir=run", own, cwd=tmp_path).status == 0
    assert last(tmp_path / "run")["callbacks"]["Count"] == {"count": 10}  # type: ignore[index]
    (tmp_path / "imported").unlink()
    refused = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path)
    (line,) = refused.err.splitlines()
    assert "autoencoder.callbacks.count._target_=mine.Count: a stored configuration names no other class" in line
    assert "add plugins=[mine]" in line
    assert not (tmp_path / "imported").exists()
    again = train("resume=run", "autoencoder.max_epochs=2", "plugins=[mine]", cwd=tmp_path)
    assert again.status == 0, again.err
    assert last(tmp_path / "run")["callbacks"]["Count"] == {"count": 15}  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("{_target_: os.Popen}", "names no other class"),
        ("{_target_: torch.nn.Linear}", "is no Callback"),
        ("{_target_: lightning.pytorch.callbacks.ModelCheckpoint, dirpath: /tmp/x}", "writes into its directory"),
    ],
)
def test_a_stored_configuration_names_no_callback_of_somebody_s(
    tmp_path: Path, few: Path, change: str, said: str
) -> None:
    run_here(tmp_path / "run", of(few, 1))

    def attack(found: dict[str, Any]) -> None:
        found["config"] |= {"plugins": ["mine", "os"]}  # which only the person can list
        found["config"]["autoencoder"]["callbacks"] = {"x": yaml.safe_load(change)}

    rewrite(tmp_path / "run", attack)
    done = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path)
    (line,) = done.err.splitlines()
    assert done.status == 1
    assert said in line
