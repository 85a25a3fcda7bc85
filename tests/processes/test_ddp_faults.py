"""Whatever ends one process of a run ends all of them, and the run goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command import command
from conftest import TYPED, metrics, train
from images import write_folder
from launches import SMALL, environment, run_patched, slurm, srun, together
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
LONG = "autoencoder.max_epochs=3000"


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a small folder of images."""
    path = tmp_path_factory.mktemp("small")
    write_folder(path / "folder", 308)
    return path


def begin(cwd: Path, run: str) -> tuple["subprocess.Popen[str]", list[int]]:
    """Starts a long run of two processes, and returns it and its children when an epoch is saved."""
    typed = [sys.executable, TRAIN, "trainer=ddp", *CHANCE, LONG, f"hydra.run.dir={run}"]
    parent = subprocess.Popen(
        typed, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the children in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_whose_process_is_ended_goes_on_to_the_same_bits(cwd: Path, how: signal.Signals) -> None:
    run = how.name
    parent, children = begin(cwd, run)
    os.kill(parent.pid if how == signal.SIGTERM else children[0], how)
    _, err = parent.communicate(timeout=60)
    if how == signal.SIGTERM:
        advice = f"error: interrupted; go on with: {TYPED} resume={run}\n"
        assert (parent.returncode, err) == (130, advice)
        assert metrics(cwd / run)["status"] == "interrupted"
    assert parent.returncode != 0
    end = time.monotonic() + 10
    while any(map(runs, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [child for child in children if runs(child)] == []
    longer = f"autoencoder.max_epochs={len(metrics(cwd / run)['epochs']) + 2}"
    result = train(f"resume={run}", "trainer.devices=2", longer, cwd=cwd)
    assert result.status == 0, result.err
    results = srun(cwd, *CHANCE, longer, f"hydra.run.dir=whole_{run}")
    assert [result.status for result in results] == [0, 0], results
    weights = [
        checkpoints.read(cwd / name / "checkpoints" / "last.ckpt")["state_dict"] for name in (run, f"whole_{run}")
    ]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


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
