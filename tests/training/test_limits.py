"""A stage that ends before its epochs, and a loss that looks at the number of each class's images."""

import struct
from pathlib import Path

import modules
import pytest
import torch
from conftest import metrics, run_here, train
from images import write_folder
from torch.nn.functional import cross_entropy

from aeprobe import load
from aeprobe.data import mnist
from aeprobe.models.classifier import Classifier

FEW = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=1", "trainer.figures=false")


@pytest.mark.slow
def test_a_stage_ends_with_the_epoch_in_which_its_time_is_up(tmp_path: Path, root: Path) -> None:
    typed = ["stage=autoencoder", *FEW, f"data.root={root}", "trainer.max_time=00:00:00:01"]
    done = train(*typed, "autoencoder.max_epochs=100000", "hydra.run.dir=run", cwd=tmp_path)
    assert done.status == 0, done.err
    found = metrics(tmp_path / "run")
    epochs = len(found["epochs"])
    assert (found["status"], epochs < 1000) == ("completed", True)
    assert f"autoencoder ended after {epochs} of 100000 epochs" in done.out
    assert "nothing is left to do" in train("resume=run", cwd=tmp_path).out


def test_the_weights_of_classes() -> None:
    module = modules.classifier([784, 5], [5, 4], class_weights="balanced")
    labels = torch.tensor([0] * 6 + [1] * 2 + [3] * 1)
    module.fit_class_weights(labels)
    assert module.class_weights is not None
    assert module.class_weights.tolist() == pytest.approx([9 / 18, 9 / 6, 0, 9 / 3])
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    each = cross_entropy(logits, labels, reduction="none")
    of_classes = torch.stack([each[:6].mean(), each[6:8].mean(), each[8:].mean()]).mean()
    assert module.loss(logits, labels).item() == pytest.approx(of_classes.item())
    assert modules.classifier([784, 5], [5, 4]).loss(logits, labels).item() == pytest.approx(each.mean().item())


def test_balanced_weights_are_part_of_the_checkpoint(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own")
    for _, name in mnist.FILES.values():  # nine of ten images are a 0
        (folder / name).write_bytes(struct.pack(">2I", 2049, 300) + bytes(0 if i % 10 else 1 for i in range(300)))
    typed = ["data=folder", f"data.root={folder}", "data.val_size=50", "classifier.class_weights=balanced"]
    run_here(tmp_path / "run", [*typed, "trainer=debug", "trainer.figures=false"])
    module = load(tmp_path / "run")
    assert isinstance(module, Classifier)
    assert module.class_weights is not None
    few, many = sorted(module.class_weights[:2].tolist())
    assert many / few == pytest.approx(9, rel=0.3)
    final = metrics(tmp_path / "run" / "classifier")["final"]
    tested = run_here(tmp_path / "test", ["stage=test", f"ckpt={tmp_path / 'run'}", "trainer.figures=false"])
    assert tested["test"]["final"]["test/loss"] == pytest.approx(final["test/loss"], abs=1e-6)
