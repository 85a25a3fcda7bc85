"""Commands that print: their failures, and a standard output whose reader may go."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from aeprobe.errors import AeprobeError, tell
from aeprobe.signals import end_by_signals


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Make a command of its main: an expected failure is one line and status 1, a closed pipe silence."""

    @wraps(main)
    def told(arguments: Sequence[str] | None = None) -> int:
        os.environ["MPLBACKEND"] = "agg"  # figures are files; matplotlib's import would end at a wrong name
        try:
            end_by_signals()
            status = main(arguments)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            tell("interrupted; nothing is half-written")
            return 130
        except BrokenPipeError:
            _silence_output()
            return 141  # as a shell has it for SIGPIPE
        except AeprobeError as error:
            tell(str(error))
        except OSError as error:  # of a path that cannot be: too long, or behind a closed door
            if error.filename is None:
                _silence_output()
                tell(f"standard output cannot be written ({error.strerror})")
            else:
                tell(f"{error.filename}: {error.strerror}")
        return 1

    return told


def _silence_output() -> None:
    """Send nowhere what was not written yet, which Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
