"""A run directory: its name, who owns it, and what is written into it.

Needs no torch, so that tables and pages over many runs start at once.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from aeprobe.config.overrides import literal
from aeprobe.errors import AeprobeError
from aeprobe.files import finite, write_atomically
from aeprobe.runs.metrics import Metrics, read_metrics
from aeprobe.runs.ownership import UNBEGUN, acquire, refuse_link, require_unused


class RunDirectory:
    """One run's directory. It belongs to one run, from `claim` on.

    Attributes:
        path: the directory.
        writes: whether this process writes into it; of several, only the first does.
        metrics: what metrics.json says.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self.metrics: Metrics = {}
        self._lock = FileLock(path / ".lock", timeout=0)

    @property
    def begun(self) -> bool:
        """Whether it holds a run, complete or not."""
        return (self.path / ".hydra" / "config.yaml").exists()

    def claim(self, config: dict[str, Any], overrides: Sequence[str]) -> None:
        """Takes the directory for a new run and writes `.hydra/` into it.

        Raises:
            AeprobeError: it holds something already, or it cannot be written.
        """
        hydra = self.path / ".hydra"
        try:
            self.refuse_alive()
            require_unused(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock()
            require_unused(self.path)  # of two runs, one gets it
            hydra.mkdir(exist_ok=True)
            self.checkpoints.mkdir(exist_ok=True)
            self._write_settings(config, overrides)
        except OSError as error:
            raise AeprobeError(
                f"{self.path} cannot be written ({error.strerror}): choose another outputs="
            ) from None

    def lock(self) -> None:
        """Keeps other processes out until `end`; a process that dies keeps nobody out.

        Raises:
            AeprobeError: another process is at work in it.
        """
        try:
            acquire(self._lock)
        except Timeout:
            raise AeprobeError(f"{self.path}: another process is running it; wait for it, or stop it") from None

    def refuse_alive(self) -> None:
        """Raises AeprobeError where a process is at work in it; makes nothing in it to find that out."""
        if (self.path / ".lock").exists():
            self.lock()
            self.release()

    def refuse_links(self) -> None:
        """Raises AeprobeError where it is a link or holds one, which would lead the run out of it."""
        for path in (self.path, *self.path.rglob("*")):
            refuse_link(path)

    def _write_settings(self, config: dict[str, Any], overrides: Sequence[str]) -> None:
        hydra = self.path / ".hydra"
        write_atomically(hydra / "overrides.yaml", OmegaConf.to_yaml(list(overrides)).encode())
        write_atomically(hydra / "config.yaml", OmegaConf.to_yaml(literal(config)).encode())

    def store(self, config: dict[str, Any], overrides: Sequence[str], unfinished: bool) -> None:
        """Keeps settings that were changed on resuming, and all that was typed, where the next resume will look.

        `unfinished`: there is more to train now; a run that ended before says so from here on.
        """
        self._write_settings(config, overrides)
        if found := read_metrics(self.path, missing_ok=True):
            self.metrics = found
            status = "running" if unfinished else found["status"]
            self.write(status=status, config=config, overrides=list(overrides))

    def release(self) -> None:
        """Lets other processes in."""
        self._lock.release()

    def require_metrics(self) -> None:
        """Sees to it that a run whose metrics.json was removed is not taken for one that never trained.

        Raises:
            AeprobeError: it has left something else.
        """
        if not self.begun or (self.path / "metrics.json").exists():
            return
        before = ("train.log", ".hydra/config.yaml")  # written before metrics.json is
        for found in sorted(self.path.rglob("*")):
            name = found.relative_to(self.path).as_posix()
            if name not in before and not re.fullmatch(UNBEGUN, name):
                raise AeprobeError(
                    f"{self.path}: metrics.json is gone, but {name} is there, so the run cannot go on; "
                    "to train it again, move the directory away"
                )

    def reopen(self, anew: bool) -> None:
        """Takes up the run that it holds, after `lock`; `anew`: nothing of it is kept.

        The event files go: the Recorder writes them again, since a killed process may have left too few or
        too many.

        Raises:
            AeprobeError: it holds a link, or its metrics.json is gone.
        """
        self.refuse_links()
        self.require_metrics()
        leftovers = [*self.path.glob(".metrics.json.*"), *self.checkpoints.glob(".*.ckpt.*")]
        leftovers += (self.path / "tensorboard").glob("events.out.tfevents.*")
        leftovers += self.checkpoints.glob("*.ckpt") if anew else []
        for path in leftovers:
            path.unlink()
        self.metrics = {} if anew else self.metrics
        self.checkpoints.mkdir(exist_ok=True)

    def end(self, status: str, error: str | None = None, **results: Any) -> None:
        """Writes how the run ended, and lets others in."""
        try:
            if self.metrics:  # else it ended before it began to write: without a header nobody could read it
                self.write(status=status, error=error, **results)
        finally:
            self.release()

    @property
    def checkpoints(self) -> Path:
        """Holds best.ckpt and last.ckpt."""
        return self.path / "checkpoints"

    def write(self, **changes: Any) -> None:
        """Changes top-level keys of metrics.json; the file is replaced atomically."""
        self.metrics |= changes
        if not self.writes:
            return
        text = json.dumps(finite(self.metrics), indent=1, allow_nan=False)
        write_atomically(self.path / "metrics.json", text.encode())
