"""Where a command writes: only into directories of its own, and a refusal leaves those that were there before."""

import errno
import logging
import re
import sys
import warnings
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from filelock import FileLock
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config.overrides import literal, quote
from aeprobe.errors import AeprobeError, tell
from aeprobe.paths import absolute, home, shortest

log = logging.getLogger("aeprobe")
# What a run may leave of which nothing was trained: `claim` was cut short.
UNBEGUN = r"((autoencoder|classifier)(/|$))?(\.lock|\.hydra(/overrides\.yaml|/\..+)?|checkpoints)?"


class Directories(Callback):
    """Looks at the directory of a run or a multirun before Hydra makes it.

    Attributes:
        before: it, what it held, and those above it, as far as they were there; None where nobody looked.
    """

    before: ClassVar[set[Path] | None] = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra makes the run's directory next."""
        _look(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra writes multirun.yaml into the sweep's directory next."""
        path = _look(config, "sweep")
        try:
            if path is not None:
                refuse_inside_run(path)
                _refuse_foreign(path)
        except AeprobeError as error:
            _end(error)


def _look(config: DictConfig, kind: str) -> Path | None:
    """Notes what is there before, and puts the home directory for a `~` that a file of conf/ may have."""
    try:
        given = str(config.hydra[kind].dir)
    except OmegaConfBaseException:  # Hydra comes upon it, too, and raises it where it can be told
        return None
    try:
        path = absolute(home(given))
        _require_usable(path)
    except AeprobeError as error:
        _end(error)
    if given.startswith("~"):
        config.hydra[kind].dir = literal(str(path))
        # A multirun composes each job anew, with what was typed for Hydra itself.
        config.hydra.overrides.hydra.append(f"hydra.{kind}.dir={quote(literal(str(path)))}")
    Directories.before = {p for p in (path, *path.parents) if p.exists()}
    if path.is_dir():
        Directories.before |= {*path.iterdir()}
    return path


def discard_unused(path: Path) -> None:
    """Removes a directory that nothing was written into, and its empty parents, if this command made them."""
    path = absolute(str(path))
    for directory in (path, *path.parents):
        if Directories.before is None or directory in Directories.before:
            return
        try:
            directory.rmdir()
        except OSError:  # not empty, or not there
            return


def require_unused(path: Path) -> None:
    """Sees to it that a new run gets a new or an empty directory.

    Raises:
        AeprobeError: it holds anything, or lies in a run's directory.
    """
    refuse_inside_run(path)
    handlers = logging.getLogger().handlers  # Hydra's own log file, where a person wants one
    logs = {Path(handler.baseFilename) for handler in handlers if isinstance(handler, logging.FileHandler)}
    for found in chain([path], path.rglob("*")):
        relative = found.relative_to(path).as_posix()
        refuse_link(found)
        if found != path and not re.fullmatch(UNBEGUN, relative) and absolute(found) not in logs:
            parts = (path, path / "autoencoder", path / "classifier")
            run = any((part / name).exists() for part in parts for name in (".hydra/config.yaml", "metrics.json"))
            raise AeprobeError(
                f"{path} already holds {'a run' if run else relative}: a new run needs a directory that is new or "
                "empty; choose another hydra.run.dir=, or sweep= for a multirun"
            )


def refuse_link(path: Path) -> None:
    """Raises AeprobeError where a path in a run's directory is a link, or neither a file nor a directory."""
    if path.is_symlink():
        raise AeprobeError(f"{path} is a link: a run writes into its own directory alone; remove it")
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would never answer
        raise AeprobeError(f"{path} is no regular file: no run makes such a thing; remove it")


def acquire(lock: FileLock) -> None:
    """Takes a lock; where the disk knows none, says what is not protected, and goes on.

    Raises:
        Timeout: another process has it.
    """
    unprotected = False
    try:
        with warnings.catch_warnings(record=True) as told:  # filelock makes a file instead, and warns of that
            lock.acquire()
        unprotected = bool(told)
    except OSError as error:
        unprotected = error.errno in (errno.ENOLCK, errno.EOPNOTSUPP)
        if not unprotected:
            raise
    if unprotected:
        where = Path(lock.lock_file).parent
        log.warning("%s is on a disk without locks: see that no other command uses it meanwhile", where)


def refuse_inside_run(path: Path) -> None:
    """Raises AeprobeError where a directory lies in that of a run."""
    for above in absolute(path).parents:
        if (above / "metrics.json").exists() and (above / "checkpoints").is_dir():
            raise AeprobeError(
                f"{path} lies in the directory of a run, {shortest(above)}: choose another outputs="
            )


def _require_usable(path: Path) -> None:
    """Raises AeprobeError where Hydra would take a part of a path for an interpolation, or TensorBoard fail."""
    if "${" in str(path) or re.search(r"[\udc80-\udcff]", str(path)):
        raise AeprobeError(f"{path}: ${{ or bytes that are no UTF-8 cannot be in a run's path; choose another")


def _refuse_foreign(path: Path) -> None:
    """Raises AeprobeError where a directory holds something, and it is no sweep's."""
    entries = [*path.iterdir()] if path.is_dir() else []
    multirun = path / "multirun.yaml"
    if multirun.exists():
        text = multirun.read_text(errors="replace")  # "" while another command begins to write
        entries = [multirun] if text and "aeprobe" not in text else []
    jobs = (".hydra", "metrics.json", "autoencoder", "classifier")
    search = ("study.db", ".study.lock")  # what a search begins with
    foreign = [e for e in entries if e.name not in search and not any((e / name).exists() for name in jobs)]
    if foreign:
        raise AeprobeError(f"{path} is no sweep's directory, it holds {min(foreign).name}: choose another sweep=")


def _end(error: AeprobeError) -> NoReturn:
    """Hydra makes a warning of a callback's exceptions, and goes on."""
    tell(str(error))
    sys.exit(1)
