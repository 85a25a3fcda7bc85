"""Files damaged in any way, anywhere: refused by name, or read as what they were; never wrong, never a crash."""

import shutil
from pathlib import Path

import pytest
import torch
from conftest import FIGURES, run_here
from damage import Damage, damaged, damages
from hypothesis import assume, given
from hypothesis import strategies as st
from images import folder_data, write_folder
from refusals import refused
from same_runs import same

from aeprobe.data import idx_files
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.models import checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A small one: a quarter of it is its directory and headers."""
    run = tmp_path_factory.mktemp("small") / "run"
    small = ["stage=autoencoder", "autoencoder.network.widths=[784,2,2]", "autoencoder.max_epochs=1"]
    limits = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    run_here(run, [*small, *limits, "trainer.figures=false", f"data.root={root}"])
    return run / "checkpoints" / "last.ckpt"


@given(damage=damages())
def test_a_damaged_checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.ckpt"
    before = checkpoint.read_bytes()
    after = damaged(before, damage)
    assume(after != before)
    file.write_bytes(after)
    found = refused(lambda: checkpoints.read(file), f"ckpt={file}: ")
    if found:
        assert same(found[0], checkpoints.read(checkpoint))
        FIGURES["damages without meaning in checkpoints (the content is the same)"] += 1
    else:
        FIGURES["damages refused in checkpoints"] += 1


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own images."""
    return write_folder(tmp_path_factory.mktemp("own") / "images", count=60)


@given(damage=damages(), name=st.sampled_from([name for pair in idx_files.FILES.values() for name in pair]))
def test_a_damaged_folder(
    images: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage, name: str
) -> None:
    """Without a checksum a changed pixel cannot be seen; a wrong size or header is."""
    folder = tmp_path_factory.getbasetemp() / "damaged_images"
    shutil.copytree(images, folder, dirs_exist_ok=True)
    before = (images / name).read_bytes()
    after = damaged(before, damage)
    assume(after != before)
    (folder / name).write_bytes(after)
    module = folder_data(folder, val_size=0)
    if refused(module.setup, "data"):
        header = 16 if "images" in name else 8
        assert (len(after), after[:header]) == (len(before), before[:header])
        split = module.splits["train" if "train" in name else "test"]
        read = split.images.flatten() if "images" in name else split.labels.to(torch.uint8)
        assert bytes(read.tolist()) == after[header:]
        FIGURES["damages read as other pixels or labels in folders (they have no checksum)"] += 1
    else:
        FIGURES["damages refused in folders of images"] += 1


@given(damage=damages(), name=st.sampled_from(list(idx_files.checksums())))
def test_a_damaged_mnist(root: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage, name: str) -> None:
    raw = tmp_path_factory.getbasetemp() / "damaged_mnist" / "MNIST" / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    raw.mkdir(parents=True)
    before = (root / "MNIST" / "raw" / name).read_bytes()
    after = damaged(before, damage)
    assume(after != before)
    (raw / name).write_bytes(after)
    for other in idx_files.checksums().keys() - {name}:
        (raw / other).symlink_to(root / "MNIST" / "raw" / other)
    module = ImageDataModule(root=str(raw.parent.parent))
    assert not refused(module.prepare_data, f"{raw / name} has SHA-256 ")
    assert (raw / name).read_bytes() == after  # left for the person to look at
    FIGURES["damages refused in MNIST"] += 1
