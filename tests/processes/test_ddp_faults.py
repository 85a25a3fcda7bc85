"""A run on several processes ends as a run on one does: whatever happens to which of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TYPED, metrics, train
from images import write_folder
from launches import SMALL, TORCHRUN, TRAIN, environment, run_patched, slurm, together

from aeprobe.models import checkpoints

# Chance in every process: shifts and dropout.
CHANCE = (
    *SMALL,
    "stage=autoencoder",
    "augmentation@autoencoder.augmentation=shift",
    "autoencoder.augmentation.pixels=2",
    "corruption@autoencoder.corruption=dropout",
    "autoencoder.corruption.p=0.1",
    "trainer.figures=false",
)
LONG = "autoencoder.max_epochs=3000"


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a small folder of images."""
    path = tmp_path_factory.mktemp("small")
    write_folder(path / "folder", 308)
    return path


def begin(cwd: Path, run: str) -> tuple["subprocess.Popen[str]", list[int]]:
    """Starts a long run of two processes, and returns it and its children when an epoch is saved."""
    command = [sys.executable, TRAIN, "trainer=ddp", *CHANCE, LONG, f"hydra.run.dir={run}"]
    parent = subprocess.Popen(
        command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not (cwd / run / "checkpoints" / "last.ckpt").exists():
        assert parent.poll() is None, parent.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    return parent, [int(child) for child in children]


def runs(pid: int) -> bool:
    """Whether a process is there, and not only its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


STOPPED = f"error: interrupted; go on with: {TYPED} resume={{}} trainer.devices=2\n"
LOST = (
    "error: interrupted by the loss of one of its 2 processes (killed, or out of memory?); "
    f"go on with: {TYPED} resume={{}} trainer.devices=2\n"
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the children in /proc")
@pytest.mark.parametrize(
    ("who", "how", "status", "line"),
    [
        ("parent", signal.SIGTERM, 143, STOPPED),
        ("parent", signal.SIGKILL, -9, ""),
        ("child", signal.SIGTERM, 143, STOPPED),
        ("child", signal.SIGKILL, 1, LOST),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_signal_to_one_process_ends_all_of_them(
    cwd: Path, who: str, how: signal.Signals, status: int, line: str
) -> None:
    run = f"{who}_{how.name}"
    parent, children = begin(cwd, run)
    os.kill(parent.pid if who == "parent" else children[0], how)
    _, err = parent.communicate(timeout=60)
    assert (parent.returncode, err) == (status, line.format(run))
    end = time.monotonic() + 5
    while any(map(runs, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [child for child in children if runs(child)] == []
    assert metrics(cwd / run)["status"] == (
        "running" if how == signal.SIGKILL and who == "parent" else "interrupted"
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the children in /proc")
def test_an_interrupted_run_goes_on_with_as_many_processes(cwd: Path) -> None:
    parent, _ = begin(cwd, "stopped")
    parent.terminate()
    assert parent.wait(timeout=60) == 143
    done = len(metrics(cwd / "stopped")["epochs"])
    shutil.copytree(cwd / "stopped", cwd / "other")
    longer = f"autoencoder.max_epochs={done + 2}"
    alone = train("resume=stopped", longer, cwd=cwd)
    assert (
        alone.err == "error: resume=stopped: was trained by 2 processes: to start them, type trainer.devices=2\n"
    )
    result = train("resume=stopped", "trainer.devices=2", longer, cwd=cwd)
    assert (result.status, result.err) == (0, "")
    result = train("trainer=ddp", *CHANCE, longer, "hydra.run.dir=whole", cwd=cwd)
    assert (result.status, result.err) == (0, "")
    whole, stopped = metrics(cwd / "whole"), metrics(cwd / "stopped")
    assert stopped["processes"] == 2
    assert whole["final"] == stopped["final"]
    weights = [
        checkpoints.read(cwd / run / "checkpoints" / "last.ckpt")["state_dict"] for run in ("whole", "stopped")
    ]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    three = [*TORCHRUN, "--nproc-per-node=3", TRAIN, "resume=other", longer]
    refused = together([three], cwd, [{"OMP_NUM_THREADS": "1"}])[0]  # else torchrun warns that it sets it
    assert refused.status == 1
    assert refused.err.startswith("error: resume=other: was trained by 2 processes, not 3: start as many again\n")
    assert metrics(cwd / "other")["status"] == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", ["AeprobeError", "RuntimeError"])
def test_an_error_in_one_process_is_told_once(cwd: Path, rank: int, kind: str) -> None:
    run = f"error_{kind}_{rank}"
    body = f"if rank == {rank} and self.trainer.global_step == 9: raise {kind}('boom')"
    result = run_patched(cwd, body, *CHANCE, "autoencoder.max_epochs=3", f"hydra.run.dir={run}")
    assert result.status == 1
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("error: ")
    assert "boom" in result.err
    found = metrics(cwd / run)
    assert (found["status"], len(found["epochs"])) == ("failed", 1)
    log = (cwd / run / "train.log").read_text()
    if kind == "RuntimeError":
        assert "the traceback is in" in result.err
        assert "in step" in log  # the function that raised it
        assert (f"rank {rank} of 2" in found["error"]) == (rank == 1)
    else:
        assert result.err == "error: boom\n"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_does_not_answer_ends_the_run_in_one_line(cwd: Path, rank: int) -> None:
    run = f"silent_{rank}"
    body = f"if rank == {rank} and self.trainer.global_step == 9: __import__('time').sleep(1000)"
    before = (
        "from datetime import timedelta\n"
        "from aeprobe.processes import collectives, launch\n"
        "collectives.LIMIT, launch.PATIENCE = timedelta(seconds=4), 3.0"
    )
    began = time.monotonic()
    result = run_patched(cwd, body, *CHANCE, "autoencoder.max_epochs=3", f"hydra.run.dir={run}", before=before)
    assert time.monotonic() - began < 120
    assert result.status == 1
    if rank == 1:
        assert result.err == (
            "error: interrupted by one of its 2 processes, which did not answer for 0.0667 minutes; "
            f"go on with: {TYPED} resume={run} trainer.devices=2\n"
        )
        assert metrics(cwd / run)["status"] == "interrupted"
    else:  # it is the first process that sleeps, and cannot say more
        assert result.err == "error: the process of rank 1 ended with status 1\n"


@pytest.mark.slow
def test_work_of_the_first_process_alone_has_another_limit(cwd: Path) -> None:
    before = (
        "from datetime import timedelta\n"
        "from aeprobe.figures import gallery\nfrom aeprobe.processes import collectives\n"
        "collectives.LIMIT = timedelta(seconds=4)\n"
        "draw = gallery.Gallery.draw\n"
        "gallery.Gallery.draw = lambda *given: (__import__('time').sleep(8), draw(*given))"
    )
    arguments = (*CHANCE[:-1], "autoencoder.max_epochs=1", "hydra.run.dir=slowly")
    result = run_patched(cwd, "pass", *arguments, before=before)
    assert (result.status, result.err) == (0, "")
    assert metrics(cwd / "slowly")["status"] == "completed"
    assert metrics(cwd / "slowly")["seconds"]["figures"] > 8


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the children in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_while_another_process_is_waited_for(cwd: Path, how: signal.Signals) -> None:
    run = f"deaf_{how.name}"
    parent, children = begin(cwd, run)
    os.kill(children[0], signal.SIGSTOP)
    time.sleep(1)
    parent.send_signal(how)
    _, err = parent.communicate(timeout=60)
    assert (parent.returncode, err) == (128 + how, STOPPED.format(run))
    assert [child for child in children if runs(child)] == []
    assert metrics(cwd / run)["status"] == "interrupted"


REFUSED = [
    ("trainer.devices=2", ["trainer.devices=2", "add trainer=ddp"]),
    ("trainer=ddp trainer.strategy=fsdp", ["trainer.strategy=fsdp", "one of auto, ddp"]),
    ("trainer=ddp trainer.devices=0", ["trainer.devices=0", "at least 1"]),
    ("trainer=ddp trainer.devices=101", ["autoencoder.batch_size=100", "101 processes"]),
    ("trainer=ddp classifier.batch_size=1", ["classifier.batch_size=1", "give 2 or more"]),
    ("trainer=ddp trainer.num_nodes=2", ["trainer.num_nodes=2", "torchrun --nnodes=2 --nproc-per-node=2"]),
    ("-m trainer=ddp seed=0,1", ["trainer=ddp", "has one process", "train.py trainer=ddp"]),
    ("--multirun trainer.strategy=ddp seed=0,1", ["trainer.strategy=ddp", "drop -m"]),
]


@pytest.mark.parametrize(("typed", "words"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_wrong_numbers_get_one_line_and_leave_nothing(tmp_path: Path, typed: str, words: list[str]) -> None:
    result = train(*typed.split(), cwd=tmp_path)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1, result.err
    for word in words:
        assert word in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_devices_that_are_not_here_get_one_line(tmp_path: Path, root: Path) -> None:
    number = torch.cuda.device_count() + 2
    typed = ("trainer=ddp", "trainer.accelerator=gpu", f"trainer.devices={number}", f"data.root={root}")
    result = train(*typed, cwd=tmp_path)
    assert (result.status, result.err.count("\n")) == (1, 1), result.err
    assert result.err.startswith(f"error: trainer.accelerator=gpu trainer.devices={number}: ")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("stage=all", "2 processes were started: trainer.strategy=auto has one process; add trainer=ddp"),
        ("trainer=ddp trainer.devices=4", "trainer.devices=4: 2 were started; drop the override"),
        ("-m trainer=ddp seed=0,1", "trainer=ddp: a job of a multirun has one process"),
        ("-m seed=0,1", "2 processes were started: a job of a multirun has one process"),
    ],
)
def test_processes_that_srun_started_say_it_once(tmp_path: Path, typed: str, line: str) -> None:
    command = [sys.executable, TRAIN, *typed.split()]
    results = together([command, command], tmp_path, [slurm(0), slurm(1)])
    assert [result.status for result in results] == [1, 1]
    assert results[0].err.startswith(f"error: {line}")
    assert results[0].err.count("\n") == 1
    assert (results[1].err, [result.out for result in results]) == ("", ["", ""])
    assert list(tmp_path.iterdir()) == []
