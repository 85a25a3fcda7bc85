"""The processes of one run: which of them this is, and the start of the others. Needs no torch.

Who starts them says so in the environment: torchrun, srun, or this module, for `trainer=ddp` alone. Lightning's
own launcher is not used: under `-m` it would start the whole sweep once more.
"""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from aeprobe.config.schema import STAGES, Config
from aeprobe.errors import AeprobeError, tell
from aeprobe.paths import typed_in

CHILD = "AEPROBE_CHILD"  # set for those that `started` starts
PATIENCE = 15.0  # seconds that are given to a process to end by itself
_children: list[subprocess.Popen[bytes]] = []  # those that `started` has started


@dataclass(frozen=True)
class Place:
    """Which process of a run this is.

    Attributes:
        rank: counted from 0 over all machines; the first one makes the run directory, logs and writes.
        world: number of processes.
        local_rank: counted from 0 on this machine.
        local_world: number of processes on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def first(self) -> bool:
        """Whether it makes the run directory, logs and writes."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.world // self.local_world


def launched() -> Place | None:
    """This process's place among those that torchrun, srun or `started` has started; None: it was started alone.

    What Slurm says is also put into the environment as torchrun would say it, for Lightning and torch.

    Raises:
        AeprobeError: the numbers contradict each other.
    """
    os.environ |= from_slurm(os.environ)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(name in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
        return None
    try:
        rank, world, local_rank = (int(os.environ[name]) for name in names)
        place = Place(rank, world, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", world)))
    except ValueError:
        given = " ".join(f"{name}={os.environ[name]}" for name in names)
        raise AeprobeError(f"{given}: must be numbers; they are set by torchrun or srun, not by hand") from None
    if place.world != place.nodes * place.local_world:
        raise AeprobeError(
            f"{place.world} processes were started, {place.local_world} of them on this machine: "
            "start as many on each machine"
        )
    return place


def here() -> Place:
    """This process's place, alone if nobody has started it with others."""
    return launched() or Place()


def require_as_started(config: Config, typed: Mapping[str, str]) -> None:
    """Holds the numbers of devices and machines against those that torchrun or srun has started, which win.

    Raises:
        AeprobeError: they contradict what was typed, or a batch is smaller than the number of processes.
    """
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
    for name, number in (("devices", place.local_world), ("num_nodes", place.nodes)) if place else ():
        if f"trainer.{name}" in typed and getattr(trainer, name) != number:
            raise AeprobeError(f"{typed[f'trainer.{name}']}: {number} were started; drop the override")
        setattr(trainer, name, number)
    world = trainer.devices * trainer.num_nodes
    for stage in STAGES:
        size = getattr(config, stage).batch_size
        if config.stage.trains(stage) and size < world:
            raise AeprobeError(f"{stage}.batch_size={size}: {world} processes divide it; give {world} or more")


def from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would have set, from what srun has set; nothing outside of srun, or for one task.

    A batch script itself has SLURM_PROCID too: the SLURM_STEP_* are those of srun alone.

    >>> told = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    ...         "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "12"}
    >>> made = from_slurm(told)
    >>> made["RANK"], made["WORLD_SIZE"], made["LOCAL_RANK"], made["LOCAL_WORLD_SIZE"], made["MASTER_ADDR"]
    ('3', '4', '1', '2', 'gpu07')
    """
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "RANK" in environment or tasks == "1" or "SLURM_PROCID" not in environment:
        return {}
    node = int(environment.get("SLURM_NODEID", "0"))
    runs = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", tasks))
    per_node = [number for number, times in runs for _ in range(int(times or 1))]
    step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID", "0"))
    port = 10_000 + (int(environment.get("SLURM_JOB_ID", "0")) * 101 + int(step)) % 20_000
    address = _first_host(environment.get("SLURM_STEP_NODELIST", "")) if len(per_node) > 1 else "127.0.0.1"
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "LOCAL_WORLD_SIZE": per_node[node],
        "GROUP_RANK": str(node),
        "MASTER_ADDR": environment.get("MASTER_ADDR", address),
        "MASTER_PORT": environment.get("MASTER_PORT", str(port)),
    }


def _first_host(nodes: str) -> str:
    """The first name in Slurm's short form, such as node[3-5,9],login."""
    found = re.match(r"([^\[,]+)(?:\[(\d+))?", nodes)
    return found[1] + (found[2] or "") if found else "127.0.0.1"


@contextmanager
def started(number: int) -> Iterator[None]:
    """Makes this process the first of `number` on this machine, and starts the others with the same command.

    However this process ends, they do not outlive it: each holds one end of a pipe, and ends when the other
    end is closed. They have a session of their own, so that Ctrl-C in a terminal reaches this process alone.
    """
    environment = {
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    children = _children
    over = threading.Event()
    try:
        for rank in range(1, number):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), CHILD: "1"}
            children.append(
                subprocess.Popen(  # noqa: S603 - this command itself
                    [sys.executable, *sys.orig_argv[1:]],
                    env=os.environ | environment | place,
                    cwd=typed_in(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        os.environ |= environment | {"RANK": "0", "LOCAL_RANK": "0"}
        threading.Thread(target=_watch, args=(children, over), daemon=True).start()
        yield
        _wait(children, PATIENCE)
    finally:
        over.set()
        for name in (*environment, "RANK", "LOCAL_RANK"):
            os.environ.pop(name, None)
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        _wait(children, PATIENCE / 5)
        for child in children:
            child.kill()
            child.wait()
        children.clear()


def end(status: int) -> NoReturn:
    """Ends this process at once, and those that it has started, also one that is stopped."""
    for child in _children:
        child.kill()
    sys.stdout.flush()
    os._exit(status)


def follow() -> None:
    """Ends this process when the one that started it has ended, where that was `started`."""
    if os.environ.pop(CHILD, None):
        threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _watch(children: list[subprocess.Popen[bytes]], over: threading.Event) -> None:
    """Ends a first process that does not notice by itself that another is lost: nobody would come any more."""
    while not over.wait(0.2):
        lost = [child for child in children if child.poll() not in (None, 0)]
        if lost:
            if over.wait(PATIENCE):
                return
            status = lost[0].returncode
            tell(f"the process of rank {children.index(lost[0]) + 1} ended with status {status}")
            end(1)


def _wait(children: list[subprocess.Popen[bytes]], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(child.poll() is None for child in children):
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
