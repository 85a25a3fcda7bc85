"""Commands that print: each expected failure of theirs is one line."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from aeprobe.errors import AeprobeError, end_by_signals, tell


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Make a command of its main: an expected failure is one line and status 1, a reader that has gone silence."""

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
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python writes again at its end
            return 141  # as a shell has it for SIGPIPE
        except (AeprobeError, OSError) as error:  # of a path that cannot be: too long, or behind a closed door
            tell(str(error))
            return 1

    return told
