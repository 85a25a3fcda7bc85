"""What every run adds to the Trainer: an epoch's seed, signals and checkpoints."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from aeprobe.signals import end_by_signals


class EpochSeed(L.Callback):
    """Seeds torch anew for every epoch, so that its shifts and noise depend on (seed, epoch) alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Each process draws its own."""
        torch.manual_seed((self.seed * 2**20 + trainer.current_epoch) * 2**10 + trainer.global_rank)


class Signals(L.Callback):
    """Takes the signals back from Lightning, whose handler waits for the other processes (2.6.6)."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning has taken them by now."""
        end_by_signals()

    on_test_start = on_train_start


class Checkpoint(ModelCheckpoint):
    """Lightning's, at the end of an epoch, with a state that names files alone: a run directory can be moved.

    It keeps the checkpoint with the best value of `monitor`, the lowest or (mode "max") the highest, or else the
    newest, in `directory` as `name`.ckpt. Where that is None, the Trainer is made with the run's.
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
        """The same in every version of Lightning, so that a run of an earlier one goes on."""
        return f"Checkpoint {self.filename}"

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, without directories."""
        return _moved(super().state_dict(), "")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Puts the files where this run's checkpoints are now."""
        super().load_state_dict(_moved(state_dict, str(self.dirpath)))


class EveryNEpochs(Checkpoint):
    """Keeps a checkpoint of every so many epochs too: checkpoints/epoch_5.ckpt, epoch_10.ckpt and so on.

    Args:
        n: 1 or more.
    """

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"n={n}: must be 1 or more")
        super().__init__(None, "every_n_epochs", save_top_k=-1, every_n_epochs=n)

    def format_checkpoint_name(self, metrics: dict[str, Any], *_: Any, **__: Any) -> str:
        """Named after the epochs that are trained."""
        return str(Path(str(self.dirpath), f"epoch_{int(metrics['epoch']) + 1}.ckpt"))


def _moved(state: dict[str, Any], directory: str) -> dict[str, Any]:
    """A ModelCheckpoint's state with its files in another directory."""

    def moved(path: str) -> str:
        return str(Path(directory, Path(path).name)) if path else path

    paths = {key: moved(value) for key, value in state.items() if key.endswith("_path")}
    best = {moved(path): score for path, score in state["best_k_models"].items()}
    return state | paths | {"best_k_models": best, "dirpath": directory}
