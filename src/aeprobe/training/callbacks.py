"""What happens beside the training: seeds, stops, checkpoints and the bar."""

from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from tqdm import tqdm

from aeprobe.processes.signals import Interruption


class EpochSeed(L.Callback):
    """Seeds torch anew for every epoch, so that its shifts and noise depend on (seed, epoch) alone.

    Args:
        seed: the run's.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Each process draws its own."""
        torch.manual_seed((self.seed * 2**20 + trainer.current_epoch) * 2**10 + trainer.global_rank)


class Stop(L.Callback):
    """Ends the training at the step in which a signal came; what its epoch did is discarded.

    Args:
        interruption: hears the signals.
    """

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption

    def on_train_start(self, *_: Any) -> None:
        """Lightning has taken the signals by now."""
        self.interruption.listen()

    def on_test_start(self, *_: Any) -> None:
        """The same."""
        self.interruption.listen()

    def on_train_epoch_start(self, *_: Any) -> None:
        """From here on, a first signal waits for a step's gradients."""
        self.interruption.waiting = True

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Acts on it: `on_train_batch_end` comes after a block of steps."""
        self.interruption.act()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """The epoch's end is no time to wait."""
        self.interruption.act()
        if trainer.is_last_batch:
            self.interruption.waiting = False


class Checkpoint(ModelCheckpoint):
    """Lightning's, at the end of an epoch, with a state that names files alone: a run directory can be moved.

    Args:
        directory: of the checkpoints.
        name: of the file, without its suffix.
        monitor: keeps the checkpoint with the lowest value; None: the newest.
    """

    def __init__(self, directory: Path, name: str, monitor: str | None = None) -> None:
        super().__init__(
            directory, filename=name, monitor=monitor, enable_version_counter=False, save_on_train_epoch_end=True
        )

    @property
    def state_key(self) -> str:
        """Lightning's is composed anew at each of six hooks a step."""
        return f"Checkpoint {self.filename}"

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, without directories."""
        state = super().state_dict()
        paths = {key: Path(state[key]).name for key in PATHS if state[key]}
        best = {Path(path).name: score for path, score in state["best_k_models"].items()}
        return state | paths | {"best_k_models": best, "dirpath": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Puts the files where this run's checkpoints are now."""
        assert self.dirpath is not None
        here = Path(self.dirpath)
        paths = {key: str(here / state_dict[key]) for key in PATHS if state_dict[key]}
        best = {str(here / name): score for name, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | paths | {"best_k_models": best, "dirpath": self.dirpath})


PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class Bar(ProgressBar):
    """A bar within the epoch; it makes room for the epoch's line.

    Lightning's own bar redraws for validation and test too, and counts epochs from 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm[Any] | None = None
        self._enabled = True

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Draws an empty bar."""
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        total = len(trainer.train_dataloader.sampler)  # type: ignore[union-attr]
        self._bar = tqdm(
            total=total, desc=epoch, unit="batch", leave=False, mininterval=0.2, disable=not self._enabled
        )

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        """Counts the batches of a step; tqdm redraws a few times a second."""
        if self._bar is not None:
            self._bar.update(min(module.optimization.accumulate, self._bar.total - self._bar.n))

    def on_validation_start(self, *_: Any) -> None:
        """Clears the bar."""
        self._close()

    def on_train_epoch_end(self, *_: Any) -> None:
        """Clears the bar, where nothing was validated."""
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Leaves a clean line for the error."""
        self._close()

    def disable(self) -> None:
        """Lightning disables the bar of every process but the first."""
        self._enabled = False

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
