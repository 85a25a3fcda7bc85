"""A run writes into a directory of its own alone, and a refusal leaves nothing behind."""

import contextlib
from pathlib import Path

import pytest
from command import command
from conftest import metrics
from images import write_folder

from aeprobe.errors import AeprobeError
from aeprobe.runs.rundir import RunDirectory, discard_unused, require_unused

SMALL = (
    *("stage=autoencoder", "data=folder", "data.root=folder", "data.val_size=50"),
    *("trainer.figures=false", "trainer.limit_epochs=1"),
)


def content(path: Path) -> dict[str, bytes]:
    """Every file and directory below; what is in the files."""
    return {str(found): found.read_bytes() if found.is_file() else b"/" for found in path.rglob("*")}


def put(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("precious")


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("metrics.json", "a run"),
        ("checkpoints/best.ckpt", "checkpoints/best.ckpt"),
        (".hidden", ".hidden"),
        ("autoencoder/metrics.json", "a run"),
        ("classifier/checkpoints/last.ckpt", "classifier/checkpoints/last.ckpt"),
        (".hydra/config.yaml", ".hydra/config.yaml"),
    ],
)
def test_a_directory_that_holds_anything_is_left_alone(tmp_path: Path, name: str, held: str) -> None:
    put(tmp_path / "keep" / name)
    before = content(tmp_path)
    with pytest.raises(
        AeprobeError, match=rf"keep already holds {held}: .*choose another hydra.run.dir=, or sweep="
    ):
        RunDirectory(tmp_path / "keep").claim({"config": {}, "overrides": []})
    assert content(tmp_path) == before


def test_an_empty_directory_and_what_a_killed_start_left_may_be_used(tmp_path: Path) -> None:
    for name in (".lock", ".metrics.json.x"):
        put(tmp_path / "killed" / "autoencoder" / name)
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    for name in ("killed/autoencoder", "empty", "new"):
        require_unused(tmp_path / name)
        RunDirectory(tmp_path / name).claim({"status": "running", "config": {"seed": 1}, "overrides": ["seed=1"]})
        assert metrics(tmp_path / name)["status"] == "running"
        assert (tmp_path / name / ".hydra" / "config.yaml").read_text() == "seed: 1\n"


def test_of_two_claims_one_is_first(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    first.lock = lambda: second.claim({"seed": 2})  # type: ignore[method-assign] # it comes in between
    with pytest.raises(AeprobeError, match="already holds a run"):
        first.claim({"seed": 1})
    assert metrics(tmp_path / "run") == {"seed": 2}
    with pytest.raises(AeprobeError, match="another process is running it"):
        RunDirectory(tmp_path / "run").lock()


def test_a_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    put(tmp_path / "outputs" / "notes.txt")
    before = content(tmp_path)
    with contextlib.chdir(tmp_path):
        for typed in ("hydra.run.dir=new/er/run", "outputs=outputs", "outputs=deep/er"):
            assert command(typed, "seed=-1").status == 1
            assert content(tmp_path) == before, typed
        with contextlib.chdir(tmp_path / "outputs"):
            discard_unused(Path())
            assert (tmp_path / "outputs").is_dir(), "where one is stays"


def test_a_job_that_lost_something_is_told_and_the_others_run(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder")
    with contextlib.chdir(tmp_path):
        assert command("-m", "sweep=s", "seed=0", *SMALL).status == 0
        (job,) = (tmp_path / "outputs" / "sweeps" / "s").glob("*seed-0*")
        (job / "metrics.json").unlink()
        before = content(job)
        result = command("-m", "sweep=s", "seed=0,1", *SMALL)
        assert result.status == 1
        assert f"{job.name} already holds" in result.err
        assert content(job) == before
        (other,) = (tmp_path / "outputs" / "sweeps" / "s").glob("*seed-1*")
        assert metrics(other)["status"] == "completed"


def test_a_refused_job_is_tried_again(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder")
    with contextlib.chdir(tmp_path):
        for _ in range(2):
            result = command("-m", "sweep=s", "seed=-1,0", *SMALL)
            assert result.status == 1
            assert "seed=-1" in result.err
            assert "already holds" not in result.err
            assert "(did not begin)" in result.err


def test_a_run_that_lost_its_last_checkpoint_is_not_begun_anew(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder")
    with contextlib.chdir(tmp_path):
        arguments = (*SMALL[:-1], "autoencoder.max_epochs=2")
        assert command(*arguments, "hydra.run.dir=run").status == 0
        run = tmp_path / "run"
        text = (run / "metrics.json").read_text()
        (run / "metrics.json").write_text(text.replace('"completed"', '"interrupted"'))
        (run / "checkpoints" / "last.ckpt").unlink()
        before = content(run)
        result = command("resume=run")
        assert (result.status, result.err.count("\n")) == (1, 1)
        assert "last.ckpt: cannot be read (No such file or directory)" in result.err
        assert content(run) == before
