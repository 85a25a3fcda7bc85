"""What happens beside the training: seeds, stops, checkpoints and the bar."""

from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

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
        """From here on, a first signal waits for the end of a step."""
        self.interruption.waiting = True

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Acts on it; at the epoch's end, where checkpoints are saved, a signal is acted on at once again."""
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
        """The same in every version of Lightning, so that a run of an earlier one goes on."""
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


class Bar(TQDMProgressBar):
    """Lightning's bar, for training alone and with epochs from 1; it makes room for the epoch's line."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)

    def init_train_tqdm(self) -> Tqdm:
        """A bar that is gone when the epoch is."""
        bar = super().init_train_tqdm()
        bar.leave, bar.unit = False, "batch"
        return bar

    def init_validation_tqdm(self) -> Tqdm:
        """None for the validation."""
        return Tqdm(disable=True)

    def init_test_tqdm(self) -> Tqdm:
        """None for the test."""
        return Tqdm(disable=True)

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Draws an empty bar."""
        super().on_train_epoch_start(trainer, *_)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Clears it, before the Recorder prints the epoch's line."""
        self.train_progress_bar.clear()

    def on_exception(self, *_: Any) -> None:
        """Leaves a clean line for the error."""
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """None beside the bar: the epoch's line has them."""
        return {}
