"""A run directory: its claim, metrics.json, train.log, and how a run goes on and ends.

Needs no torch, so that tables and pages over many runs start at once.
"""

import json
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from aeprobe.config.overrides import literal, override
from aeprobe.config.schema import STAGES, Config, plain
from aeprobe.errors import AeprobeError
from aeprobe.files import finite, write_atomically
from aeprobe.paths import absolute, shortest
from aeprobe.runs.metrics import Metrics, read_metrics

log = logging.getLogger("aeprobe")
BEFORE_METRICS = (".lock", ".metrics.json.")  # begin the names of the files that a killed claim may leave
RESULTS = ".results"  # ends the name of an event file that is written after the training


class RunDirectory:
    """One run's directory. It belongs to one run, from `claim` on.

    Attributes:
        path: the directory.
        writes: True in the process that writes into it: the first of several.
        metrics: the content of metrics.json; empty where no run has begun.
        last: the checkpoint that a resumed run goes on from; None: it begins.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self.metrics: Metrics = {}
        self.last: Path | None = None
        self._lock = FileLock(path / ".lock", timeout=0)

    def claim(self, header: Metrics) -> None:
        """Take a new or an empty directory for a new run, and write metrics.json into it.

        Raises:
            AeprobeError: it holds something already, or it cannot be written.
        """
        try:
            require_unused(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock()
            require_unused(self.path)  # of two runs, one gets it
            self.checkpoints.mkdir(exist_ok=True)
            self.write(**header)
        except OSError as error:
            raise AeprobeError(
                f"{self.path} cannot be written ({error.strerror}): choose another outputs="
            ) from None

    def lock(self) -> None:
        """Keep other processes out until `end`; a process that dies keeps nobody out."""
        try:
            self._lock.acquire()
        except Timeout:
            raise AeprobeError(f"{self.path}: another process is running it; wait for it, or stop it") from None

    def take_up(
        self, config: Config, overrides: Sequence[str], changed: bool, anew: bool, start: Path | None
    ) -> None:
        """Lock the run that the directory holds, if any, and choose the checkpoint to go on from.

        `metrics` say "completed" where nothing is left to do. The arguments are those of `Request`.

        Raises:
            AeprobeError: another process is at work in it, or the checkpoint is damaged or gone.
        """
        from aeprobe.models import checkpoints  # torch

        if not read_metrics(self.path, missing_ok=True):
            return
        self.lock()
        self.metrics = read_metrics(self.path)
        if self._is_complete(config):
            if changed:  # of another stage
                self.write(config=plain(config), overrides=list(overrides))
            self._lock.release()
            return
        self.metrics["status"] = "running"
        last, epochs = start or self.checkpoints / "last.ckpt", len(self.metrics["epochs"])
        if anew or (not last.exists() and epochs < 2):  # 1: killed before it was written
            return
        best = override("resume", str(shortest(self.checkpoints / "best.ckpt")))
        if not last.exists():
            raise AeprobeError(f"{last} is gone, after {epochs} epochs; {best} goes on from the best")
        try:
            checkpoints.read(last)
        except AeprobeError as error:
            raise AeprobeError(f"{error}; {best} goes on from the best epoch, where it is whole") from None
        self.last = last

    def _is_complete(self, config: Config) -> bool:
        """Return True if nothing is left to do; more epochs may be asked for than the run had."""
        if self.metrics["status"] != "completed" or self.metrics.get("not_drawn", {}) is None:
            return False  # null: it was ended while it drew
        stage = self.metrics["stage"]
        if stage not in STAGES:
            return True
        before = self.metrics["config"].get(stage, {}).get("max_epochs", 0)  # a callback may have stopped it early
        wanted: int = getattr(config, stage).epochs(config.trainer)
        trained: int = max(before, len(self.metrics["epochs"]))
        return wanted <= trained

    def reopen(self, header: Metrics) -> None:
        """Take up the run that `take_up` has locked; without a checkpoint nothing of it is kept."""
        self.write(status="running")
        leftovers = [*self.path.glob(".metrics.json.*"), *self.checkpoints.glob(".*.ckpt.*")]
        leftovers += (self.path / "tensorboard").glob(f"*{RESULTS if self.last else ''}")
        if not self.last:
            leftovers += self.checkpoints.glob("*.ckpt")
            self.metrics = {}
        for path in leftovers:
            if path.is_file():
                path.unlink()
        self.checkpoints.mkdir(exist_ok=True)
        self.write(**header)

    def end(self, status: str, error: str | None = None, **results: Any) -> None:
        """Write how the run ended, and let others in."""
        try:
            self.write(status=status, error=error, **results)
        finally:
            self._lock.release()

    @property
    def checkpoints(self) -> Path:
        """The folder of best.ckpt and last.ckpt."""
        return self.path / "checkpoints"

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

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep train.log, and see to it that metrics.json tells how the run ended.

        Raises:
            AeprobeError: instead of whatever went wrong.
            KeyboardInterrupt: a signal came.
        """
        file = self.path / "train.log"
        handler = logging.FileHandler(file, encoding="utf-8") if self.writes else logging.NullHandler()
        handler.setFormatter(_WithTraceback("%(asctime)s %(message)s"))
        handler.handleError = lambda record: None  # type: ignore[method-assign] # noqa: ARG005 - a full disk
        log.addHandler(handler)
        hook, threading.excepthook = threading.excepthook, _except_full_disks
        try:
            yield
        except AeprobeError as error:
            handler.emit(logging.LogRecord("aeprobe", logging.ERROR, "", 0, f"error: {error}", None, None))
            self._end_if_possible("failed", str(error))
            raise
        except (KeyboardInterrupt, SystemExit) as error:  # Lightning answers an interruption with sys.exit
            self._end_if_possible("interrupted", "interrupted")
            raise KeyboardInterrupt from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # else a library's own, and of no disk
                place = error.filename or self.path
                what = f"{place}: cannot be written ({error.strerror}); make room, then resume="
                if not self.path.exists():
                    what = f"{self.path}: is gone, it was removed or moved while the run wrote into it"
                self._end_if_possible("interrupted", what)
                raise AeprobeError(what) from error
            what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            handler.emit(log.makeRecord("aeprobe", logging.ERROR, "", 0, what, (), sys.exc_info()))
            self._end_if_possible("failed", what)
            raise AeprobeError(f"{what} (unexpected; the traceback is in {file})") from error
        finally:
            threading.excepthook = hook
            log.removeHandler(handler)
            with suppress(OSError):
                handler.close()

    def _end_if_possible(self, status: str, error: str) -> None:
        """End the run; on a full disk metrics.json stays as it was after the last whole epoch."""
        with suppress(OSError):
            self.end(status, error)


def require_unused(path: Path) -> None:
    """Refuse a directory for a new run that holds a file already, or lies in the directory of a run."""
    for above in absolute(path).parents:
        if (above / "metrics.json").exists() and (above / "checkpoints").is_dir():
            raise AeprobeError(
                f"{path} lies in the directory of a run, {shortest(above)}: choose another outputs="
            )
    for entry in sorted(path.rglob("*")):
        if not entry.is_dir() and not entry.name.startswith(BEFORE_METRICS):
            held = "a run" if any(path.rglob("metrics.json")) else entry.relative_to(path).as_posix()
            raise AeprobeError(
                f"{path} already holds {held}: a new run needs a directory that is new or empty; choose another "
                "hydra.run.dir=, or sweep= for a multirun"
            )


def discard_unused(path: Path) -> None:
    """Remove a directory that nothing was written into, and each above it that is empty then."""
    path, here = absolute(path), Path.cwd()
    with suppress(OSError):  # not empty, or not there
        while not here.is_relative_to(path):
            path.rmdir()
            path = path.parent


class _WithTraceback(logging.Formatter):
    """Add the traceback that a record carries for train.log alone."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, with its `traceback` below it."""
        return super().format(record) + getattr(record, "traceback", "")


def _except_full_disks(failure: threading.ExceptHookArgs) -> None:
    """Print a thread's traceback, except TensorBoard's on a full disk: the next call into it raises the same."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)
