"""Who a process is, what its part of a batch is, and how many threads it has."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from launches import slurm

from aeprobe import runtime
from aeprobe.data.sampler import EpochBatches, batches_in_order
from aeprobe.errors import SIGNALS, end_by_signals
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


def test_a_place_is_what_torchrun_lightning_or_srun_says(variables: dict[str, str]) -> None:
    assert launch.launched() is None
    assert launch.here() == launch.Place(0, 1, 1)
    variables.update(slurm(1), SLURM_STEP_NUM_TASKS="6", SLURM_NTASKS_PER_NODE="2", SLURM_PROCID="3")
    assert launch.here() == launch.Place(3, 6, 2)
    variables.update(WORLD_SIZE="2", LOCAL_RANK="1")  # Lightning's launcher, inside of srun
    assert launch.here() == launch.Place(1, 2, 2)
    variables.update(WORLD_SIZE="6", LOCAL_WORLD_SIZE="3", RANK="4")
    assert (launch.here(), launch.here().first) == (launch.Place(4, 6, 3), False)


def test_parts_make_up_every_batch() -> None:
    cases = ((1001, 100, 2), (301, 50, 4), (7, 3, 3), (5, 100, 8), (303, 100, 2), (1, 10, 2), (6, 1, 2), (9, 4, 1))
    for size, batch, world in cases:
        samplers = [EpochBatches(size, batch, 0, rank, world) for rank in range(world)]
        for number, parts in enumerate(zip(*samplers, strict=True)):
            whole = list(EpochBatches(size, batch, 0))[number]
            shares = [sampler.shares[number].item() for sampler in samplers]
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


def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(runtime, "CHOICE", 6)  # torch's, when the process began
    monkeypatch.setattr(runtime, "DIVIDED", False)
    try:
        for number, processes, expected in ((None, 1, 6), (None, 2, 3), (None, 8, 1), (4, 8, 4), (None, 1, 6)):
            runtime.threads(number, processes)
            assert torch.get_num_threads() == expected
        monkeypatch.setattr(runtime, "DIVIDED", True)  # by torchrun or joblib
        runtime.threads(None, 2)
        assert torch.get_num_threads() == 6
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_each_signal_that_a_queue_or_a_person_sends_is_ctrl_c(name: str) -> None:
    before = {one: signal.getsignal(getattr(signal, one)) for one in SIGNALS}
    try:
        end_by_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(getattr(signal, name))
    finally:
        for one, handler in before.items():
            signal.signal(getattr(signal, one), handler)
