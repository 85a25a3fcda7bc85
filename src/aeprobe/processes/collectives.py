"""What the processes of one run tell each other. For a process that is alone, nothing happens here."""

import json
import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import aeprobe.runtime  # noqa: F401

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from aeprobe.errors import AeprobeError
from aeprobe.processes.launch import Place, here
from aeprobe.processes.signals import Interrupted, Interruption, Lost

T = TypeVar("T")
JOINING = timedelta(minutes=5)
LIMIT = timedelta(minutes=5)  # that a process waits for the others' part of one exchange
ALONE = timedelta(hours=1)  # that it waits where others may be at work: reading the data, drawing the figures
ASKING = 3.0  # seconds for the reason of another's end to arrive
_stores: list[Any] = []  # the group's, once it is joined
_groups, _places = count(), count()  # joined so far, and places where all processes have met


class OtherProcessError(Exception):
    """Something unexpected happened in another process of the run; its traceback is a note."""


def join(accelerator: str) -> Place:
    """Meets the other processes, once, and returns this one's place.

    Raises:
        AeprobeError: they do not come.
    """
    place = here()
    if place.world > 1 and not _stores:
        gpus = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        try:
            store, _, _ = next(rendezvous("env://", timeout=JOINING))
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpus else "gloo",
                store=PrefixStore("group", store),
                rank=place.rank,
                world_size=place.world,
                timeout=LIMIT,
            )
        except (RuntimeError, ValueError) as error:
            what = str(error).partition("\n")[0]
            raise AeprobeError(f"not all of {place.world} processes met: {what}") from error
        _stores.append(PrefixStore(f"run {next(_groups)}", store))
    return place


def leave() -> None:
    """Leaves the process group: torch's threads would not survive the end of the interpreter."""
    if _stores:
        dist.destroy_process_group()
        _stores.clear()


def on_rank_zero(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, in every process; the others wait for it."""
    if not _stores:
        return make()
    box: list[Any] = [make() if dist.get_rank() == 0 else None]
    barrier()  # as long as it takes: the exchange itself has a time limit
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    result: T = box[0]
    return result


def barrier() -> None:
    """Waits until every process is here, in Python, so that a signal is heard meanwhile."""
    if not _stores:
        return
    place, end, pause = f"place {next(_places)}", time.monotonic() + ALONE.total_seconds(), 0.001
    arrived = _stores[0].add(place, 1)
    while arrived < dist.get_world_size():
        if _stores[0].check(["end"]):
            raise OtherProcessError("another process has ended")
        if time.monotonic() > end:
            raise TimeoutError(f"timed out after {ALONE}")
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
        arrived = _stores[0].add(place, 0)
    mean(torch.zeros(1))  # the first one, which keeps the count, stays until all have read it


def mean(values: Tensor) -> Tensor:
    """The mean over the processes, on the CPU."""
    if not _stores:
        return values
    total = values.detach().cpu().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def gather_in_sample_order(parts: Sequence[Tensor]) -> Tensor:
    """The samples of all processes, in the order of the split.

    Args:
        parts: of each batch what this process measured: every world-th sample of it, from its rank on.
    """
    if not _stores:
        return torch.cat(list(parts))
    world = dist.get_world_size()
    found: list[Any] = [None] * world
    dist.all_gather_object(found, [part.cpu() for part in parts])
    whole = []
    for batch in zip(*found, strict=True):  # of which the later ones may have nothing
        merged = batch[0].new_empty((sum(map(len, batch)), *batch[0].shape[1:]))
        for rank, part in enumerate(batch):
            merged[rank::world] = part
        whole.append(merged)
    return torch.cat(whole)


@contextmanager
def reraise_first_failure(interruption: Interruption) -> Iterator[None]:
    """Raises, in every process, the error of the process that failed first.

    The others would only notice that it is gone.

    Raises:
        AeprobeError: as it was raised, in whichever process.
        Interrupted: a process was told to stop, or (Lost) is gone without a word.
        OtherProcessError: another process failed unexpectedly.
    """
    try:
        yield
    except BaseException as error:
        if not _stores or interruption.ending:  # alone, or known already
            raise
        interruption.ending = True  # who starts the processes also ends them, once one has ended
        cause = _cause(error)
        if cause is error:
            raise
        raise cause from error


def _cause(error: BaseException) -> BaseException:
    """The first of all processes' errors; it is agreed upon in the store."""
    rank, world = dist.get_rank(), dist.get_world_size()
    if TIMED_OUT.search(str(error)) and isinstance(error, RuntimeError | TimeoutError):
        limit = ALONE if isinstance(error, TimeoutError) else LIMIT
        minutes = f"{limit.total_seconds() / 60:.3g} minutes"
        return Lost(f"one of its {world} processes, which did not answer for {minutes}")
    lost = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and LOST.search(str(error)))
    try:
        cause = _read() if lost else _tell(error, rank)
    except RuntimeError:  # the store's owner is gone
        cause = None
    if cause is None:
        return Lost(f"the loss of one of its {world} processes", " (killed, or out of memory?)") if lost else error
    if cause["rank"] == rank:
        return error
    if cause["signal"]:
        return Interrupted(cause["signal"])
    if cause["expected"]:
        return AeprobeError(cause["text"])
    other = OtherProcessError(f"rank {cause['rank']} of {world}: {cause['text']}")
    other.add_note(cause["traceback"])
    return other


TIMED_OUT = re.compile(r"timed out|timeout", re.IGNORECASE)
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket", re.IGNORECASE)


def _tell(error: BaseException, rank: int) -> Any:
    """Says why this process ends, and returns what the first to end has said."""
    expected = isinstance(error, AeprobeError)
    text = str(error).partition("\n")[0]
    mine = {
        "rank": rank,
        "signal": error.signum if isinstance(error, Interrupted) else None,
        "expected": expected,
        "text": text if expected else f"{type(error).__name__}: {text}",
        "traceback": "".join(traceback.format_exception(error)),
    }
    return json.loads(_stores[0].compare_set("end", "", json.dumps(mine)))


def _read() -> Any:
    """What another process has said of its end; None: nothing."""
    end = time.monotonic() + ASKING
    while not _stores[0].check(["end"]):
        if time.monotonic() > end:
            return None
        time.sleep(0.05)
    return json.loads(_stores[0].get("end"))
