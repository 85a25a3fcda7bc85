"""The place of this process in its run, as torchrun, srun or Lightning's launcher say. Needs no torch."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from aeprobe.config.schema import STAGES, Config
from aeprobe.errors import AeprobeError


class Place(NamedTuple):
    """A process among those of a run."""

    rank: int = 0  # counted from 0 over all machines
    world: int = 1  # number of processes
    local_world: int = 1  # number of processes on this machine

    @property
    def first(self) -> bool:
        """True for the process that makes the run directory, logs and writes, alone of all."""
        return self.rank == 0


def launched() -> Place | None:
    """Return this process's place among those that were started together; None: it was started alone."""
    variables = os.environ
    if "WORLD_SIZE" in variables:  # torchrun, or Lightning, which gives no RANK
        rank, world = variables.get("RANK", variables.get("LOCAL_RANK", "0")), variables["WORLD_SIZE"]
        return Place(int(rank), int(world), int(variables.get("LOCAL_WORLD_SIZE", world)))
    if int(variables.get("SLURM_STEP_NUM_TASKS", "1")) > 1:  # srun: a batch script has other variables
        world = variables["SLURM_STEP_NUM_TASKS"]
        each = variables.get("SLURM_NTASKS_PER_NODE", world)
        return Place(int(variables["SLURM_PROCID"]), int(world), int(each))
    return None


def here() -> Place:
    """Return the same; a process that was started alone is the first of one."""
    return launched() or Place()


def require_as_started(config: Config, typed: Mapping[str, str]) -> None:
    """Take the numbers of devices and machines from torchrun or srun, and refuse what contradicts them."""
    trainer, place = config.trainer, launched()
    if trainer.strategy != "ddp":
        several = [f"trainer.{name}={n}" for name in ("devices", "num_nodes") if (n := getattr(trainer, name)) > 1]
        many = [f"{place.world} processes were started"] if place and place.world > 1 else []
        if many or several:
            what = ", ".join(many + several)
            raise AeprobeError(f"{what}: trainer.strategy={trainer.strategy} has one process; add trainer=ddp")
        return
    if place is None and trainer.num_nodes > 1:
        raise AeprobeError(
            f"trainer.num_nodes={trainer.num_nodes}: several machines need torchrun or srun on each of them, "
            f"for example torchrun --nnodes={trainer.num_nodes} --nproc-per-node={trainer.devices} train.py …"
        )
    started = (("devices", place.local_world), ("num_nodes", place.world // place.local_world)) if place else ()
    for name, number in started:
        if f"trainer.{name}" in typed and getattr(trainer, name) != number:
            raise AeprobeError(f"{typed[f'trainer.{name}']}: {number} were started; drop the override")
        setattr(trainer, name, number)
    world = trainer.devices * trainer.num_nodes
    for stage in STAGES:
        size = getattr(config, stage).batch_size
        if config.stage.trains(stage) and size < world:
            raise AeprobeError(f"{stage}.batch_size={size}: {world} processes divide it; give {world} or more")
