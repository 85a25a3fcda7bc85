"""How a run ends: train.log, and a metrics.json that tells it whatever happens."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aeprobe.errors import AeprobeError
from aeprobe.runs.run_directory import RunDirectory

log = logging.getLogger("aeprobe")


@contextmanager
def recorded(directory: RunDirectory) -> Iterator[None]:
    """Keeps train.log, and sees to it that metrics.json tells how the run ended: both by the first process alone.

    Raises:
        AeprobeError: instead of whatever went wrong.
        KeyboardInterrupt: a signal came.
    """
    file = directory.path / "train.log"
    handler = logging.FileHandler(file, encoding="utf-8") if directory.writes else logging.NullHandler()
    handler.setFormatter(_WithTraceback("%(asctime)s %(message)s"))
    handler.handleError = lambda record: None  # type: ignore[method-assign] # noqa: ARG005 - a full disk costs lines
    log.addHandler(handler)
    hook, threading.excepthook = threading.excepthook, _but_full_disks
    try:
        yield
    except AeprobeError as error:
        handler.emit(logging.LogRecord("aeprobe", logging.ERROR, "", 0, f"error: {error}", None, None))
        _end(directory, "failed", str(error))
        raise
    except (KeyboardInterrupt, SystemExit) as error:  # Lightning answers an interruption with sys.exit
        _end(directory, "interrupted", "interrupted")
        raise KeyboardInterrupt from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # else a library's own, and of no disk
            place = error.filename or directory.path
            what = f"{place}: cannot be written ({error.strerror}); make room, then resume="
            if not directory.path.exists():
                what = f"{directory.path}: is gone, it was removed or moved while the run wrote into it"
            _end(directory, "interrupted", what)
            raise AeprobeError(what) from error
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        handler.emit(log.makeRecord("aeprobe", logging.ERROR, "", 0, what, (), sys.exc_info()))
        _end(directory, "failed", what)
        raise AeprobeError(f"{what} (unexpected; the traceback is in {file})") from error
    finally:
        threading.excepthook = hook
        log.removeHandler(handler)
        with suppress(OSError):
            handler.close()


def _end(directory: RunDirectory, status: str, error: str) -> None:
    """As far as the disk lets it: metrics.json stays as it was after the last whole epoch."""
    with suppress(OSError):
        directory.end(status, error)


class _WithTraceback(logging.Formatter):
    """Adds the traceback that a record carries for train.log alone."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, and its `traceback` below it."""
        found = getattr(record, "traceback", None)
        return f"{super().format(record)}\n{found}" if found else super().format(record)


def _but_full_disks(of: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread that writes prints its traceback, and the next call into it raises the same again."""
    if not issubclass(of.exc_type, OSError):
        threading.__excepthook__(of)
