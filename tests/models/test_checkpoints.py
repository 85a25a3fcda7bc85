import io
from pathlib import Path

import pytest
import torch
from conftest import TINY, metrics, only, run_here, train
from torch import Tensor

from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.runs.metrics import find_checkpoint


@pytest.mark.slow
def test_a_new_process_measures_the_same_numbers(trained: Path, tmp_path: Path, root: Path) -> None:
    """The checkpoints of a run, tested again by the command line, give its own final metrics to the bit."""
    for stage in ("autoencoder", "classifier"):
        arguments = (f"ckpt={trained / stage}", "trainer.limit_test_batches=2", f"data.root={root}")
        result = train("stage=test", *arguments, f"outputs={stage}", cwd=tmp_path)
        assert result.status == 0, result.err
        run, again = metrics(trained / stage), metrics(only(tmp_path / stage / "test"))
        of_evaluations = {"test/mse_8_bits"} if stage == "autoencoder" else set()  # which a training is not asked
        assert {k: v for k, v in again["final"].items() if k not in of_evaluations} == {
            k: v for k, v in run["final"].items() if k.startswith("test/")
        }
        assert of_evaluations <= again["final"].keys()
        assert again["seed"] == run["seed"] == 3
        assert again["epochs"] == []
        assert again.get("confusion_matrix") == run.get("confusion_matrix")
        assert again.get("test_batch_accuracy") == run.get("test_batch_accuracy")


def weights(file: Path) -> dict[str, Tensor]:
    return dict(checkpoints.read(file)["state_dict"])


def test_stage_2_leaves_every_bit_of_the_encoder(trained: Path) -> None:
    before = weights(find_checkpoint(trained, "autoencoder"))
    for name in ("best", "last"):
        after = weights(trained / "classifier" / "checkpoints" / f"{name}.ckpt")
        encoder = [key for key in after if key.startswith("encoder.")]
        assert len(encoder) == 8
        assert all(torch.equal(before[key], after[key]) for key in encoder)


def test_load_gives_the_module_in_eval_mode(trained: Path) -> None:
    classifier, autoencoder = checkpoints.load(trained), checkpoints.load(trained / "autoencoder")
    assert isinstance(classifier, Classifier)
    assert isinstance(autoencoder, Autoencoder)
    assert not classifier.training
    assert not autoencoder.training


def test_hyperparameters_are_plain_values(trained: Path) -> None:
    def check(value: object) -> None:
        assert type(value) in (int, float, str, bool, list, dict, type(None)), value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(item)

    for stage in ("autoencoder", "classifier"):
        checkpoint = checkpoints.read(find_checkpoint(trained, stage))
        check(dict(checkpoint["hyper_parameters"]))
        check(dict(checkpoint["datamodule_hyper_parameters"]))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            "autoencoder.network.widths=[784,64,30]",
            r"trained with autoencoder.network.widths=\[784, 500, 200, 100, 30\]; drop the override",
        ),
        (
            "autoencoder.network.activation=GELU",
            "trained with autoencoder.network.activation=ReLU; drop the override",
        ),
        ("classifier.head.widths=[20,10]", r"classifier.head .*: the head does not take \(2, 30\)"),
        ("data.val_size=1", r"data.val_size=1: .* trained with data.val_size=5000; drop"),
        ("data.mean=0.5", r"data.mean=0.5: .* trained with data.mean=0.0; drop"),
    ],
)
def test_what_contradicts_the_checkpoint_is_refused(trained: Path, tmp_path: Path, typed: str, words: str) -> None:
    with pytest.raises(AeprobeError, match=words):
        run_here(tmp_path / "run", ["stage=classifier", f"ckpt={trained}", typed])
    assert not (tmp_path / "run").exists()


def test_what_an_overlay_says_of_the_data_gives_way_to_the_checkpoint(
    trained: Path, tmp_path: Path, root: Path
) -> None:
    """The images held out in stage 1 stay held out in stage 2, whatever its seed and its experiment."""
    overrides = ["stage=classifier", f"ckpt={trained}", "experiment=report", "seed=9", f"data.root={root}", *TINY]
    run_here(tmp_path / "run", overrides)
    stored = checkpoints.read(find_checkpoint(tmp_path / "run", "classifier"))["datamodule_hyper_parameters"]
    assert (stored["val_size"], stored["split_seed"], stored["seed"]) == (5000, 3, 9)


@pytest.mark.parametrize("fault", ["flipped", "cut", "text", "foreign"])
def test_a_damaged_file_is_refused_by_name(trained: Path, tmp_path: Path, fault: str) -> None:
    content = bytearray(find_checkpoint(trained, "autoencoder").read_bytes())
    file = tmp_path / "copy.ckpt"
    if fault == "flipped":
        content[len(content) // 2] ^= 1  # in the middle of a tensor: torch.load would not notice
    elif fault == "cut":
        del content[len(content) // 2 :]
    elif fault == "text":
        content = bytearray(b"not a checkpoint")
    else:
        buffer = io.BytesIO()
        torch.save({"state_dict": {}}, buffer)
        content = bytearray(buffer.getvalue())
    file.write_bytes(content)
    with pytest.raises(AeprobeError, match=r"ckpt=.*copy\.ckpt: is"):
        checkpoints.load(file)


def test_weights_that_do_not_fit_name_both(trained: Path, tmp_path: Path) -> None:
    checkpoint = checkpoints.read(find_checkpoint(trained, "autoencoder"))
    checkpoint["hyper_parameters"]["network"]["widths"] = [784, 64, 30]
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(AeprobeError, match=r"other.ckpt: its weights do not fit .*\[784, 64, 30\].*state_dict"):
        checkpoints.load(tmp_path / "other.ckpt")


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    checkpoints.AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
