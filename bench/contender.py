"""A loop in a process of its own, which takes as many steps as it is told and times them.

So each loop has its own threads, memory and denormal mode; while one runs, the others wait on their pipes.
"""

import multiprocessing as mp
import os
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from aeprobe.errors import AeprobeError


class Contender:
    """One loop.

    Args:
        name: a key of `loops.LOOPS`.
        stage: "autoencoder" or "classifier".
        threads: per tensor operation; None for torch's choice.
        settings: passed to the loop.
    """

    def __init__(self, name: str, stage: str, threads: int | None, settings: dict[str, Any]) -> None:
        context = mp.get_context("spawn")
        self.name = name
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, name, stage, threads, settings), daemon=True)
        self._process.start()
        other.close()

    def advance(self, steps: int) -> float:
        """Take steps and return their seconds.

        Raises:
            AeprobeError: the loop failed.
        """
        self._pipe.send(steps)
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise AeprobeError(f"the loop '{self.name}' died without a word") from None
        if isinstance(answer, str):
            raise AeprobeError(f"the loop '{self.name}' failed: {answer}")
        seconds: float = answer
        return seconds

    def stop(self) -> None:
        """End the loop in the middle of its training."""
        with suppress(OSError):  # it has ended by itself
            self._pipe.send(0)
        self._process.join(timeout=20)
        self._process.kill()


class _Done(BaseException):
    """The signal to end a loop; no Exception, so that no loop catches it as a failure."""


class _Metronome:
    """Count steps down and send the time that they took."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.left = 0
        self.began = 0.0
        self._wait()

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.pipe.send(time.perf_counter() - self.began)
            self._wait()

    def _wait(self) -> None:
        self.left = self.pipe.recv()
        if not self.left:
            raise _Done
        self.began = time.perf_counter()


def _serve(pipe: Connection, name: str, stage: str, threads: int | None, settings: dict[str, Any]) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)  # the Trainer's lines and bar are written, but not shown
    os.dup2(sink, sys.stdout.fileno())
    os.dup2(sink, sys.stderr.fileno())
    import aeprobe.runtime

    from bench.loops import LOOPS

    aeprobe.runtime.threads(threads)
    try:
        LOOPS[name](stage, _Metronome(pipe).tick, **settings)
    except _Done:
        return
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
