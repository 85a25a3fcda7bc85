"""Whatever ends one process of a run ends all of them, and the run goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import command
from conftest import TYPED, metrics, train
from launches import SMALL, environment, run_patched, slurm, srun, together
from same_runs import same, wait_for
from warm import TRAIN

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


def begin(cwd: Path, *arguments: str) -> tuple["subprocess.Popen[str]", list[int]]:
    """Start a long run of two processes, and return it and its children when an epoch is saved."""
    last = cwd / "run" / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns if last.exists() else 0
    typed, pipe = [sys.executable, TRAIN, *arguments], subprocess.PIPE
    parent = subprocess.Popen(typed, cwd=cwd, env=environment(), stdout=pipe, stderr=pipe, text=True)
    wait_for(lambda: parent.poll() is not None or (last.exists() and last.stat().st_mtime_ns > before))
    assert parent.poll() is None, parent.communicate()
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    return parent, [int(child) for child in children]


def runs(pid: int) -> bool:
    """Whether a process is there, and not only its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the children in /proc")
def test_a_run_whose_processes_are_ended_goes_on_to_the_same_bits(cwd: Path) -> None:
    """A queue ends the first process; then something kills the other one."""
    parent, children = begin(cwd, "trainer=ddp", *CHANCE, "autoencoder.max_epochs=3000", "hydra.run.dir=run")
    parent.send_signal(signal.SIGTERM)
    _, err = parent.communicate(timeout=60)
    assert (parent.returncode, err) == (130, f"error: interrupted; go on with: {TYPED} resume=run\n")
    assert metrics(cwd / "run")["status"] == "interrupted"
    wait_for(lambda: not any(map(runs, children)), 10)
    parent, children = begin(cwd, "resume=run", "trainer.devices=2")
    os.kill(children[0], signal.SIGKILL)
    parent.communicate(timeout=60)
    assert parent.returncode != 0
    wait_for(lambda: not any(map(runs, children)), 10)
    longer = f"autoencoder.max_epochs={len(metrics(cwd / 'run')['epochs']) + 2}"
    result = train("resume=run", "trainer.devices=2", longer, cwd=cwd)
    assert result.status == 0, result.err
    results = srun(cwd, *CHANCE, longer, "hydra.run.dir=whole")
    assert [result.status for result in results] == [0, 0], results
    one, other = (cwd / name / "checkpoints" / "last.ckpt" for name in ("run", "whole"))
    assert same(checkpoints.read(one)["state_dict"], checkpoints.read(other)["state_dict"])


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_is_told(cwd: Path, rank: int) -> None:
    run = f"error_{rank}"
    body = f"if rank == {rank} and self.trainer.global_step == 9: raise AeprobeError('boom')"
    result = run_patched(cwd, body, *CHANCE, "autoencoder.max_epochs=3", f"hydra.run.dir={run}")
    assert result.status != 0
    line = "error: boom" if rank == 0 else "error: process 1 of 2: boom"
    assert line in result.err.splitlines()
    assert len(metrics(cwd / run)["epochs"]) == 1


REFUSED = [
    ("trainer.devices=2", ["trainer.devices=2", "add trainer=ddp"]),
    ("trainer=ddp trainer.devices=101", ["autoencoder.batch_size=100", "101 processes"]),
    ("trainer=ddp trainer.num_nodes=2", ["trainer.num_nodes=2", "torchrun --nnodes=2 --nproc-per-node=2"]),
    ("-m trainer=ddp seed=0,1", ["trainer=ddp", "has one process", "train.py trainer=ddp"]),
]


@pytest.mark.parametrize(("typed", "words"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_wrong_numbers_get_one_line_and_leave_nothing(
    tmp_path: Path, typed: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command(*typed.split())
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1, result.err
    for word in words:
        assert word in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("stage=all", "2 processes were started: trainer.strategy=auto has one process; add trainer=ddp"),
        ("trainer=ddp trainer.devices=4", "trainer.devices=4: 2 were started; drop the override"),
        ("-m seed=0,1", "2 processes were started: a job of a multirun has one process"),
    ],
)
def test_processes_that_srun_started_say_it_once(tmp_path: Path, typed: str, line: str) -> None:
    words = [TRAIN, *typed.split()]
    results = together([words, words], tmp_path, [slurm(0), slurm(1)])
    assert [result.status for result in results] == [1, 1]
    assert results[0].err.startswith(f"error: {line}")
    assert results[0].err.count("\n") == 1
    assert (results[1].err, [result.out for result in results]) == ("", ["", ""])
    assert list(tmp_path.iterdir()) == []
