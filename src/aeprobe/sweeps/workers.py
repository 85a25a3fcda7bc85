"""Processes beside the command that run jobs of a multirun, one after another, and end with it. Needs no torch.

joblib's own pool stops all jobs when one process is killed, passes no signal on, and outlives the command.
"""

import atexit
import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import FrameType

from hydra.core.utils import JobReturn, JobStatus

from aeprobe.errors import AeprobeError
from aeprobe.output import outlive_readers
from aeprobe.processes.launch import Child, follow
from aeprobe.processes.signals import Interrupted, Interruption
from aeprobe.sweeps.jobs import UnfinishedError

POLL = 0.1  # seconds until a signal is passed on
Task = Callable[[], JobReturn]
START = "import sys; sys.path[:] = {path!r}; from aeprobe.sweeps.workers import serve; serve({fd})"


class Worker(Child):
    """One of the processes, as the command sees it; `environment` is added to the command's own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.connection, theirs = Pipe()  # takes tasks, and gives back what became of each
        code = START.format(path=sys.path, fd=theirs.fileno())
        super().__init__([sys.executable, "-c", code], environment, pass_fds=[theirs.fileno()])
        theirs.close()
        self.told = 0  # signals that were passed on since its task began

    def give(self, task: Task) -> bool:
        """Hands a task over; returns whether anybody took it."""
        self.told = 0
        try:
            self.connection.send(task)
        except OSError:
            return False
        return True

    def end(self) -> int:
        """Ends it if it has not ended; returns its exit status, negative for a signal."""
        assert self.stdin is not None
        self.connection.close()
        self.stdin.close()
        try:
            return self.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()


class Workers:
    """Runs tasks in several processes, `size` at one time, and keeps the processes for later tasks."""

    def __init__(self, size: int, environment: Mapping[str, str]) -> None:
        self.size, self.environment = size, environment
        self._idle: list[Worker] = []
        self._busy: dict[Connection, tuple[int, Worker]] = {}
        atexit.register(self.end)

    def run(self, tasks: Sequence[Task], lost: Callable[[int, str], None]) -> list[JobReturn]:
        """Runs the tasks and waits for all of them.

        Args:
            tasks: functions that can be pickled.
            lost: told the index of a task whose process has ended, and how.

        Raises:
            Interrupted: a signal came. The tasks were told and have ended, unless it came three times.
        """
        left = deque(enumerate(tasks))
        done: dict[int, JobReturn] = {}
        heard = _Heard()
        with heard:
            while self._busy or (left and not heard.signum):
                while left and len(self._busy) < self.size and not heard.signum:
                    self._start(*left.popleft())
                for connection in wait(list(self._busy), POLL):
                    assert isinstance(connection, Connection)
                    number, worker = self._busy.pop(connection)
                    try:
                        done[number] = connection.recv()
                        self._idle.append(worker)
                    except (EOFError, OSError):
                        done[number] = JobReturn(status=JobStatus.FAILED, _return_value=UnfinishedError("lost"))
                        ended = _how(worker.end())
                        if not heard.signum:
                            lost(number, ended)
                for _, worker in self._busy.values():
                    while worker.told < heard.times:
                        worker.told += 1
                        worker.pass_on(heard.signum or signal.SIGTERM)
                if heard.times > 2:
                    break
        if heard.signum:
            raise Interrupted(heard.signum)
        return [done[number] for number in range(len(tasks))]

    def _start(self, number: int, task: Task) -> None:
        while self._idle:
            worker = self._idle.pop()
            if worker.give(task):
                break
            worker.end()
        else:
            worker = Worker(self.environment)
            worker.give(task)
        self._busy[worker.connection] = number, worker

    def end(self) -> None:
        """Ends the processes, whatever they do."""
        for worker in (*self._idle, *(worker for _, worker in self._busy.values())):
            worker.end()
        self._idle.clear()
        self._busy.clear()


class _Heard(Interruption):
    """Notes each signal: the jobs are told, and the command waits for them."""

    times = 0

    def _hear(self, signum: int, _frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        self.times += 1


def _how(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    return f"its process was ended by {signal.Signals(-status).name} (killed, or out of memory?)"


def serve(fd: int) -> None:
    """What such a process does: one task after the other, from its end of the connection, until no more come."""
    outlive_readers()
    connection = Connection(fd)
    with Interruption():
        try:
            follow()
            while True:
                connection.send(_returned(connection.recv()))
                sys.stdout.flush()
        except (EOFError, OSError, Interrupted):
            os._exit(0)  # a second signal would find it on its way out


def _returned(task: Task) -> JobReturn:
    """What the command needs of a job's return; an error in it, or instead of it, must not end the other jobs."""
    try:
        done = task()
        status, value = done.status, done._return_value
    except (KeyboardInterrupt, Interrupted):
        status, value = JobStatus.FAILED, UnfinishedError("interrupted")
    except Exception as error:  # of Hydra, before the job began
        status, value = JobStatus.FAILED, error
    if isinstance(value, Exception) and not isinstance(value, AeprobeError):
        if "AEPROBE_FULL_ERROR" not in os.environ:  # as in `cli`: the person wants it
            traceback.print_exception(value)
        value = AeprobeError(f"{type(value).__name__}: {str(value).partition(chr(10))[0]}")
    return JobReturn(status=status, _return_value=value)
