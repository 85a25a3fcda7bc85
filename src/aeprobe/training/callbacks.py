"""Callbacks that every run has: an epoch's seed, averages that have not begun, the bar, checkpoints."""

import logging
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar, WeightAveraging

from aeprobe.data.sampler import stream

log = logging.getLogger("aeprobe")


class EpochSeed(L.Callback):
    """Seed torch anew for every epoch, so that its shifts and noise depend on (seed, epoch) alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Seed each process by its rank."""
        torch.manual_seed(stream("epoch", self.seed, trainer.current_epoch, trainer.global_rank))


class UnbegunAverages(L.Callback):
    """Let an average of the weights that has not begun yet follow them; it stands before those who use it.

    Lightning validates, saves and tests its copy of the initial weights until then. It also lets an average that
    is updated at the end of epochs do so after the validation, so that other weights were saved than measured.
    """

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Update the average before it takes the weights' place."""
        for average in self._averages(trainer):
            average.on_train_epoch_end(trainer, module)  # it does nothing the second time
        self._follow(trainer, module)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: Any) -> None:
        """Copy the weights before the average is saved in their place."""
        self._follow(trainer, module)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Copy the weights into an average that has not begun, before it is copied into the module."""
        if self._follow(trainer, module):
            log.warning("warning: %s: an average never began; the weights themselves are tested", module.stage)

    def _follow(self, trainer: L.Trainer, module: L.LightningModule) -> bool:
        """Copy the weights into each average that has not begun; return True if there is one."""
        copies = [one._average_model for one in self._averages(trainer)]
        waiting = [copy.module for copy in copies if copy is not None and not copy.n_averaged]
        for copy in waiting:
            copy.load_state_dict(module.state_dict())
        return bool(waiting)

    def _averages(self, trainer: L.Trainer) -> list[WeightAveraging]:
        return [one for one in trainer.callbacks if isinstance(one, WeightAveraging)]  # type: ignore[attr-defined]


class Bar(TQDMProgressBar):
    """Lightning's bar, without metrics; it makes room for the epoch's line, which has them."""

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Clear the bar."""
        self.train_progress_bar.clear()

    def get_metrics(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
        """Return none."""
        return {}


class Checkpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, whose state names files without directories: a run directory can be moved.

    At the end of an epoch it keeps the checkpoint with the best value of `monitor`, or else the newest.
    """

    def __init__(self, directory: Path, name: str, monitor: str | None = None, mode: str = "min") -> None:
        how: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
        super().__init__(directory, filename=name, monitor=monitor, mode=mode, **how)

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state without directories."""
        return {**_moved(super().state_dict(), f"{self.dirpath}", ""), "dirpath": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the files where this run's checkpoints are now."""
        super().load_state_dict({**_moved(state_dict, "", f"{self.dirpath}"), "dirpath": self.dirpath})


def _moved(state: Any, old: str, new: str) -> Any:
    """Return a ModelCheckpoint's state with its files in another directory."""
    if isinstance(state, dict):
        return {_moved(key, old, new): _moved(value, old, new) for key, value in state.items()}
    inside = isinstance(state, str) and state.startswith(f"{old}/")
    return new + state.removeprefix(old) if inside else state
