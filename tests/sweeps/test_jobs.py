"""What the jobs of a multirun came to is known from themselves."""

import errno
import json
import os
import time
from pathlib import Path

import pytest
from conftest import Result, metrics, train
from hydra.core.utils import JobReturn, JobStatus
from images import write_folder
from jobs_here import JOBLIB, jobs

from aeprobe.sweeps import jobs as jobs_module
from aeprobe.sweeps.jobs import Job, Jobs, Outcome, UnfinishedError

TINY = (
    *("stage=autoencoder", "data=folder", "data.root=folder", "data.val_size=50", "trainer.figures=false"),
    *("autoencoder.network.widths=[784,30]", "autoencoder.max_epochs=1"),
)
FAILING = "autoencoder.optimizer.lr=1e-3,1e38"
NO_LOCKS = """
import fcntl, os
def flock(*_):
    raise OSError({number}, os.strerror({number}))
fcntl.flock = flock
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a small folder of images."""
    write_folder(tmp_path / "folder")
    return tmp_path


def sweep(cwd: Path, *arguments: str, environment: dict[str, str] | None = None) -> Result:
    return train("-m", "sweep=s", *TINY, *arguments, cwd=cwd, environment=environment)


def foreign(cwd: Path) -> None:
    """What others leave behind in a sweep's directory: none of it is a job of this command."""
    own = {"schema": 1, "stage": "autoencoder", "status": "failed", "error": "x", "seed": 0, "overrides": []}
    kinds = {
        "ours": json.dumps(own | {"config": {"stage": "autoencoder"}, "final": {}, "epochs": []}),
        "other": json.dumps({"accuracy": 0.5}),
        "none": "{",
    }
    for name, text in kinds.items():
        file = cwd / "outputs" / "sweeps" / "s" / name / "metrics.json"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        later = time.time() + 3600
        os.utime(file, (later, later))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), JOBLIB, ("hydra/launcher=submitit_local",)])
def test_the_status_is_that_of_the_commands_own_jobs_whatever_lies_beside_them(
    folder: Path, launcher: tuple[str, ...]
) -> None:
    foreign(folder)
    good = sweep(folder, "seed=0,1", *launcher)
    assert good.status == 0
    assert "error: " not in good.err
    bad = sweep(folder, "seed=0", FAILING, *launcher)
    assert bad.status == 1
    (failed,) = (job for job in jobs(folder) if "lr-1e-38" in job.name.replace("+", "-"))
    assert bad.err.splitlines()[-1] == f"error: 1 failed in outputs/sweeps/s: {failed.name}"
    assert metrics(failed)["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_the_status_does_not_depend_on_locks(folder: Path, number: int) -> None:
    (folder / "sitecustomize.py").write_text(NO_LOCKS.format(number=number))
    path = os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = sweep(folder, FAILING, environment={"PYTHONPATH": path})
    assert done.status == 1
    failed = [job.name for job in jobs(folder) if not _completed(job)]
    last = done.err.splitlines()[-1]
    assert last.startswith(f"error: {len(failed)} failed in outputs/sweeps/s: ")
    assert {*last.partition("/s: ")[2].split(", ")} == {*failed}


@pytest.mark.slow
def test_the_status_does_not_depend_on_the_clock_of_the_file_system(folder: Path) -> None:
    """Files that are written now are from an hour ago, as on a server whose clock lags."""
    (folder / "sitecustomize.py").write_text(
        "import os, time\nreplace = os.replace\ndef late(a, b):\n"
        "    os.utime(a, (time.time() - 3600,) * 2)\n    replace(a, b)\nos.replace = late\n"
    )
    path = os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = sweep(folder, FAILING, environment={"PYTHONPATH": path})
    assert done.status == 1
    assert "1 failed in outputs/sweeps/s: " in done.err.splitlines()[-1]


def _completed(job: Path) -> bool:
    return (job / "metrics.json").exists() and metrics(job)["status"] == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), JOBLIB])
@pytest.mark.parametrize(
    "typed", ["seed=0,0", "autoencoder.optimizer.lr=1e-3,0.001", "autoencoder.batch_size=50,'50'"]
)
def test_the_same_job_twice_is_one_job(folder: Path, typed: str, launcher: tuple[str, ...]) -> None:
    done = sweep(folder, typed, *launcher)
    assert (done.status, done.err) == (0, "")
    assert "1 of 2 jobs are the same as another" in done.out
    (job,) = jobs(folder)
    assert done.out.count("autoencoder epoch 1/1") == 1
    assert len(metrics(job)["epochs"]) == 1


@pytest.mark.slow
def test_a_failing_job_that_is_typed_twice_fails_once(folder: Path) -> None:
    done = sweep(folder, "seed=0,0,1", "autoencoder.optimizer.lr=1e38", "hydra.sweeper.max_batch_size=1")
    assert done.status == 1
    assert len(done.err.splitlines()) == 3  # each of the two jobs, and what the command says
    assert done.err.splitlines()[-1].startswith("error: 2 failed in outputs/sweeps/s: ")


def test_what_cannot_be_composed_is_refused_before_anything_is_written(folder: Path) -> None:
    for typed, said in (
        ("autoencoder.batch_size=50,abc", "autoencoder.batch_size=abc: Value 'abc'"),
        ("optimizer@autoencoder.optimizer=adam,nothing", "nothing"),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0: must be at least 1"),
        ("hydra.launcher.pre_dispatch=3", "hydra.launcher.pre_dispatch=3: has no effect here"),
    ):
        done = sweep(folder, typed, *JOBLIB[:1])
        assert done.status == 1
        (line,) = done.err.splitlines()
        assert said in line
        assert not (folder / "outputs").exists()


def test_a_job_that_the_queue_ended_says_what_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that was cancelled marks itself interrupted, and often its queue is faster than its word."""
    monkeypatch.setattr(Jobs, "ended", {})
    monkeypatch.setattr(Jobs, "directory", tmp_path)
    lost = JobReturn(status=JobStatus.FAILED, _return_value=UnfinishedError("lost"))
    for name, of_stages in {"both": ["completed", "interrupted"], "one": ["interrupted"], "none": []}.items():
        for stage, status in zip(("autoencoder", "classifier"), of_stages, strict=False):
            part = tmp_path / name / stage if len(of_stages) == 2 else tmp_path / name
            part.mkdir(parents=True)
            kept = {"schema": 1, "stage": stage, "status": status, "seed": 0, "overrides": []}
            (part / "metrics.json").write_text(json.dumps(kept | {"config": {}, "epochs": [], "final": {}}))
        found = jobs_module._note(Job([], name, ""), lost)
        assert found == Outcome("interrupted" if of_stages else "lost")
    assert Jobs.unfinished() == [
        f"2 interrupted, to go on by the same command in {tmp_path}: both, one",
        f"1 ended without a result in {tmp_path}: none",
    ]
    assert capsys.readouterr().err == ""
