"""A run directory: who owns it, and what is written into it.

Needs no torch, so that tables and pages over many runs start at once.
"""

import json
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from aeprobe.config.overrides import literal
from aeprobe.errors import AeprobeError
from aeprobe.files import finite, write_atomically
from aeprobe.runs.metrics import Metrics
from aeprobe.runs.ownership import require_unused


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

    def claim(self, header: Metrics) -> None:
        """Takes a new or an empty directory for a new run, and writes metrics.json into it.

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
        """Keeps other processes out until `end`; a process that dies keeps nobody out.

        Raises:
            AeprobeError: another process is at work in it.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise AeprobeError(f"{self.path}: another process is running it; wait for it, or stop it") from None

    def release(self) -> None:
        """Lets other processes in."""
        self._lock.release()

    def reopen(self, header: Metrics, anew: bool) -> None:
        """Takes up the run that it holds, after `lock`; `anew`: nothing of it is kept."""
        self.write(status="running")
        leftovers = [*self.path.glob(".metrics.json.*"), *self.checkpoints.glob(".*.ckpt.*")]
        if anew:
            leftovers += self.checkpoints.glob("*.ckpt")
            leftovers += (self.path / "tensorboard").glob("events.out.tfevents.*")
        for path in leftovers:
            path.unlink()
        self.checkpoints.mkdir(exist_ok=True)
        self.metrics = {} if anew else self.metrics
        self.write(**header)

    def end(self, status: str, error: str | None = None, **results: Any) -> None:
        """Writes how the run ended, and lets others in."""
        try:
            self.write(status=status, error=error, **results)
        finally:
            self.release()

    @property
    def checkpoints(self) -> Path:
        """Holds best.ckpt and last.ckpt."""
        return self.path / "checkpoints"

    def write(self, **changes: Any) -> None:
        """Changes top-level keys of metrics.json, which is replaced atomically; `.hydra/` follows the settings."""
        self.metrics |= changes
        if not self.writes:
            return
        text = json.dumps(finite(self.metrics), indent=1, allow_nan=False)
        write_atomically(self.path / "metrics.json", text.encode())
        for name in {"config", "overrides"} & changes.keys():
            (self.path / ".hydra").mkdir(exist_ok=True)
            record = OmegaConf.to_yaml(literal(changes[name]))
            write_atomically(self.path / ".hydra" / f"{name}.yaml", record.encode())
