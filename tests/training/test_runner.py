"""What a run leaves behind, and that it is right."""

import math
import re
from pathlib import Path

import lightning as L
import pytest
import torch
from conftest import REPO, TINY, metrics, run_here, train
from images import folder_data, write_folder
from same_runs import same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import cross_entropy, mse_loss

from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.runs.metrics import find_checkpoint

EXPERIMENTS = sorted(path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml"))


def same_weights(a: Path, b: Path) -> bool:
    return same(checkpoints.read(a)["state_dict"], checkpoints.read(b)["state_dict"])


def test_metrics_json_keeps_its_contract(trained: Path) -> None:
    for stage in ("autoencoder", "classifier"):
        found = metrics(trained / stage)
        assert (found["schema"], found["stage"], found["status"], found["error"]) == (1, stage, "completed", None)
        assert found["seed"] == found["config"]["seed"] == 3
        assert found["overrides"][0] == "seed=3"
        assert found["checkpoint"] == "best"
        assert found["versions"]["torch"] == torch.__version__
        assert (found["device"], found["threads"]) == ("cpu", torch.get_num_threads())
        assert 0 < found["seconds"]["fit"] < found["seconds"]["total"]
        (row,) = found["epochs"]
        kinds = ["loss"] if stage == "autoencoder" else ["loss", "accuracy"]
        names = {f"{split}/{kind}" for split in ("train", "val", "test") for kind in kinds}
        names |= {"val/mse", "test/mse"} if stage == "autoencoder" else set()
        assert set(found["final"]) == names
        for name in names - {f"test/{kind}" for kind in (*kinds, "mse")}:
            assert found["final"][name] == row[name]
        assert 0 < row["seconds"] < found["seconds"]["fit"]
    assert found["ckpt"] == str(Path(*trained.parts[-3:]) / "autoencoder" / "checkpoints" / "best.ckpt")
    matrix, batches = torch.tensor(found["confusion_matrix"]), found["test_batch_accuracy"]
    assert matrix.sum() == 2000
    assert matrix.trace() / 2000 == pytest.approx(found["final"]["test/accuracy"])
    assert len(batches) == 20
    assert sum(batches) / 20 == pytest.approx(found["final"]["test/accuracy"])
    assert (trained / "classifier" / "train.log").read_text().count("epoch 1/1") == 1


def test_every_step_is_in_tensorboard(trained: Path) -> None:
    for stage, kinds in (("autoencoder", ["loss"]), ("classifier", ["loss", "accuracy"])):
        events = EventAccumulator(str(trained / stage / "tensorboard"), size_guidance={"scalars": 0}).Reload()
        found = metrics(trained / stage)

        def scalars(tag: str, events: EventAccumulator = events) -> dict[int, float]:
            return {event.step: event.value for event in events.Scalars(tag)}

        assert scalars("train/lr") == pytest.approx(dict.fromkeys(range(1, 6), 1e-3))
        for kind in kinds:
            steps = scalars(f"train/{kind}_step")
            assert list(steps) == [1, 2, 3, 4, 5]
            assert math.fsum(steps.values()) / 5 == pytest.approx(found["epochs"][0][f"train/{kind}"], rel=1e-6)
            for name in (f"train/{kind}", f"val/{kind}", f"train/{kind}_last"):
                assert scalars(name) == {5: pytest.approx(found["epochs"][0][name])}
            assert scalars(f"test/{kind}") == {5: pytest.approx(found["final"][f"test/{kind}"])}


def test_two_commands_give_the_classifier_of_stage_all(trained: Path, tmp_path: Path, root: Path) -> None:
    common = ["seed=3", *TINY, f"data.root={root}"]
    run_here(tmp_path / "one", ["stage=autoencoder", *common])
    run_here(tmp_path / "two", ["stage=classifier", f"ckpt={tmp_path / 'one'}", *common])
    assert same_weights(find_checkpoint(tmp_path / "one", ""), find_checkpoint(trained, "autoencoder"))
    assert same_weights(find_checkpoint(tmp_path / "two", ""), find_checkpoint(trained, "classifier"))
    one, other = metrics(tmp_path / "two"), metrics(trained / "classifier")
    for key in ("final", "confusion_matrix", "test_batch_accuracy"):
        assert one[key] == other[key]


def test_losses_are_means_over_samples_when_the_last_batch_is_smaller(tmp_path: Path) -> None:
    """250 training images in batches of 100, 50 held out in batches of 40, 300 test images in batches of 40."""
    folder = write_folder(tmp_path / "own")
    data = ["data=folder", f"data.root={folder}", "data.val_size=50", "data.eval_batch_size=40"]
    run_here(tmp_path / "run", [*data, "trainer.limit_epochs=1"])
    module = folder_data(folder, val_size=50)
    module.setup()
    for stage in ("autoencoder", "classifier"):
        model = checkpoints.load(tmp_path / "run" / stage)
        final = metrics(tmp_path / "run" / stage)["final"]
        for split in ("val", "test"):
            images, labels = module.splits[split][:]
            with torch.no_grad():
                out = model(images)
            loss = mse_loss(out, images) if stage == "autoencoder" else cross_entropy(out, labels)
            assert final[f"{split}/loss"] == pytest.approx(loss.item(), rel=1e-5)
    accuracy = (out.argmax(1) == labels).double().mean().item()
    assert final["test/accuracy"] == pytest.approx(accuracy)
    events = EventAccumulator(str(tmp_path / "run" / "autoencoder" / "tensorboard")).Reload()
    a, b, c = (event.value for event in events.Scalars("train/loss_step"))
    mean = metrics(tmp_path / "run" / "autoencoder")["epochs"][0]["train/loss"]
    assert mean == pytest.approx((100 * a + 100 * b + 50 * c) / 250, rel=1e-6)


def test_without_held_out_images_the_last_checkpoint_counts(tmp_path: Path, root: Path) -> None:
    run_here(tmp_path / "run", ["stage=autoencoder", "experiment=report", *TINY, f"data.root={root}"])
    found = metrics(tmp_path / "run")
    assert found["checkpoint"] == "last"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.ckpt"]
    assert found["final"]["val/loss"] == found["final"]["test/loss"]


def test_the_checkpoint_with_the_lowest_validation_loss_is_tested(tmp_path: Path, root: Path) -> None:
    rate = "autoencoder.optimizer.lr=0.05"  # so high that it does not go down evenly
    overrides = ["stage=autoencoder", *TINY, rate, "trainer.limit_epochs=6", f"data.root={root}", "seed=1"]
    run_here(tmp_path / "run", overrides)
    found = metrics(tmp_path / "run")
    losses = [row["val/loss"] for row in found["epochs"]]
    assert losses.index(min(losses)) < 5, "the last epoch was the best: nothing was tested"
    assert found["final"]["val/loss"] == min(losses)
    best = checkpoints.read(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert best["epoch"] == losses.index(min(losses))


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, root: Path) -> None:
    overrides = ["stage=autoencoder", *TINY, "autoencoder.optimizer.lr=1e30", f"data.root={root}"]
    with pytest.raises(AeprobeError, match=r"train/loss became nan in epoch 1, step \d of 5, at a rate of 1e\+30"):
        run_here(tmp_path / "run", overrides)
    found = metrics(tmp_path / "run")
    assert found["status"] == "failed"
    assert "train/loss became nan" in found["error"]
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_a_precision_that_would_be_replaced_is_refused(tmp_path: Path, root: Path) -> None:
    """Lightning computes 16-mixed in bf16-mixed on a CPU."""
    half = ["trainer.accelerator=cpu", "trainer.precision=16-mixed"]
    result = train(*half, *TINY, f"data.root={root}", cwd=tmp_path)
    assert (result.status, result.out) == (1, "")
    assert re.fullmatch(
        "error: trainer.precision=16-mixed: .* say trainer.precision=bf16-mixed, or .*\n", result.err
    )
    assert list(tmp_path.iterdir()) == []
    for precision in ("32-true", "bf16-mixed", "64-true"):
        typed = ["stage=autoencoder", half[0], f"trainer.precision={precision}", *TINY, f"data.root={root}"]
        assert run_here(tmp_path / precision, typed)["autoencoder"]["status"] == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains_a_few_steps(experiment: str, tmp_path: Path, root: Path) -> None:
    done = run_here(tmp_path / "run", [f"experiment={experiment}", *TINY, f"data.root={root}"])
    assert done["classifier"]["status"] == "completed"
    loss = done["classifier"]["final"]["train/loss"]
    assert 2.0 < loss < 2.6  # near log(10): both begin by guessing


def test_the_precision_of_matrix_products_is_that_of_the_run(tmp_path: Path, root: Path) -> None:
    seen = []

    class Look(L.Callback):
        def on_train_start(self, *_: object) -> None:
            seen.append(torch.get_float32_matmul_precision())

    for precision in ("medium", "highest"):
        overrides = ["stage=autoencoder", *TINY, f"trainer.matmul_precision={precision}", f"data.root={root}"]
        run_here(tmp_path / precision, overrides, callbacks=[Look()])
    assert seen == ["medium", "highest"]


def test_a_bar_counts_the_batches_beside_the_epochs_line(tmp_path: Path, root: Path) -> None:
    result = train("stage=autoencoder", *TINY, "trainer.progress=true", f"data.root={root}", cwd=tmp_path)
    assert (result.status, result.err) == (0, "")
    shown = re.split(r"[\r\n]", result.out)
    assert any(re.match(r"Epoch 0: 100%.*5/5", line) for line in shown)
    (line,) = (line for line in shown if "train/loss" in line and "epoch" in line)
    assert line.startswith("autoencoder epoch 1/1  train/loss")
