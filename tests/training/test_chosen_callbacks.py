"""Callbacks that a person chooses by `callbacks@STAGE.callbacks=NAME`, or names by `_target_`."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import metrics, rewrite, run_here, scalars, train

from aeprobe import load
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints

FEW = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1")
SHORT = ("stage=autoencoder", *FEW, "trainer.figures=false")
STOPPING = "callbacks@autoencoder.callbacks=[early_stopping,lr_monitor,ema,every_n_epochs]"
LIGHTNING = "lightning.pytorch.callbacks"
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
    typed = [*SHORT, f"data.root={root}", STOPPING, "autoencoder.callbacks.every_n_epochs.n=2"]
    run_here(tmp_path / "whole", [*typed, "autoencoder.max_epochs=4"])
    run_here(tmp_path / "run", [*typed, "autoencoder.max_epochs=2"])
    assert train("resume=run", "autoencoder.max_epochs=4", cwd=tmp_path).status == 0
    whole, run = last(tmp_path / "whole"), last(tmp_path / "run")
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert whole[part].keys() == run[part].keys()  # type: ignore[attr-defined]
        assert all(torch.equal(whole[part][key], run[part][key]) for key in whole[part])  # type: ignore[index]
    assert not torch.equal(
        whole["state_dict"]["encoder.0.weight"], whole["current_model_state"]["encoder.0.weight"]
    )  # type: ignore[index]
    assert whole["callbacks"].keys() == run["callbacks"].keys()  # type: ignore[attr-defined]
    assert metrics(tmp_path / "whole")["final"] == metrics(tmp_path / "run")["final"]
    assert scalars(tmp_path / "run")["lr-Adam"][-1][1] == pytest.approx(1e-3)
    files = {file.name for file in (tmp_path / "run" / "checkpoints").iterdir()}
    assert files == {"best.ckpt", "last.ckpt", "epoch_2.ckpt", "epoch_4.ckpt"}


@pytest.mark.slow
def test_the_average_is_what_is_tested_and_handed_on(tmp_path: Path, root: Path) -> None:
    typed = [*SHORT, f"data.root={root}", "autoencoder.max_epochs=2", "callbacks@autoencoder.callbacks=ema"]
    run_here(tmp_path / "run", [*typed, "autoencoder.callbacks.ema.decay=0.5"])
    kept = last(tmp_path / "run")
    module = load(tmp_path / "run")
    assert metrics(tmp_path / "run")["checkpoint"] == "best"
    assert all(torch.equal(value, kept["state_dict"][key]) for key, value in module.state_dict().items())  # type: ignore[index]
    tested = run_here(
        tmp_path / "test", ["stage=test", f"ckpt={tmp_path / 'run'}", FEW[-1], "trainer.figures=false"]
    )
    final = metrics(tmp_path / "run")["final"]
    assert tested["test"]["final"]["test/loss"] == pytest.approx(final["test/loss"], abs=1e-7)


@pytest.mark.slow
def test_an_early_stop_is_a_completed_run(tmp_path: Path, root: Path) -> None:
    typed = [*SHORT, f"data.root={root}", "autoencoder.max_epochs=9"]
    stopping = [
        "callbacks@autoencoder.callbacks=early_stopping",
        "autoencoder.callbacks.early_stopping.patience=2",
    ]
    for monitor, number in (("val/loss", 3), ("train/loss", 3)):
        path = tmp_path / monitor.replace("/", "_")
        own = [f"autoencoder.callbacks.early_stopping.{key}" for key in (f"monitor={monitor}", "min_delta=0.5")]
        run_here(path, [*typed, *stopping, *own])
        assert (metrics(path)["status"], len(metrics(path)["epochs"])) == ("completed", number)
        assert "nothing is left to do" in train(f"resume={path}", cwd=tmp_path).out


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
            "callbacks.b: a checkpoint would keep its state in the place of autoencoder.callbacks.early",
        ),
        (
            f"+autoencoder.callbacks.swa={{_target_: {LIGHTNING}.StochasticWeightAveraging, swa_lrs: 0.1}}",
            "swa: StochasticWeightAveraging averages after the last checkpoint is saved",
        ),
        (
            "+autoencoder.callbacks.n={_target_: aeprobe.training.callbacks.EveryNEpochs, n: 0}",
            "n=0: must be 1 or more",
        ),
        (
            "+autoencoder.callbacks.x={_target_: nowhere.Callback}",
            "there is no such class .No module named 'nowhere'",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    typed: str, said: str, tmp_path: Path, root: Path
) -> None:
    stopping = "callbacks@autoencoder.callbacks=early_stopping"
    with pytest.raises(AeprobeError, match=said) as caught:
        run_here(tmp_path / "run", [*SHORT, f"data.root={root}", "autoencoder.max_epochs=2", stopping, typed])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_load_of_the_device_is_shown(tmp_path: Path, root: Path) -> None:
    typed = [
        *SHORT,
        f"data.root={root}",
        "autoencoder.max_epochs=1",
        "callbacks@autoencoder.callbacks=device_stats",
    ]
    run_here(tmp_path / "run", [*typed, "trainer.limit_train_batches=100"])
    assert any("cpu" in tag for tag in scalars(tmp_path / "run"))


def test_without_psutil_it_says_what_to_install(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    typed = [*SHORT, f"data.root={root}", "callbacks@autoencoder.callbacks=device_stats"]
    with pytest.raises(AeprobeError, match=r"pip install 'aeprobe\[monitor\]'"):
        run_here(tmp_path / "run", typed)


def test_one_of_the_person_s_own_beside_where_they_type(tmp_path: Path, root: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    own = "+autoencoder.callbacks.count={_target_: mine.Count, start: 5}"
    typed = [*SHORT, f"data.root={root}", "hydra.run.dir=run", own]
    assert train(*typed, "autoencoder.max_epochs=1", cwd=tmp_path).status == 0
    assert last(tmp_path / "run")["callbacks"]["Count"] == {"count": 9}  # type: ignore[index]
    (tmp_path / "imported").unlink()
    refused = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path)
    (line,) = refused.err.splitlines()
    assert "autoencoder.callbacks.count._target_=mine.Count: a stored configuration names no other class" in line
    assert "add plugins=[mine]" in line
    assert not (tmp_path / "imported").exists()
    again = train("resume=run", "autoencoder.max_epochs=2", "plugins=[mine]", cwd=tmp_path)
    assert again.status == 0, again.err
    assert last(tmp_path / "run")["callbacks"]["Count"] == {"count": 13}  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("{_target_: os.Popen}", "names no other class"),
        ("{_target_: mine.Count, start: 1}", "names no other class"),
        ("{_target_: torch.nn.Linear}", "is no Callback"),
        ("{_target_: lightning.pytorch.callbacks.ModelCheckpoint, dirpath: /tmp/x}", "writes into its directory"),
        (
            "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, filename: ../../x}",
            "writes into its directory",
        ),
        ("[1]", "must be a node"),
    ],
)
def test_a_stored_configuration_names_no_callback_of_somebody_s(
    tmp_path: Path, root: Path, change: str, said: str
) -> None:
    run_here(tmp_path / "run", [*SHORT, f"data.root={root}", "autoencoder.max_epochs=1"])

    def attack(found: dict[str, Any]) -> None:
        found["config"] |= {"plugins": ["mine", "os"]}  # which only the person can list
        found["config"]["autoencoder"]["callbacks"] = {"x": yaml.safe_load(change)}

    rewrite(tmp_path / "run", attack)
    done = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path)
    (line,) = done.err.splitlines()
    assert done.status == 1
    assert said in line
