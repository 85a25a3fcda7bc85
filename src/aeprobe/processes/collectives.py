"""Start the processes of one run, by Lightning, and let them talk to each other. One alone does nothing here."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import aeprobe.runtime  # noqa: F401

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from aeprobe.config.schema import TrainerConfig
from aeprobe.errors import AeprobeError, first_line, tell

T = TypeVar("T")
LIMIT = timedelta(hours=1)  # that a process waits for the others: the first one alone reads, and draws figures


@contextmanager
def processes(settings: TrainerConfig) -> Iterator[None]:
    """Start the other processes, or meet those that torchrun or srun has started, and leave them at the end."""
    if settings.devices * settings.num_nodes == 1:
        yield
        return
    gpus = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    strategy = DDPStrategy(process_group_backend="cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=LIMIT)
    try:
        where: dict[str, Any] = {name: getattr(settings, name) for name in ("accelerator", "devices", "num_nodes")}
        Fabric(strategy=strategy, **where).launch()
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise unavailable(settings, error) from error
    try:
        yield
    except BaseException as error:
        if dist.get_rank():  # the first tells the same, and ends all, unless it is another's error
            if isinstance(error, Exception):
                time.sleep(2)
                tell(f"process {dist.get_rank()} of {dist.get_world_size()}: {first_line(error)}")
            sys.stdout.flush()
            os._exit(1)
        for child in getattr(strategy.launcher, "procs", []):
            child.kill()
        raise
    finally:
        dist.destroy_process_group()


def unavailable(settings: TrainerConfig, error: Exception) -> AeprobeError:
    """Return the one line for devices that Lightning refuses."""
    return AeprobeError(
        f"trainer.accelerator={settings.accelerator} trainer.devices={settings.devices}: "
        f"{' '.join(str(error).split())} Use fewer devices, or trainer.accelerator=cpu or auto"
    )


def on_rank_zero(make: Callable[[], T]) -> T:
    """Return in every process what `make` returns in the first, or raise its AeprobeError in all."""
    if not dist.is_initialized():
        return make()
    box: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            box[0] = make()
        except AeprobeError as error:
            box[1] = str(error)
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    if box[1] is not None:
        raise AeprobeError(box[1])
    result: T = box[0]
    return result


def barrier() -> None:
    """Wait until every process is here."""
    mean(torch.zeros(1))


def mean(values: Tensor) -> Tensor:
    """Return the mean over the processes, on the CPU."""
    if not dist.is_initialized():
        return values
    total = values.detach().cpu().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def gather_in_sample_order(parts: Sequence[Tensor]) -> Tensor:
    """Return the samples of all processes in the split's order; each has every world-th one of each batch."""
    if not dist.is_initialized():
        return torch.cat(list(parts))
    world = dist.get_world_size()
    of_all: list[Any] = [None] * world
    dist.all_gather_object(of_all, [part.cpu() for part in parts])
    batches = []
    for batch in zip(*of_all, strict=True):  # of which the later ones may have nothing
        merged = batch[0].new_empty((sum(map(len, batch)), *batch[0].shape[1:]))
        for rank, part in enumerate(batch):
            merged[rank::world] = part
        batches.append(merged)
    return torch.cat(batches)
