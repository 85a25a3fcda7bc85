"""What goes wrong outside of the project: disks, files, neighbours. Nothing that was complete is lost."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import metrics, train

from aeprobe.models import checkpoints

SHORT = ("stage=autoencoder", "trainer.figures=false", "trainer.limit_train_batches=40")


def finite(checkpoint: Path) -> bool:
    stored = checkpoints.read(checkpoint)
    return all(bool(w.isfinite().all()) for w in stored["state_dict"].values() if w.is_floating_point())


def goes_on(run: Path, cwd: Path, epochs: int) -> None:
    result = train(f"resume={run}", f"autoencoder.max_epochs={epochs}", cwd=cwd)
    assert result.status == 0, result.err
    assert [row["epoch"] for row in metrics(run)["epochs"]] == [*range(1, epochs + 1)]
    assert metrics(run)["status"] == "completed"
    assert not [path for path in run.rglob(".*") if path.name not in (".hydra", ".lock")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB: room for three checkpoints of 12 MB, not for a fourth beside them."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.getuid() == 0 and shutil.which("mount")
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", disk], check=False).returncode
    ):
        pytest.skip("no small disk can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_in_a_line_and_it_goes_on_when_there_is_room(
    tmp_path: Path, root: Path, small_disk: Path
) -> None:
    run = small_disk / "run"
    (small_disk / "other").write_bytes(bytes(10 * 2**20))
    first = train(*SHORT, "autoencoder.max_epochs=3", f"data.root={root}", f"hydra.run.dir={run}", cwd=tmp_path)
    assert first.status == 1
    (line,) = first.err.splitlines()
    assert "No space left on device" in line
    assert line.endswith("make room, then resume=")
    assert all(finite(path) for path in run.glob("checkpoints/*.ckpt"))
    (small_disk / "other").unlink()
    if not metrics(run)["epochs"]:
        pytest.fail("the disk was full before the first epoch: nothing was tested")
    goes_on(run, tmp_path, 3)


@pytest.mark.slow
def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, root: Path) -> None:
    run = tmp_path / "run"
    good = train(*SHORT, "autoencoder.max_epochs=1", f"data.root={root}", f"hydra.run.dir={run}", cwd=tmp_path)
    assert good.status == 0, good.err
    steep = ["autoencoder.max_epochs=1", "autoencoder.optimizer.lr=1e38", "trainer.limit_train_batches=1"]
    bad = train(*SHORT[:2], *steep, f"data.root={root}", "hydra.run.dir=bad", cwd=tmp_path)
    assert bad.status == 1
    (line,) = bad.err.splitlines()
    assert " in epoch 1, step 1 of 1, at a rate of 1e+38: try a lower autoencoder.optimizer.lr" in line
    assert metrics(tmp_path / "bad")["status"] == "failed"
    assert not [*(tmp_path / "bad").glob("checkpoints/*.ckpt")]
    assert all(finite(path) for path in run.glob("checkpoints/*.ckpt"))


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_damaged_data_file_is_named_with_both_checksums(tmp_path: Path, root: Path, damage: str) -> None:
    shutil.copytree(root, tmp_path / "data")
    file = tmp_path / "data" / "MNIST" / "raw" / "train-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[12345] ^= 1
    file.write_bytes(content if damage == "changed" else content[:-1])
    done = train(*SHORT, cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert str(file.relative_to(tmp_path)) in line
    assert "expected" in line
    assert len(re.findall(r"[0-9a-f]{64}", line)) == 2
    assert not (tmp_path / "outputs").exists() or not [*(tmp_path / "outputs").rglob("metrics.json")]
