"""Commands that print: their standard output, whose reader may go, and their failures."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TextIO

from aeprobe.errors import AeprobeError, tell
from aeprobe.signals import end_by_signals


@contextmanager
def printing() -> Iterator[None]:
    """End a command silently, as `grep` does, where nobody reads it any more; in a line where the disk is full."""
    os.environ["MPLBACKEND"] = "agg"  # figures are files; matplotlib's import would end at a wrong name
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
    """Make a command of its main: it prints as within `printing`; an expected failure is one line and status 1."""

    @wraps(main)
    @printing()
    def told(arguments: Sequence[str] | None = None) -> int:
        try:
            end_by_signals()
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


def _silence(stream: TextIO) -> None:
    """Send nowhere what was not written yet, which Python would try again at its end."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, stream.fileno())
    os.close(silent)
