"""Callbacks that every run has: an epoch's seed, signals, checkpoints; and one that keeps every n-th epoch."""

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar, WeightAveraging
from torch import Tensor, nn

from aeprobe.data.sampler import stream
from aeprobe.signals import end_by_signals

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
        with torch.no_grad():
            for copy in waiting:
                for theirs, weights in zip(_tensors(copy), _tensors(module), strict=True):
                    theirs.copy_(weights)
        return bool(waiting)

    def _averages(self, trainer: L.Trainer) -> list[WeightAveraging]:
        return [one for one in trainer.callbacks if isinstance(one, WeightAveraging)]  # type: ignore[attr-defined]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


class Signals(L.Callback):
    """Take the signals back from Lightning, whose handler waits for the other processes (2.6.6)."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take them back: Lightning has taken them by now."""
        end_by_signals()

    on_test_start = on_train_start


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

    At the end of an epoch it keeps the checkpoint with the best value of `monitor`, or else the newest, in
    `directory` (None: the run's) as `name`.ckpt.
    """

    def __init__(
        self, directory: Path | None, name: str, monitor: str | None = None, mode: str = "min", **more: Any
    ) -> None:
        super().__init__(
            directory,
            filename=name,
            monitor=monitor,
            mode=mode,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
            **more,
        )

    @property
    def state_key(self) -> str:
        """Return a key that no version of Lightning changes."""
        return f"Checkpoint {self.filename}"

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state without directories."""
        return _moved(super().state_dict(), "")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the files where this run's checkpoints are now."""
        super().load_state_dict(_moved(state_dict, str(self.dirpath)))


def _moved(state: dict[str, Any], directory: str) -> dict[str, Any]:
    """Return a ModelCheckpoint's state with its files in another directory."""

    def moved(path: str) -> str:
        return str(Path(directory, Path(path).name)) if path else path

    paths = {key: moved(value) for key, value in state.items() if key.endswith("_path")}
    best = {moved(path): score for path, score in state["best_k_models"].items()}
    return state | paths | {"best_k_models": best, "dirpath": directory}
