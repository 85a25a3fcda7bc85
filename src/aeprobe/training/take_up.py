"""What an earlier run left behind, and how it goes on."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aeprobe.runtime

from aeprobe.config.overrides import override
from aeprobe.config.rules import require
from aeprobe.config.schema import plain
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints, stored
from aeprobe.paths import shortest
from aeprobe.processes import collectives
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import Metrics, read_metrics
from aeprobe.runs.run_directory import RunDirectory
from aeprobe.training.build import Experiment
from aeprobe.training.consistency import require_files

if TYPE_CHECKING:
    from aeprobe.training.run import Request

MOST_THREADS = 1024  # of any machine that a run may come from


def take_up(directory: RunDirectory, request: "Request") -> tuple[bool, Path | None, Metrics]:
    """Whether the run that the directory holds goes on, from which checkpoint, and its metrics.

    Raises:
        AeprobeError: another process is at work in it, or the checkpoint is damaged.
    """
    resuming = request.resume and directory.begun
    last = _reopen(directory, request) if resuming else None
    return resuming, last, directory.metrics


def _reopen(directory: RunDirectory, request: "Request") -> Path | None:
    """The checkpoint to go on from; None: there is none, or nothing is left to do."""
    directory.lock()
    settings = getattr(request.config, directory.stage or "", None)
    complete = directory.complete(settings.epochs(request.config.trainer) if settings else 0)
    if complete and request.changed:  # of another stage
        directory.store(plain(request.config), request.overrides, unfinished=False)
    if complete:
        directory.release()
        return None
    last = directory.checkpoints / "last.ckpt" if request.start is None else request.start
    best = override("resume", str(shortest(directory.checkpoints / "best.ckpt")))
    if request.anew or not last.exists():
        if not request.anew and directory.epochs > 1:  # one: killed before its checkpoint was written
            raise AeprobeError(f"{last} is gone, after {directory.epochs} epochs; {best} goes on from the best")
        return None
    directory.metrics = read_metrics(directory.path) | {"status": "running"}
    try:
        checkpoints.read(last)
    except AeprobeError as error:
        with suppress(AeprobeError):
            checkpoints.read(directory.checkpoints / "best.ckpt")
            error = AeprobeError(f"{error}; {best} goes on from the best epoch instead")
        raise error
    return last


def use_threads_of(directory: RunDirectory) -> None:
    """Computes with as many threads as the run began with: another number would give other bits.

    Raises:
        AeprobeError: its metrics.json names no number of threads.
    """
    threads = directory.metrics.get("threads")
    known = type(threads) is int and 1 <= threads <= MOST_THREADS
    require(known, f"{directory.path / 'metrics.json'}: threads", threads, f"from 1 to {MOST_THREADS}")
    aeprobe.runtime.threads(threads)


def seconds_before(directory: RunDirectory) -> dict[str, float]:
    """Seconds before this process: of a run that was ended while it drew, those of its training."""
    before = directory.metrics["seconds"] if directory.metrics.get("not_drawn", {}) is None else {}
    return {"total": before.get("total") or 0.0, "fit": before.get("fit") or 0.0}


def require_own_data(directory: RunDirectory, experiment: Experiment) -> None:
    """Holds the data of a run that begins again, without a checkpoint, against what its metrics.json says.

    Raises:
        AeprobeError: a file has another size or checksum.
    """
    if (directory.path / "metrics.json").exists():
        files = read_metrics(directory.path).get("data", {}).get("files", {})
        stored.check_files(files)
        require_files(experiment.data, files, directory.path)


def require_one_dataset(experiment: Experiment) -> None:
    """Raises AeprobeError in a process that has read other files than the first: each reads its own disk's."""
    for name, found in collectives.on_rank_zero(lambda: experiment.data.files).items():
        files = experiment.data.files[name]
        if files != found:
            raise AeprobeError(
                f"data: {name} in {experiment.data.root} has SHA-256 {files['sha256']} for process {here().rank}, "
                f"but {found['sha256']} for the first: all processes need the same files"
            )
