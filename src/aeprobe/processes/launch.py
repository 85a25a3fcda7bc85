"""The processes of one run: which of them this is, and the start of the others. Needs no torch.

Who starts them says so in the environment: torchrun, srun, or `started` here, for `trainer=ddp` alone. It does so
itself because torchrun's agent is one more process that imports torch, and leaves its children behind when it is
killed; Lightning's launcher starts them at the fit, once the first process has read the data, and leaves them too.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from aeprobe.config.choices import Stage
from aeprobe.config.schema import STAGES, Config
from aeprobe.errors import AeprobeError, tell
from aeprobe.paths import typed_in

CHILD = "AEPROBE_CHILD"  # set for a `Child`
SLURMS = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEPID", "SLURM_NODEID", "SLURM_STEP_TASKS_PER_NODE")
PATIENCE = 15.0  # seconds that are given to a process to end by itself
_children: list["Child"] = []  # those that `started` has started


@dataclass(frozen=True)
class Place:
    """Which process of a run this is."""

    rank: int = 0  # counted from 0 over all machines
    world: int = 1  # number of processes
    local_rank: int = 0  # counted from 0 on this machine
    local_world: int = 1  # number of processes on this machine

    @property
    def first(self) -> bool:
        """Whether it makes the run directory, logs and writes, alone of all processes."""
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
    try:
        os.environ |= from_slurm(os.environ)
    except (ValueError, IndexError):
        told = " ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k in SLURMS)
        raise AeprobeError(f"{told}: must be numbers that fit each other, as srun sets them") from None
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
    if config.stage == Stage.probe and (trainer.strategy == "ddp" or (place and place.world > 1)):
        raise AeprobeError("stage=probe: computes in one process, with several threads; drop trainer=ddp")
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
    # The first of a list in Slurm's short form, such as node[3-5,9],login.
    first = re.match(r"([^\[,]+)(?:\[(\d+))?", environment.get("SLURM_STEP_NODELIST", ""))
    address = first[1] + (first[2] or "") if first and len(per_node) > 1 else "127.0.0.1"
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "LOCAL_WORLD_SIZE": per_node[node],
        "GROUP_RANK": str(node),
        "MASTER_ADDR": environment.get("MASTER_ADDR", address),
        "MASTER_PORT": environment.get("MASTER_PORT", str(port)),
    }


class Child(subprocess.Popen[bytes]):
    """A process that ends with this one, however that ends, if it calls `follow`.

    Its standard input is a pipe of signals, a byte for each, and it ends when the other end is closed. It has a
    session of its own, so that Ctrl-C in a terminal reaches this process alone. `environment` is added to that of
    this process, and `more` are subprocess.Popen's arguments.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], **more: Any) -> None:
        variables = os.environ | environment | {CHILD: "1"}
        super().__init__(command, env=variables, stdin=subprocess.PIPE, start_new_session=True, **more)

    def pass_on(self, signum: int) -> None:
        """Lets it hear a signal, unless it has ended."""
        assert self.stdin is not None
        with suppress(OSError):
            os.write(self.stdin.fileno(), bytes([signum]))


def follow() -> None:
    """In a `Child`: takes the signals that are passed on as its own, and ends with the process that began it."""
    if os.environ.pop(CHILD, None):
        threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    while told := os.read(0, 1):
        signal.pthread_kill(threading.main_thread().ident or 0, told[0])
    os._exit(1)


@contextmanager
def started(number: int) -> Iterator[None]:
    """Makes this process the first of `number` on this machine, and starts the others with the same command.

    Nothing happens for one process, or where torchrun or srun has started them. None of them outlives this one.
    """
    if number == 1 or launched() is not None:
        yield
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, *sys.orig_argv[1:]]
    over = threading.Event()
    try:
        for rank in map(str, range(1, number)):
            place = environment | {"RANK": rank, "LOCAL_RANK": rank}
            _children.append(Child(command, place, cwd=typed_in(), stdout=subprocess.DEVNULL))
        os.environ |= environment | {"RANK": "0", "LOCAL_RANK": "0"}
        threading.Thread(target=_watch, args=(over,), daemon=True).start()
        yield
        patient_until = time.monotonic() + PATIENCE
        while time.monotonic() < patient_until and any(child.poll() is None for child in _children):
            time.sleep(0.02)
    finally:
        over.set()
        for name in (*environment, "RANK", "LOCAL_RANK"):
            os.environ.pop(name, None)
        for child in _children:
            with child:  # waits for it
                child.kill()
        _children.clear()


def end(status: int) -> NoReturn:
    """Ends this process at once, and before it those that it has started, also one that is stopped."""
    for child in _children:
        child.kill()
    for child in _children:
        with suppress(subprocess.TimeoutExpired):  # with a timeout, since another thread may wait for it already
            child.wait(timeout=5)
    sys.stdout.flush()
    os._exit(status)


def _watch(over: threading.Event) -> None:
    """Ends a first process that does not notice by itself that another is lost: nobody would come any more."""
    while not over.wait(0.2):
        for rank, child in enumerate(_children, start=1):
            if child.poll():
                if over.wait(PATIENCE):
                    return
                tell(f"the process of rank {rank} ended with status {child.returncode}")
                end(1)
