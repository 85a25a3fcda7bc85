"""Who a process is, what its part of a batch is, and how many threads it has."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from launches import slurm

from aeprobe import runtime
from aeprobe.data.sampler import EpochBatches, batches_in_order
from aeprobe.processes import launch


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An environment without a launcher's words; put back afterwards."""
    before = dict(os.environ)
    for name in [n for n in os.environ if n.startswith("SLURM_") or n in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]:
        monkeypatch.delenv(name)
    yield os.environ  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(before)


def test_a_place_is_what_torchrun_or_srun_says(variables: dict[str, str]) -> None:
    assert launch.launched() is None
    assert launch.here() == launch.Place(0, 1, 0, 1)
    words = {"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    variables.update(words, RANK="4", LOCAL_RANK="1")
    place = launch.here()
    assert (place, place.nodes, place.first) == (launch.Place(4, 6, 1, 3), 2, False)
    variables.update(slurm(0), SLURM_STEP_NUM_TASKS="8")  # torchrun inside of srun
    assert launch.here() == place


def test_sruns_words_become_torchruns(variables: dict[str, str]) -> None:
    told = slurm(
        5, SLURM_STEP_NUM_TASKS="6", SLURM_STEP_TASKS_PER_NODE="2(x3)", SLURM_LOCALID="1", SLURM_NODEID="2"
    )
    made = launch.from_slurm(told | {"SLURM_STEP_NODELIST": "gpu[07-09]", "SLURM_JOB_ID": "4711"})
    assert (made["RANK"], made["WORLD_SIZE"], made["LOCAL_RANK"], made["LOCAL_WORLD_SIZE"]) == ("5", "6", "1", "2")
    assert (made["GROUP_RANK"], made["MASTER_ADDR"]) == ("2", "gpu07")
    assert 10_000 <= int(made["MASTER_PORT"]) < 30_000
    variables.update(told)
    assert (launch.here().nodes, launch.here().local_world) == (3, 2)
    names = {"a[1,3]": "a1", "a,b": "a", "n-2": "n-2", "n[010-020],m": "n010"}
    for nodes, address in names.items():
        assert launch.from_slurm(told | {"SLURM_STEP_NODELIST": nodes})["MASTER_ADDR"] == address
    assert launch.from_slurm({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) == {}  # a batch script, not srun
    assert launch.from_slurm(slurm(0, SLURM_STEP_NUM_TASKS="1")) == {}


def test_parts_make_up_every_batch() -> None:
    cases = ((1001, 100, 2), (301, 50, 4), (7, 3, 3), (5, 100, 8), (303, 100, 2), (1, 10, 2), (6, 1, 2), (9, 4, 1))
    for size, batch, world in cases:
        samplers = [EpochBatches(size, batch, 0, rank, world) for rank in range(world)]
        for number, parts in enumerate(zip(*samplers, strict=True)):
            whole = list(EpochBatches(size, batch, 0))[number]
            shares = [sampler.share(number) for sampler in samplers]
            taken = [part for part, share in zip(parts, shares, strict=True) if share]
            assert torch.equal(torch.cat(taken).sort().values, whole.sort().values)
            assert [share for share in shares if share] == pytest.approx(
                [len(part) * world / len(whole) for part in taken]
            )
            assert sum(shares) == pytest.approx(world)
            assert min(map(len, parts)) >= min(2, len(whole)), "a batch norm has no variance of one"
            assert samplers[0].sizes[number] == len(whole)
        parts_in_order = [batches_in_order(size, batch, rank, world) for rank in range(world)]
        seen = torch.cat([part for parts in parts_in_order for part in parts])
        assert seen.sort().values.tolist() == list(range(size))
        assert {len(parts) for parts in parts_in_order} == {-(-size // batch)}  # or they wait for one another


def test_threads_are_divided(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        variables.pop("OMP_NUM_THREADS", None)
        monkeypatch.setattr(runtime, "CHOICE", 6)  # torch's, when the process began
        assert runtime.threads(None) == 6
        assert runtime.threads(None, 2) == 3
        assert runtime.threads(None, 8) == 1
        assert runtime.threads(4, 8) == 4  # of each, as typed
        assert runtime.threads(None) == 6 == torch.get_num_threads()  # another job's number does not stay
        variables["OMP_NUM_THREADS"] = "4"  # torchrun has divided, and torch has chosen that
        monkeypatch.setattr(runtime, "CHOICE", 4)
        assert runtime.threads(None, 2) == 4
    finally:
        torch.set_num_threads(before)


ENDS = """
import os, signal, subprocess, sys
from aeprobe.processes import launch
stays = "kept = b'x' * 200_000_000; print(flush=True); input()"  # what takes a moment to be given back
launch._children.append(launch.Child([sys.executable, "-c", stays], {}, stdout=subprocess.PIPE))
launch._children[0].stdout.readline()
os.kill(launch._children[0].pid, signal.SIGSTOP)
print(launch._children[0].pid)
launch.end(3)
"""


@pytest.mark.skipif(os.name != "posix", reason="stops a process")
def test_no_process_outlives_the_one_that_started_it() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (3, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
