"""What stage 2 does with its encoder (`classifier.encoder`), and with the labels of few images (`data.labels`)."""

import json
from pathlib import Path

import pytest
import torch
from conftest import metrics, run_here
from launches import srun
from page_reader import made
from same_runs import resume_here, same
from torch import Tensor

from aeprobe import load
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe_tools.results.stage_run import StageRun

FEW = ("stage=classifier", "trainer.limit_train_batches=5", "classifier.max_epochs=2", "trainer.figures=false")
FEW += ("trainer.limit_val_batches=1",)
KINDS = ("frozen", "finetuned", "random", "scratch")


def encoder_of(file: Path) -> dict[str, Tensor]:
    state = checkpoints.read(file)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("encoder.")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, trained: Path, root: Path) -> Path:
    """A directory with a run for each kind of encoder, by its name, on the encoder of `trained`."""
    path = tmp_path_factory.mktemp("encoders")
    for kind in KINDS:
        run_here(
            path / kind, [*FEW, f"ckpt={trained}/autoencoder", f"classifier.encoder={kind}", f"data.root={root}"]
        )
    return path


def test_its_weights_are_those_of_stage_1_or_new_and_change_or_stay(runs: Path, trained: Path) -> None:
    before = encoder_of(trained / "autoencoder" / "checkpoints" / "best.ckpt")
    after = {kind: encoder_of(runs / kind / "checkpoints" / "last.ckpt") for kind in KINDS}
    assert same(before, after["frozen"])
    assert not any(same(before, after[kind]) for kind in KINDS[1:])
    assert not same(after["random"], after["scratch"])
    moved = {kind: max((after[kind][key] - before[key]).abs().max() for key in before) for kind in KINDS}
    assert moved["finetuned"] <= 10 * 1.1e-3 < moved["random"]  # ten steps of Adam, of 1e-3 each


@pytest.mark.slow
def test_a_random_encoder_is_the_seed_s_and_stays(runs: Path, root: Path, tmp_path: Path) -> None:
    more = [*FEW, "classifier.encoder=random", f"data.root={root}", "classifier.max_epochs=1"]
    run_here(tmp_path / "alone", more)  # without ckpt: of the configured network, the same one here
    run_here(tmp_path / "other", [*more, "seed=1"])
    kept = encoder_of(runs / "random" / "checkpoints" / "last.ckpt")
    assert same(kept, encoder_of(tmp_path / "alone" / "checkpoints" / "last.ckpt"))
    assert not same(kept, encoder_of(tmp_path / "other" / "checkpoints" / "last.ckpt"))
    assert metrics(tmp_path / "alone")["ckpt"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_measured_is_what_a_loaded_classifier_gives(kind: str, runs: Path, root: Path) -> None:
    classifier, found = load(runs / kind), metrics(runs / kind)
    data = ImageDataModule(root=str(root))
    data.setup()
    images, labels = data.splits["test"][torch.arange(10_000)]
    with torch.no_grad():
        right = (classifier(images).argmax(1) == labels).double().mean().item()
    assert found["final"]["test/accuracy"] == pytest.approx(right, abs=1e-6)
    assert found["config"]["classifier"]["encoder"] == kind
    trains = kind in ("finetuned", "scratch")
    assert all(p.requires_grad == trains for p in classifier.encoder.parameters())


def test_the_page_says_what_the_encoder_was(runs: Path) -> None:
    words = ("frozen", "finetuned", "frozen with random weights", "trained from scratch")
    for kind, said in zip(KINDS, words, strict=True):
        assert StageRun(runs / kind, metrics(runs / kind)).encoder == said
    page = made(runs / "finetuned")
    assert "Stage 2: the classifier (encoder: finetuned)" in page.text
    assert "784-500-200-100-30, finetuned" in page.text


def test_a_resumed_run_has_the_same_bits(runs: Path, trained: Path, root: Path, tmp_path: Path) -> None:
    typed = [*FEW, f"ckpt={trained}/autoencoder", "classifier.encoder=finetuned", f"data.root={root}"]
    run_here(tmp_path / "run", [*typed, "classifier.max_epochs=1"])
    resume_here(tmp_path / "run", "classifier.max_epochs=2")
    whole, again = (
        checkpoints.read(path / "checkpoints" / "last.ckpt")["state_dict"]
        for path in (runs / "finetuned", tmp_path / "run")
    )
    assert same(whole, again)
    assert metrics(tmp_path / "run")["final"] == metrics(runs / "finetuned")["final"]


@pytest.mark.parametrize("schedule", ["none", "onecycle"])
def test_its_rate_is_its_own_and_a_schedule_serves_both(
    schedule: str, trained: Path, root: Path, tmp_path: Path
) -> None:
    typed = [*FEW, f"ckpt={trained}/autoencoder", "classifier.encoder=finetuned", f"data.root={root}"]
    run_here(
        tmp_path / "run", [*typed, f"scheduler@classifier.scheduler={schedule}", "classifier.encoder_lr=1e-6"]
    )
    file = tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = encoder_of(trained / "autoencoder" / "checkpoints" / "best.ckpt")
    moved = max((encoder_of(file)[key] - value).abs().max().item() for key, value in before.items())
    assert 1e-8 < moved <= 10 * 1.1e-6
    (optimizer,) = checkpoints.read(file)["optimizer_states"]
    first, second = (group["lr"] for group in optimizer["param_groups"])
    assert second == pytest.approx(first * 1e-3)


def test_few_labels_are_equally_many_of_each_class_and_an_epoch_is_as_long(root: Path, tmp_path: Path) -> None:
    typed = ["stage=classifier", "classifier.encoder=random", f"data.root={root}", "trainer.limit_epochs=1"]
    typed += ["trainer.limit_val_batches=1"]
    run_here(tmp_path / "run", [*typed, "data.labels=20"])
    found = metrics(tmp_path / "run")
    assert found["data"]["images"] == {"train": 20, "val": 5000, "test": 10_000}
    assert found["checkpoint"] == "last"  # validation's labels choose nothing
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    last = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 550
    figure = json.loads((tmp_path / "run" / "figures" / "class_histogram.json").read_text())
    assert figure["data"]["train"] == [2] * 10


def test_the_labels_are_the_seed_s_in_every_epoch_and_for_every_encoder(root: Path) -> None:
    chosen = {}
    for seed in (0, 0, 1):
        data = ImageDataModule(root=str(root))
        data.setup()
        data.keep_labels(100, seed)
        assert data.splits["train"].labels.bincount().tolist() == [10] * 10
        chosen.setdefault(seed, []).append(data.splits["train"].images)
        loader = data.train_dataloader()
        assert sum(len(labels) for _, labels in loader) == 55_000
    assert torch.equal(*chosen[0])
    assert not torch.equal(chosen[0][0], chosen[1][0])


REFUSED = {
    "classifier.encoder=finetuned": "stage=classifier needs ckpt=",
    "classifier.encoder=random data.labels=5": "data.labels=5: the labels have 10 classes",
    "classifier.encoder=random data.labels=54000": "class . has 4... training images, fewer than",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(
    typed: str, trained: Path, root: Path, tmp_path: Path
) -> None:
    words = typed.replace("{0}", f"{trained}/autoencoder").split()
    with pytest.raises(AeprobeError, match=REFUSED[typed]) as caught:
        run_here(tmp_path / "run", ["stage=classifier", *words, f"data.root={root}"])
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_several_processes_take_the_steps_of_one(runs: Path, trained: Path, root: Path, tmp_path: Path) -> None:
    typed = [*FEW, f"ckpt={trained}/autoencoder", "classifier.encoder=finetuned", f"data.root={root}"]
    for done in srun(tmp_path, *typed, "hydra.run.dir=two"):
        assert done.status == 0, done.err
    one, two = metrics(runs / "finetuned")["final"], metrics(tmp_path / "two")["final"]
    assert two == pytest.approx(one, abs=1e-4)
