"""A run knows which files it was trained on, and goes on with no others."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import pytest
from conftest import metrics, run_here
from images import write_folder
from launches import slurm, together
from same_runs import resume_here
from warm import TRAIN

from aeprobe.data.mnist import FILES
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.training import build

NAMES = [name for pair in FILES.values() for name in pair]
SMALL = ("data=folder", "data.val_size=20", "trainer.figures=false", "autoencoder.max_epochs=1")
IMAGES, LABELS = FILES["train"]


def identities(folder: Path) -> dict[str, dict[str, object]]:
    """Sizes and checksums, by another way."""
    contents = {name: (folder / name).read_bytes() for name in NAMES}
    return {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in contents.items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, and a finished stage 1 on it."""
    path = tmp_path_factory.mktemp("both")
    write_folder(path / "images", 120)
    with contextlib.chdir(path):
        run_here(Path("run"), ["stage=autoencoder", *SMALL, "data.root=images"])
    return path


@pytest.fixture
def made(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A copy of them, in the working directory."""
    shutil.copytree(both, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("images"), Path("run")


def test_size_and_checksum_stand_in_the_run_and_its_checkpoints(made: tuple[Path, Path]) -> None:
    folder, run = made
    assert metrics(run)["data"]["files"] == identities(folder)
    for name in ("best", "last"):
        stored = checkpoints.read(run / "checkpoints" / f"{name}.ckpt")["datamodule_hyper_parameters"]
        assert stored["files"] == identities(folder)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def swap(folder: Path) -> None:
    names = [folder / name for name in (IMAGES, FILES["test"][0])]
    flip(names[1], 100)
    contents = [name.read_bytes() for name in names]
    names[0].write_bytes(contents[1])
    names[1].write_bytes(contents[0])


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "grown": (lambda folder: write_folder(folder, 121), IMAGES),
    "a test label": (lambda folder: flip(folder / FILES["test"][1], 100), FILES["test"][1]),
    "exchanged": (swap, IMAGES),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_other_data_are_refused_by_name(made: tuple[Path, Path], tmp_path: Path, change: str) -> None:
    """On resuming, in stage 2 and in a test; and what was there stays as it was."""
    folder, run = made
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    alter, name = CHANGES[change]
    alter(folder)
    words = rf"data: {name} in {folder} has \d+ bytes and SHA-256 \w{{64}}, but .*ckpt was trained on \d+ bytes"
    for asked in (
        lambda: resume_here(run, "autoencoder.max_epochs=2"),
        lambda: run_here(tmp_path / "new", ["stage=classifier", f"ckpt={run}", "trainer.figures=false"]),
        lambda: run_here(tmp_path / "new", ["stage=test", f"ckpt={run}", "trainer.figures=false"]),
    ):
        with pytest.raises(AeprobeError, match=words) as caught:
            asked()
        assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_another_folder_is_refused_and_a_moved_one_is_not(made: tuple[Path, Path], tmp_path: Path) -> None:
    folder, run = made
    moved = folder.rename("moved")
    other = write_folder(Path("other"), 130)
    test = ["stage=test", f"ckpt={run}", "trainer.figures=false"]
    again = run_here(tmp_path / "again", [*test, f"data.root={moved}"])["test"]
    assert again["final"]["test/loss"] == metrics(run)["final"]["test/loss"]
    with pytest.raises(AeprobeError, match=f"data: {IMAGES} in {other} has"):
        run_here(tmp_path / "new", [*test, f"data.root={other}"])


def test_a_folder_that_changes_between_the_stages_ends_the_run_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "images", 120)
    read = build._build_data

    def changed(config: Any, seed: int, size: int, origin: build.Origin | None, typed: Any) -> Any:
        if origin:  # of stage 2
            flip(folder / LABELS, 50)
        return read(config, seed, size, origin, typed)

    monkeypatch.setattr(build, "_build_data", changed)
    with pytest.raises(AeprobeError, match=f"data: {LABELS} in"):
        run_here(tmp_path / "run", [*SMALL, f"data.root={folder}"])
    assert metrics(tmp_path / "run" / "autoencoder")["status"] == "completed"
    assert not (tmp_path / "run" / "classifier").exists()


def test_a_run_that_was_ended_in_its_first_epoch_begins_again_with_its_own_data(made: tuple[Path, Path]) -> None:
    folder, run = made
    for file in run.glob("checkpoints/*.ckpt"):
        file.unlink()
    said = metrics(run) | {"status": "interrupted", "epochs": []}
    (run / "metrics.json").write_text(json.dumps(said))
    flip(folder / IMAGES, 5000)
    with pytest.raises(AeprobeError, match=f"data: {IMAGES} in {folder} has .*, but {run} was trained on"):
        resume_here(run)
    assert metrics(run) == said
    flip(folder / IMAGES, 5000)
    resume_here(run)
    assert metrics(run)["status"] == "completed"


@pytest.mark.slow
def test_processes_that_read_other_files_are_told(tmp_path: Path) -> None:
    for rank in range(2):
        write_folder(tmp_path / f"images{rank}", 120)
    flip(tmp_path / "images1" / LABELS, 50)
    common = ["stage=autoencoder", *SMALL, "trainer=ddp", "trainer.accelerator=cpu", "hydra.run.dir=run"]
    commands = [[TRAIN, *common, f"data.root=images{rank}"] for rank in range(2)]
    results = together(commands, tmp_path, [slurm(rank, SLURM_JOB_ID="7") for rank in range(2)])
    assert [result.status for result in results] == [1, 1]
    lines = "".join(result.err for result in results).splitlines()
    assert any("data: process 1 has read other files in images1 than the first" in line for line in lines), lines
    assert all(line.startswith("error: ") for line in lines)
    assert not (tmp_path / "run" / ".hydra").exists()
