"""A command writes into directories of its own alone, and a refusal leaves what was there before."""

import contextlib
import shutil
from pathlib import Path

import pytest
from command import command
from conftest import metrics, train
from images import write_folder

from aeprobe.errors import AeprobeError
from aeprobe.runs import ownership
from aeprobe.runs.ownership import discard_unused, require_unused
from aeprobe.runs.run_directory import RunDirectory

SMALL = ("data=folder", "data.val_size=50", "trainer.limit_epochs=1", "trainer.figures=false")
ONE = ("stage=autoencoder", *SMALL)
Content = dict[str, bytes]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.root={write_folder(tmp_path_factory.mktemp('images') / 'folder')}"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, images: str) -> Path:
    """A sweep of two finished jobs. To be copied."""
    cwd = tmp_path_factory.mktemp("sweep")
    result = train("-m", "sweep=s", "seed=0,1", *ONE, images, cwd=cwd)
    assert result.status == 0, result.err
    return cwd / "outputs"


def content(path: Path) -> Content:
    """Every file and directory below; what is in the files."""
    return {
        found.relative_to(path).as_posix(): found.read_bytes() if found.is_file() else b"/"
        for found in path.rglob("*")
    }


def put(path: Path, name: str) -> None:
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text("precious")


@pytest.mark.parametrize("stage", ["autoencoder", "all"])
@pytest.mark.parametrize(
    "name",
    [
        "metrics.json",
        "checkpoints/best.ckpt",
        "notes.txt",
        ".hidden",
        "sub/",
        "autoencoder/metrics.json",
        "classifier/checkpoints/last.ckpt",
        "autoencoder/x",
        "train.log",
        "report.html",
        ".hydra/config.yaml",
    ],
)
def test_a_directory_that_holds_anything_is_left_alone(tmp_path: Path, images: str, name: str, stage: str) -> None:
    keep = tmp_path / "keep"
    (keep / name).mkdir(parents=True) if name.endswith("/") else put(keep, name)
    before = content(keep)
    with contextlib.chdir(tmp_path):
        result = command("hydra.run.dir=keep", f"stage={stage}", *SMALL, images)
    assert (result.status, result.err.count("\n")) == (1, 1), result.err
    assert result.err.startswith("error: keep")
    assert "already holds" in result.err
    assert content(keep) == before


def test_an_empty_directory_and_what_a_killed_start_left_may_be_used(tmp_path: Path, images: str) -> None:
    for name in (".lock", ".hydra/overrides.yaml", ".hydra/.config.yaml.x"):
        put(tmp_path / "killed", name)
    (tmp_path / "killed" / "checkpoints").mkdir()
    (tmp_path / "empty").mkdir()
    with contextlib.chdir(tmp_path):
        for path in ("killed", "empty"):
            result = command(f"hydra.run.dir={path}", *ONE, images)
            assert result.status == 0, result.err
            assert metrics(tmp_path / path)["status"] == "completed"


def test_a_finished_run_without_its_hidden_files_is_not_replaced(tmp_path: Path, done: Path, images: str) -> None:
    run = shutil.copytree(min((done / "sweeps" / "s").glob("*seed*")), tmp_path / "keep")
    shutil.rmtree(run / ".hydra")
    (run / ".lock").unlink(missing_ok=True)
    before = content(run)
    with contextlib.chdir(tmp_path):
        for where in ("hydra.run.dir=keep", "hydra.run.dir=keep/figures", "outputs=keep"):
            result = command(where, "seed=5", *ONE, images)
            assert (result.status, result.err.count("\n")) == (1, 1), result.err
            assert content(run) == before
        many = command("-m", "hydra.sweep.dir=keep", "seed=5,6", *ONE, images)
    assert (many.status, many.err.count("\n")) == (1, 1), many.err
    assert content(run) == before


def test_a_refusal_removes_what_this_command_made_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "outputs" / "autoencoder").mkdir(parents=True)
    before = content(tmp_path)
    with contextlib.chdir(tmp_path):
        for typed in (
            ["hydra.run.dir=keep/er/run"],
            ["hydra.run.dir=keep"],
            ["hydra.run.dir=keep/../new/run"],
            ["stage=autoencoder"],
            ["outputs=elsewhere/deep"],
        ):
            assert command(*typed, "seed=-1").status == 1
            assert content(tmp_path) == before, typed


def test_nobody_looked_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(ownership.Directories, "before", None)
    discard_unused(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    monkeypatch.setattr(ownership.Directories, "before", {tmp_path})
    discard_unused(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    assert tmp_path.is_dir()


def test_a_sweeps_directory_is_a_sweeps(tmp_path: Path, images: str) -> None:
    for name in ("notes.txt", "multirun.yaml", "sub/"):
        keep = tmp_path / name.strip("/") / "keep"
        (keep / name).mkdir(parents=True) if name.endswith("/") else put(keep, name)
        before = content(keep)
        with contextlib.chdir(keep.parent):
            result = command("-m", "hydra.sweep.dir=keep", "seed=0,1", *ONE, images)
        assert (result.status, result.err.count("\n")) == (1, 1), result.err
        assert content(keep) == before


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (["metrics.json"], "metrics.json is gone, but checkpoints/best.ckpt is there"),
        ([".hydra"], "already holds a run"),
        (["metrics.json", ".hydra"], "already holds"),
        (["metrics.json", "checkpoints"], "metrics.json is gone, but tensorboard is there"),
    ],
    ids=["metrics", "hidden", "both", "results"],
)
@pytest.mark.slow
def test_a_job_that_lost_something_is_told_and_the_others_run(
    tmp_path: Path, done: Path, images: str, gone: list[str], words: str
) -> None:
    shutil.copytree(done, tmp_path / "outputs")
    jobs = {path.name: path for path in (tmp_path / "outputs" / "sweeps" / "s").iterdir() if path.is_dir()}
    job, other = (next(jobs[name] for name in jobs if f"seed-{seed}" in name) for seed in (0, 1))
    for name in gone:
        shutil.rmtree(job / name) if (job / name).is_dir() else (job / name).unlink()
    shutil.rmtree(other)
    before = content(job)
    result = train("-m", "sweep=s", "seed=0,1", *ONE, images, cwd=tmp_path)
    assert result.status == 1
    assert words in result.err
    after = content(job)
    after.pop(".lock", None)
    before.pop(".lock", None)
    assert after == before
    assert metrics(other)["status"] == "completed"


@pytest.mark.slow
def test_a_part_of_a_whole_job_that_is_gone_is_told(tmp_path: Path, images: str) -> None:
    both = ("-m", "sweep=s", "seed=0", *SMALL, "classifier.head.widths=[30,20,15,10]", images)
    with contextlib.chdir(tmp_path):
        assert command(*both).status == 0
        (job,) = (path for path in (tmp_path / "outputs" / "sweeps" / "s").iterdir() if path.is_dir())
        (job / "classifier" / "metrics.json").unlink()
        before = (job / "classifier" / "checkpoints" / "last.ckpt").read_bytes()
        result = command(*both)
        assert result.status == 1
        assert "metrics.json is gone" in result.err
        assert (job / "classifier" / "checkpoints" / "last.ckpt").read_bytes() == before
        shutil.rmtree(job / "autoencoder")
        again = command(*both)
        assert again.status == 1
        assert not (job / "autoencoder").exists()


@pytest.mark.slow
def test_a_refused_job_is_tried_again(tmp_path: Path, images: str) -> None:
    with contextlib.chdir(tmp_path):
        refused = command("-m", "sweep=s", "seed=-1,0", *ONE, images)
        assert refused.status == 1
        (job,) = (tmp_path / "outputs" / "sweeps" / "s").glob("*seed--1*")
        assert "seed=-1" in metrics(job)["error"]
        again = command("-m", "sweep=s", "seed=-1,0", *ONE, images)
        assert "seed=-1" in again.err
        assert "already holds" not in again.err


def test_a_run_that_lost_its_last_checkpoint_or_its_metrics_is_not_begun_anew(tmp_path: Path, images: str) -> None:
    with contextlib.chdir(tmp_path):
        arguments = ("stage=autoencoder", *SMALL[:2], "trainer.figures=false", "autoencoder.max_epochs=2")
        assert command(*arguments, images, "hydra.run.dir=run").status == 0
        run = tmp_path / "run"
        text = (run / "metrics.json").read_text()
        (run / "metrics.json").write_text(text.replace('"completed"', '"interrupted"'))
        (run / "checkpoints" / "last.ckpt").unlink()
        best = (run / "checkpoints" / "best.ckpt").read_bytes()
        result = command("resume=run")
        assert (result.status, result.err.count("\n")) == (1, 1)
        assert "last.ckpt is gone, after 2 epochs; resume=run/checkpoints/best.ckpt" in result.err
        (run / "metrics.json").unlink()
        result = command("resume=run")
        assert (result.status, result.err.count("\n")) == (1, 1)
        assert "metrics.json is gone" in result.err
        assert (run / "checkpoints" / "best.ckpt").read_bytes() == best


def test_of_two_claims_one_is_first(tmp_path: Path) -> None:
    require_unused(tmp_path / "run")
    first, second = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    first.claim({}, [])
    with pytest.raises(AeprobeError, match="another process is running it"):
        second.claim({}, [])
    first.release()
    with pytest.raises(AeprobeError, match="already holds a run"):
        second.claim({}, [])
