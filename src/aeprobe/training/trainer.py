"""Lightning's Trainer as every stage uses it."""

import os
import sys
from collections.abc import Sequence
from inspect import signature

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from aeprobe.config.schema import TrainerConfig
from aeprobe.errors import AeprobeError
from aeprobe.models.checkpoints import AtomicCheckpointIO
from aeprobe.models.quick_hooks import Unprofiled
from aeprobe.processes.collectives import unavailable
from aeprobe.training.built import BuiltStage
from aeprobe.training.callbacks import Bar, Checkpoint, EpochSeed, UnbegunAverages
from aeprobe.training.instantiate import limited


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
    """Return a Trainer for one stage, with these callbacks besides those that every run has.

    Raises:
        AeprobeError: this machine has no such accelerator, not so many devices, or no such precision on them.
    """
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
