"""What metrics.json says of a run besides its numbers: how it began, and how it ended."""

import logging
import platform
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version

import aeprobe.runtime  # noqa: F401

import torch

from aeprobe.config.schema import Config, plain
from aeprobe.errors import AeprobeError
from aeprobe.models import stored
from aeprobe.processes.launch import here
from aeprobe.processes.signals import Interrupted
from aeprobe.runs.metrics import SCHEMA, Metrics, read_metrics
from aeprobe.runs.run_directory import RunDirectory
from aeprobe.training.build import Experiment
from aeprobe.training.consistency import require_files

log = logging.getLogger("aeprobe")
PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "aeprobe")


def header(experiment: Experiment, config: Config, overrides: Sequence[str], device: torch.device) -> Metrics:
    """What metrics.json says of a run that begins."""
    return {
        "schema": SCHEMA,
        "stage": experiment.stage,
        "status": "running",
        "error": None,
        "seed": experiment.seed,
        "overrides": list(overrides),
        "config": plain(config),
        "data": data_of(experiment),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": str(device),
        "threads": torch.get_num_threads(),  # of each process
        "processes": here().world,
        "ckpt": str(experiment.ckpt) if experiment.ckpt else None,
        "checkpoint": "best" if experiment.settings and experiment.data.val_size else "last",
        "seconds": {"total": None, "fit": None, "figures": None},
        "epochs": [],
        "final": {},
    }


def data_of(experiment: Experiment) -> Metrics:
    """What metrics.json says of the data as they are used: a checkpoint's settings win over the configuration."""
    data, encoded = experiment.data, experiment.module.hparams
    return data.identity | {
        "mean": encoded["mean"],
        "std": encoded["std"],
        "root": str(data.root),
        "images": {name: len(split) for name, split in data.splits.items()},
        "files": data.files,
    }


def require_own_data(directory: RunDirectory, experiment: Experiment) -> None:
    """Holds the data of a run that begins again, without a checkpoint, against what its metrics.json says.

    Raises:
        AeprobeError: a file has another size or checksum.
    """
    if (directory.path / "metrics.json").exists():
        files = read_metrics(directory.path).get("data", {}).get("files", {})
        stored.check_files(files)
        require_files(experiment.data, files, directory.path)


@contextmanager
def recorded(directory: RunDirectory) -> Iterator[None]:
    """Keeps train.log, and sees to it that metrics.json tells how the run ended: both by the first process alone.

    Raises:
        AeprobeError: instead of whatever went wrong.
        Interrupted: as it came.
    """
    handler = _train_log(directory)
    handler.setFormatter(_WithTraceback("%(asctime)s %(message)s"))
    log.addHandler(handler)
    hook, threading.excepthook = threading.excepthook, _but_full_disks
    try:
        yield
    except AeprobeError as error:
        handler.emit(logging.LogRecord("aeprobe", logging.ERROR, "", 0, f"error: {error}", None, None))
        _end(directory, "failed", str(error))
        raise
    except Interrupted as error:
        _end(directory, "interrupted", f"interrupted by {error}")
        raise
    except (KeyboardInterrupt, SystemExit) as error:  # Lightning answers an interruption with sys.exit
        _end(directory, "interrupted", "interrupted")
        raise KeyboardInterrupt from error
    except OSError as error:
        what = f"{error.filename or directory.path}: cannot be written ({error.strerror}); make room, then resume="
        if not directory.path.exists():
            what = f"{directory.path}: is gone, it was removed or moved while the run wrote into it"
        _end(directory, "interrupted", what)
        raise AeprobeError(what) from error
    except Exception as error:
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        handler.emit(log.makeRecord("aeprobe", logging.ERROR, "", 0, what, (), sys.exc_info()))
        _end(directory, "failed", what)
        raise AeprobeError(f"{what} (unexpected; the traceback is in {directory.path / 'train.log'})") from error
    finally:
        threading.excepthook = hook
        log.removeHandler(handler)
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


class _TrainLog(logging.FileHandler):
    """A full disk costs it lines, but no traceback for each of them, and no run."""

    def close(self) -> None:
        """Closes the file; what could not be written until now never will be."""
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing: what the run cannot do without says so itself."""


def _train_log(directory: RunDirectory) -> logging.Handler:
    if not directory.writes:
        return logging.NullHandler()
    return _TrainLog(directory.path / "train.log", encoding="utf-8")
