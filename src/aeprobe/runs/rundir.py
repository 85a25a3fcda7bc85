"""A run directory: its claim, metrics.json, train.log, and how a run goes on and ends.

Needs no torch, so that tables and pages over many runs start at once.
"""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from aeprobe.config.overrides import literal
from aeprobe.errors import AeprobeError, first_line
from aeprobe.files import finite, write_atomically
from aeprobe.paths import absolute
from aeprobe.runs.metrics import Metrics

log = logging.getLogger("aeprobe")
BEFORE_METRICS = (".lock", ".metrics.json.")  # begin the names of the files that a killed claim may leave
RESULTS = ".results"  # ends the name of an event file that is written after the training


class RunDirectory:
    """One run's directory. It belongs to one run, from `claim` on."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes  # of several processes, the first writes
        self.metrics: Metrics = {}  # the content of metrics.json; empty where no run has begun
        self.last: Path | None = None  # the checkpoint that a resumed run goes on from; None: it begins
        self.not_drawn: dict[str, str] = {}  # the reasons why parts of the run could not be shown, by their names
        self._lock = FileLock(path / ".lock", timeout=0)
        self._log: logging.Handler = logging.NullHandler()

    @property
    def checkpoints(self) -> Path:
        """The folder of best.ckpt and last.ckpt."""
        return self.path / "checkpoints"

    def claim(self, header: Metrics) -> None:
        """Take a new or an empty directory for a new run; raise AeprobeError where it holds something already."""
        require_unused(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock()
        require_unused(self.path)  # of two runs, one gets it
        self.checkpoints.mkdir(exist_ok=True)
        self.write(**header)

    def lock(self) -> None:
        """Keep other processes out until `end`; a process that dies keeps nobody out."""
        try:
            self._lock.acquire()
        except Timeout:
            raise AeprobeError(f"{self.path}: another process is running it; wait for it, or stop it") from None

    def reopen(self, header: Metrics) -> None:
        """Go on in the run that is locked; without a checkpoint nothing of it is kept."""
        self.write(status="running")
        leftovers = [*self.path.glob(".metrics.json.*"), *self.checkpoints.glob(".*.ckpt.*")]
        leftovers += (self.path / "tensorboard").glob(f"*{RESULTS if self.last else ''}")
        if not self.last:
            leftovers += self.checkpoints.glob("*.ckpt")
            self.metrics = {}
        for path in filter(Path.is_file, leftovers):  # the projector's are in folders
            path.unlink()
        self.checkpoints.mkdir(exist_ok=True)
        self.write(**header)

    def write(self, **changes: Any) -> None:
        """Change top-level keys of metrics.json, which is replaced atomically; `.hydra/` follows the settings."""
        self.metrics |= changes
        if not self.writes:
            return
        text = json.dumps(finite(self.metrics), indent=1, allow_nan=False)
        write_atomically(self.path / "metrics.json", text.encode())
        for name in {"config", "overrides"} & changes.keys():
            (self.path / ".hydra").mkdir(exist_ok=True)
            record = OmegaConf.to_yaml(literal(changes[name]))
            write_atomically(self.path / ".hydra" / f"{name}.yaml", record.encode())

    def end(self, status: str, error: str | None = None, **results: Any) -> None:
        """Write how the run ended, and let others in."""
        try:
            self.write(status=status, error=error, **results)
        finally:
            self._lock.release()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep train.log, tell in metrics.json how the run ended, and raise what failed as one line."""
        file = self.path / "train.log"
        self._log = handler = logging.FileHandler(file, encoding="utf-8") if self.writes else logging.NullHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.handleError = lambda record: None  # type: ignore[method-assign] # noqa: ARG005 - a full disk
        log.addHandler(handler)
        hook, threading.excepthook = threading.excepthook, _except_full_disks
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as error:  # Lightning answers an interruption with sys.exit
            with suppress(OSError):
                self.end("interrupted", "interrupted")
            raise KeyboardInterrupt from error
        except Exception as error:
            status, what, told = "failed", str(error), ""
            if isinstance(error, OSError) and error.errno is not None:  # else a library's own, and of no disk
                place, status = error.filename or self.path, "interrupted"
                what = f"{place}: cannot be written ({error.strerror}); make room, then resume="
            elif not isinstance(error, AeprobeError):
                what = f"{type(error).__name__}: {first_line(error)}"
                told = f" (unexpected; the traceback is in {file})"
            self._write_log(f"error: {what}", None if isinstance(error, AeprobeError) else error)
            with suppress(OSError):  # a full disk: metrics.json stays as it was after the last whole epoch
                self.end(status, what)
            raise AeprobeError(what + told) from error
        finally:
            threading.excepthook = hook
            log.removeHandler(handler)
            with suppress(OSError):
                handler.close()

    @contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """Log an error of what only shows the run once, in one line; train.log has its traceback."""
        try:
            yield
        except Exception as error:
            if name not in self.not_drawn:
                what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
                self.not_drawn[name] = what
                log.warning("not drawn: %s (%s)", name.replace("_", " "), what)
                self._write_log(f"not drawn: {name}", error)

    def _write_log(self, text: str, error: Exception | None) -> None:
        """Write a line into train.log alone, with an error's traceback."""
        trace = (type(error), error, error.__traceback__) if error else None
        self._log.handle(log.makeRecord("aeprobe", logging.ERROR, "", 0, text, (), trace))


def require_unused(path: Path) -> None:
    """Refuse a directory for a new run that holds a file already."""
    for entry in sorted(path.rglob("*")):
        if not entry.is_dir() and not entry.name.startswith(BEFORE_METRICS):
            held = "a run" if any(path.rglob("metrics.json")) else entry.relative_to(path).as_posix()
            raise AeprobeError(f"{path} already holds {held}: choose another hydra.run.dir=, or sweep= with -m")


def discard_unused(path: Path) -> None:
    """Remove a directory that nothing was written into, and each above it that is empty then."""
    path, here = absolute(path), Path.cwd()
    with suppress(OSError):  # not empty, or not there
        while not here.is_relative_to(path):
            path.rmdir()
            path = path.parent


def _except_full_disks(failure: threading.ExceptHookArgs) -> None:
    """Print a thread's traceback, except TensorBoard's on a full disk: the next call into it raises the same."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)
