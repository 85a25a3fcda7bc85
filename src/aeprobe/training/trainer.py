"""Lightning's Trainer as every stage uses it."""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy

from aeprobe.config.schema import TrainerConfig
from aeprobe.data.sampler import stream
from aeprobe.errors import AeprobeError
from aeprobe.models.checkpoints import AtomicCheckpointIO
from aeprobe.processes.collectives import unavailable
from aeprobe.training.build import BuiltStage
from aeprobe.training.instantiate import limited

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


class Unprofiled(PassThroughProfiler):
    """Measures nothing, at no cost: Lightning's makes a context from a generator, a hundred times a step."""

    nothing: AbstractContextManager[None] = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Return a context that does nothing."""
        return self.nothing


class UnevenBatchDDP(DDPStrategy):
    """DDP whose processes may have unequal parts of a batch, or none of it: see `EpochBatches.share`."""

    def __init__(self) -> None:
        # The buffers are equal anyway, and evaluation, in which the parts' number differs, must not wait for them.
        super().__init__(broadcast_buffers=False, gradient_as_bucket_view=True)

    def _configure_launcher(self) -> None:
        """Do nothing: `collectives.processes` has started them, or torchrun or srun."""

    def teardown(self) -> None:
        """Keep WORLD_SIZE, which Lightning's own environment deletes: another stage may follow."""
        world = os.environ.get("WORLD_SIZE")
        super().teardown()
        os.environ |= {"WORLD_SIZE": world} if world else {}


def shows_progress(settings: TrainerConfig) -> bool:
    """Return True if bars are shown: as `trainer.progress` says, "auto" on a terminal alone."""
    return settings.progress.lower() == "true" or (settings.progress == "auto" and sys.stdout.isatty())


def make_trainer(stage: BuiltStage, callbacks: Sequence[Callback]) -> L.Trainer:
    """Return a Trainer for one stage, with these callbacks besides those that every run has."""
    settings, own, directory = stage.config.trainer, stage.settings, stage.directory
    for split in ("val", "test") if own else ("test",):
        batches = -(-len(stage.data.splits[split]) // stage.data.eval_batch_size)
        limited(split, batches, getattr(settings, f"limit_{split}_batches"))
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(directory.checkpoints)
    bar = shows_progress(settings)
    every: list[Callback] = [Bar(refresh_rate=10)] if bar else []  # it clears itself before an epoch's line
    every += [EpochSeed(stage.seed), UnbegunAverages(), *callbacks]
    if own is not None:  # best before last, which keeps the state of both
        every += [Timer(settings.max_time, interval="epoch")] if settings.max_time else []
        mode = "max" if stage.higher_is_better[own.monitor.removeprefix("val/")] else "min"
        every += [Checkpoint(directory.checkpoints, "best", own.monitor, mode)] if stage.keeps_best else []
        every += [Checkpoint(directory.checkpoints, "last")]
    passed = {name: value for name, value in vars(settings).items() if name in signature(L.Trainer).parameters}
    passed["max_time"] = None  # the Timer above stops at an epoch's end
    passed["strategy"] = UnevenBatchDDP() if settings.devices * settings.num_nodes > 1 else "auto"
    passed["profiler"] = settings.profiler or Unprofiled()
    try:
        trainer = L.Trainer(
            max_epochs=own.epochs(settings) if own else 0,
            logger=TensorBoardLogger(directory.path, "", "tensorboard", default_hp_metric=False, max_queue=10_000),
            callbacks=every,
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=50,  # what callbacks have to log; the Recorder writes the curves
            use_distributed_sampler=False,  # EpochBatches divides a batch itself
            **passed,
        )
    except (MisconfigurationException, ValueError) as error:
        raise unavailable(settings, error) from error
    except RuntimeError as error:  # such as two callbacks whose states would have one name in a checkpoint
        raise AeprobeError(f"{stage.name}: {' '.join(str(error).split())}") from error
    # Lightning's handlers would wait for the other processes (2.6.6).
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if settings.profiler:
        trainer.profiler.dirpath, trainer.profiler.filename = directory.path, "profile"  # type: ignore[attr-defined]
    if trainer.precision != settings.precision:  # Lightning chooses another one with a warning alone
        raise AeprobeError(
            f"trainer.precision={settings.precision}: Lightning would compute in {trainer.precision} on "
            f"{trainer.strategy.root_device.type}; say trainer.precision={trainer.precision}, or use a GPU"
        )
    return trainer
