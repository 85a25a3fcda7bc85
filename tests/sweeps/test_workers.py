"""Processes that run jobs beside the command: they hear its signals, and do not outlive it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import REPO, TYPED, metrics, train
from hydra.core.utils import JobReturn, JobStatus
from images import write_folder
from jobs_here import JOBLIB, jobs, told
from same_runs import wait_for
from tasks import giving, killed, process_id, wrong

from aeprobe.errors import AeprobeError
from aeprobe.sweeps.jobs import UnfinishedError
from aeprobe.sweeps.workers import Workers

LONG = (
    *("sweep=s", "stage=autoencoder", "data=folder", "data.root=folder", "data.val_size=50"),
    *("trainer.figures=false", "autoencoder.network.widths=[784,30]"),
)


@pytest.fixture
def two() -> Iterator[Workers]:
    workers = Workers(2, {"OMP_NUM_THREADS": "1"})
    yield workers
    workers.end()


def values(returned: list[JobReturn]) -> list[object]:
    return [done._return_value for done in returned]


def test_each_task_is_done_once_and_processes_are_kept(two: Workers) -> None:
    assert values(two.run([partial(giving, n) for n in range(5)], print)) == [0, 1, 2, 3, 4]
    pids = values(two.run([process_id] * 6, print))
    assert 1 <= len({*pids}) <= 2
    assert {*values(two.run([process_id] * 2, print))} <= {*pids}
    two.end()
    assert not any(alive(pid) for pid in pids)


def test_a_killed_process_ends_its_own_task_alone(two: Workers) -> None:
    lost: list[tuple[int, str]] = []
    tasks = [partial(giving, "a"), killed, partial(giving, "b"), wrong, partial(giving, "c")]
    found = two.run(tasks, lambda index, how: lost.append((index, how)))
    assert [done._return_value for done in found if done.status == JobStatus.COMPLETED] == ["a", "b", "c"]
    end, error = found[1]._return_value, found[3]._return_value
    assert isinstance(end, UnfinishedError)
    assert end.status == "lost"
    assert isinstance(error, AeprobeError)
    assert str(error) == "ValueError: wrong"
    assert lost == [(1, "its process was ended by SIGKILL (killed, or out of memory?)")]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_is_passed_on_and_the_rest_is_left(tmp_path: Path, signum: int) -> None:
    code = f"""
import os, signal, sys, threading, time
from functools import partial
from pathlib import Path
sys.path.insert(0, {str(REPO / "tests")!r})
from tasks import waiting
from aeprobe.processes.signals import Interrupted
from aeprobe.sweeps.workers import Workers
files = [Path({str(tmp_path)!r}, name) for name in "abc"]
def tell():
    while not all(file.exists() for file in files[:2]):
        time.sleep(0.05)
    os.kill(os.getpid(), {int(signum)})
threading.Thread(target=tell).start()
try:
    Workers(2, {{}}).run([partial(waiting, file) for file in files], print)
except Interrupted as error:
    sys.exit(error.status)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130 if signum == signal.SIGINT else 143, "")
    pids = [int(file.read_text()) for file in sorted(tmp_path.iterdir())]
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)


def alive(pid: object) -> bool:
    """Whether a process runs; one that has ended and that nobody waits for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(number) for number in found.stdout.split()]


def begin(cwd: Path, *arguments: str, begun: int) -> "subprocess.Popen[str]":
    """A sweep, once so many of its jobs have trained an epoch."""
    write_folder(cwd / "folder")
    command = [sys.executable, str(REPO / "train.py"), "-m", *LONG, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process: subprocess.Popen[str] = subprocess.Popen(command, cwd=cwd, **pipes)  # type: ignore[call-overload]
    wait_for(lambda: sum('"epoch": 2' in path.read_text() for path in cwd.rglob("metrics.json")) >= begun)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("launcher", [(), JOBLIB])
def test_a_signal_ends_the_jobs_and_the_line_goes_on_with_them(
    tmp_path: Path, signum: int, status: int, launcher: tuple[str, ...]
) -> None:
    long = "autoencoder.max_epochs=200"
    process = begin(tmp_path, *launcher, long, "seed=0,1,2", begun=2 if launcher else 1)
    workers = children(process.pid)
    assert len(workers) == (2 if launcher else 0)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert not any(alive(pid) for pid in workers)
    (line,) = err.splitlines()
    assert line.startswith(f"error: interrupted; go on with: {TYPED} -m ")
    before = {job: metrics(job) for job in jobs(tmp_path)}
    assert {run["status"] for run in before.values()} == {"interrupted"}
    assert len(before) == (2 if launcher else 1)

    if signum == signal.SIGTERM:  # the same for all
        again = train(*told(line), cwd=tmp_path)
        assert (again.status, again.err) == (0, "")
        assert again.out.count("was interrupted, goes on") == len(before)
        after = {job: metrics(job) for job in jobs(tmp_path)}
        assert [(run["status"], len(run["epochs"])) for run in after.values()] == [("completed", 200)] * 3
        for job, run in before.items():
            for row, earlier in zip(after[job]["epochs"], run["epochs"], strict=False):
                assert row | {"seconds": 0} == earlier | {"seconds": 0}


@pytest.mark.slow
def test_the_line_names_a_sweep_that_had_no_name(tmp_path: Path) -> None:
    arguments = [*JOBLIB, "autoencoder.max_epochs=3000", "seed=0"]
    write_folder(tmp_path / "folder")
    command = [sys.executable, str(REPO / "train.py"), "-m", *LONG[1:], *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for(lambda: any('"epoch": 2' in path.read_text() for path in tmp_path.rglob("metrics.json")))
    process.terminate()
    _, err = process.communicate(timeout=60)
    (directory,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert told(err.strip()) == [*command[2:], f"sweep={directory.name}"]


@pytest.mark.slow
def test_no_process_outlives_a_command_that_is_killed(tmp_path: Path) -> None:
    process = begin(tmp_path, *JOBLIB, "autoencoder.max_epochs=3000", "seed=0,1,2", begun=2)
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not any(alive(pid) for pid in workers))
    assert len(jobs(tmp_path)) == 2  # the third did not begin


@pytest.mark.slow
def test_a_job_whose_process_is_killed_is_named_and_the_others_stand(tmp_path: Path) -> None:
    process = begin(tmp_path, *JOBLIB, "autoencoder.max_epochs=150", "seed=0,1,2", begun=2)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1
    found = {job.name: metrics(job)["status"] for job in jobs(tmp_path)}
    (lost,) = (name for name, status in found.items() if status != "completed")
    assert len(found) == 3
    assert err == f"error: 1 ended without a result in outputs/sweeps/s: {lost}\n"
    assert "ended without a result: its process was ended by SIGKILL" in out
    again = train("-m", *LONG, *JOBLIB, "autoencoder.max_epochs=150", "seed=0,1,2", cwd=tmp_path)
    assert (again.status, again.err) == (0, "")
    assert again.out.count("completed before, with the same settings") == 2
