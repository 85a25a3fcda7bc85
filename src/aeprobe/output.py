"""Standard output whose reader may go, whose disk may be full, or that was closed before the command began."""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TextIO

from aeprobe.errors import AeprobeError, tell

NAMES = ("stdin", "stdout", "stderr")


def prepare() -> None:
    """What every command does first: each standard stream can be written to, also what its encoding lacks.

    A closed stream is None in Python, and its number goes to the next file that is opened: that file would get
    what was meant for the screen. In an ASCII locale, "±" would be an error.
    """
    os.environ["MPLBACKEND"] = "agg"  # figures are files; matplotlib's import would end at a wrong name
    for number, name in enumerate(NAMES):
        stream = getattr(sys, name)
        if stream is None:
            silent = os.open(os.devnull, os.O_RDWR)
            if silent != number:
                os.dup2(silent, number)
                os.close(silent)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Lasting:
    """A stream that a run can write to until its end: what can no longer be written is dropped.

    Args:
        stream: standard output or standard error; all that is not writing is its own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or does nothing."""
        try:
            return self._stream.write(text)
        except OSError:
            _silence(self._stream)
            return len(text)

    def flush(self) -> None:
        """Flushes, or does nothing."""
        try:
            self._stream.flush()
        except OSError:
            _silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive_readers() -> None:
    """Lets this process go on when nobody reads any more what it prints."""
    prepare()
    for name in NAMES[1:]:
        if not isinstance(getattr(sys, name), Lasting):
            setattr(sys, name, Lasting(getattr(sys, name)))


@contextmanager
def printing() -> Iterator[None]:
    """Around a command that prints a table: it ends silently, as `grep` does, when the reader has gone.

    Where standard output cannot be written for another reason, it ends with 1 in a line.
    """
    prepare()
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
        sys.exit(141)  # as a shell has it for SIGPIPE
    except OSError as error:
        if error.filename is not None:
            raise
        _silence(sys.stdout)
        tell(f"standard output cannot be written ({error.strerror})")
        sys.exit(1)


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Around a command's main: it prints as within `printing`; an expected failure is one line and status 1."""

    @wraps(main)
    @printing()
    def told(arguments: Sequence[str] | None = None) -> int:
        try:
            with _terminable():
                return main(arguments)
        except KeyboardInterrupt:
            tell("interrupted; nothing is half-written")
            return 130
        except AeprobeError as error:
            tell(str(error))
        except OSError as error:  # of a path that cannot be: too long, or behind a closed door
            if error.filename is None:
                raise
            tell(f"{error.filename}: {error.strerror}")
        return 1

    return told


@contextmanager
def _terminable() -> Iterator[None]:
    """Meanwhile SIGTERM ends the command as an exception does: what is half-written is removed."""
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM)
    if mine != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _silence(stream: TextIO) -> None:
    """Sends nowhere what was not written yet, which Python would try again at its end, and what follows."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, stream.fileno())
    os.close(silent)
