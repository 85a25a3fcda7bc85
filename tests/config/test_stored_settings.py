"""Settings and weights that came with somebody's run or checkpoint: data, which name no code and no file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import pytest
import torch
from conftest import metrics, rewrite, run_here
from images import write_folder

from aeprobe.cli.resume import resume
from aeprobe.config.schema import flat, plain
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.runs.metrics import find_checkpoint

NAN = float("nan")
Content = dict[str, Any]


@pytest.fixture
def stolen(tmp_path: Path, trained: Path) -> Path:
    """The first stage of somebody's run, which was killed at its end."""
    path = Path(shutil.copytree(trained, tmp_path / "stolen")) / "autoencoder"
    rewrite(path, lambda found: found.update(status="running"))
    return path


def change_checkpoints(run: Path, change: Callable[[Content], object]) -> None:
    """Writes them anew, with all their checksums right."""
    for file in run.glob("checkpoints/*.ckpt"):
        content = checkpoints.read(file)
        change(content)
        torch.save(content, file)


@pytest.mark.parametrize(
    ("key", "node", "named"),
    [
        ("autoencoder.optimizer", {"_target_": "os.system"}, "autoencoder.optimizer._target_=os.system"),
        (
            "autoencoder.loss",
            {"_target_": "torch.nn.MSELoss", "x": [{"y": {"_target_": "os.system"}}]},
            "autoencoder.loss._target_=os.system",
        ),
        ("data.source", {"_target_": "torch.hub.load"}, "data.source._target_=torch.hub.load"),
        ("autoencoder._target_", "torchx.Beta", "autoencoder._target_=torchx.Beta"),
    ],
)
def test_a_class_that_is_not_trusted_is_refused_by_name(stolen: Path, key: str, node: Any, named: str) -> None:
    *groups, name = key.split(".")

    def attack(found: Content) -> None:
        group = found["config"]
        for part in groups:
            group = group[part]
        group[name] = node

    rewrite(stolen, attack)
    with pytest.raises(AeprobeError, match=rf"^resume=.*: {named}: a stored configuration names no other class"):
        resume([f"resume={stolen}"])


@pytest.mark.parametrize("place", ["network", "module", "loss"])
def test_a_class_in_a_checkpoint_that_is_not_trusted_is_refused_by_name(stolen: Path, place: str) -> None:
    node = {"_target_": "aeprobe.models.networks.MLPAutoencoder", "own": {"_target_": "os.system"}}
    change_checkpoints(stolen, lambda content: content["hyper_parameters"].update({place: node}))
    with pytest.raises(AeprobeError, match=r"_target_=os\.system: a stored configuration .* plugins=\[os\]"):
        checkpoints.load(stolen)


def test_a_stored_text_computes_nothing(stolen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    rewrite(stolen, lambda found: found["config"].update(sweep="\\${oc.env:SECRET_TOKEN}${oc.env:SECRET_TOKEN}"))
    assert resume([f"resume={stolen}"]).config.sweep == "\\${oc.env:SECRET_TOKEN}${oc.env:SECRET_TOKEN}"


def test_hydras_record_is_written_and_not_read(stolen: Path) -> None:
    assert (stolen / ".hydra" / "config.yaml").exists()
    shutil.rmtree(stolen / ".hydra")
    before = metrics(stolen)["config"]
    assert resume([f"resume={stolen}"]).config.autoencoder.batch_size == before["autoencoder"]["batch_size"]


def test_a_run_goes_on_with_as_many_processes_as_it_had(stolen: Path) -> None:
    rewrite(stolen, lambda found: found.update(processes=6))
    with pytest.raises(AeprobeError, match="was trained by 6 processes, not 1: start as many again"):
        resume([f"resume={stolen}"])


def test_a_stored_setting_of_another_type_is_refused_in_a_line(stolen: Path) -> None:
    before = metrics(stolen)["config"]
    for key, value in (("seed", "one"), ("trainer", {"devices": "two"}), ("trainer", 3), ("optimizers", {})):
        rewrite(stolen, lambda found, key=key, value=value: found.update(config=before | {key: value}))
        with pytest.raises(AeprobeError, match=f"{key}|Merge error") as refused:
            resume([f"resume={stolen}"])
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [NAN, float("-inf")])
def test_a_weight_that_is_not_finite_is_named(trained: Path, tmp_path: Path, value: float) -> None:
    content = checkpoints.read(find_checkpoint(trained, "classifier"))
    content["state_dict"]["encoder.0.weight"].view(-1)[7] = value
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(AeprobeError, match=r"its weight encoder.0.weight is not finite in 1 of \d+ numbers"):
        checkpoints.load(tmp_path / "other.ckpt")


@pytest.mark.parametrize("stage", ["autoencoder", "classifier"])
def test_finite_weights_that_give_no_finite_loss_end_a_test_as_failed(tmp_path: Path, stage: str) -> None:
    settings = ["data=folder", f"data.root={write_folder(tmp_path / 'images', 120)}", "data.val_size=20"]
    run, once = tmp_path / "run", ["trainer.figures=false", "trainer.limit_epochs=1"]
    run_here(run, [f"stage={'autoencoder' if stage == 'autoencoder' else 'all'}", *settings, *once])

    def enlarge(content: Content) -> None:
        for key, weight in content["state_dict"].items():
            if key.startswith("encoder"):
                weight.fill_(3e38)

    run = run if stage == "autoencoder" else run / stage
    change_checkpoints(run, enlarge)
    with pytest.raises(AeprobeError, match=r"test/loss is (nan|inf)"):
        run_here(tmp_path / "test", ["stage=test", f"ckpt={run}", "trainer.figures=false"])
    found = metrics(tmp_path / "test")
    assert (found["status"], found["final"]) == ("failed", {})


def test_every_setting_is_the_same_after_it_was_stored(stolen: Path) -> None:
    before = flat(metrics(stolen)["config"])
    after = flat(plain(resume([f"resume={stolen}"]).config))
    assert after == before
