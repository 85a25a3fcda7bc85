"""Lightning's Trainer as every stage uses it."""

import os
import sys
from collections.abc import Sequence
from inspect import signature

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, SimpleProfiler
from lightning.pytorch.strategies import DDPStrategy

from aeprobe.config.schema import TrainerConfig
from aeprobe.errors import AeprobeError
from aeprobe.models.checkpoints import AtomicCheckpointIO
from aeprobe.models.quick_hooks import Unprofiled
from aeprobe.processes.collectives import unavailable
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training.callbacks import Bar, Checkpoint, EpochSeed, Signals, UnbegunAverages
from aeprobe.training.checks import batches_of
from aeprobe.training.experiment import Experiment
from aeprobe.training.loggers import EventFiles

PROFILERS: dict[str, type[Profiler]] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}


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


def make_trainer(
    settings: TrainerConfig, experiment: Experiment, directory: RunDirectory, callbacks: Sequence[Callback]
) -> L.Trainer:
    """Return a Trainer for one stage, with these callbacks besides those that every run has.

    Raises:
        AeprobeError: this machine has no such accelerator, not so many devices, or no such precision on them.
    """
    stage, data = experiment.settings, experiment.data
    batches_of("test", data, data.eval_batch_size, settings.limit_test_batches)
    if stage is not None:
        batches_of("val", data, data.eval_batch_size, settings.limit_val_batches)
    bar = shows_progress(settings)
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(directory.checkpoints)
    every: list[Callback] = [Bar(refresh_rate=10)] if bar else []  # it clears itself before an epoch's line
    every += [EpochSeed(experiment.seed), Signals(), UnbegunAverages(), *callbacks]
    if stage is not None:  # best before last, which keeps the state of both
        every += [Timer(settings.max_time, interval="epoch")] if settings.max_time else []
        mode = "max" if experiment.higher_is_better[stage.monitor.removeprefix("val/")] else "min"
        every += [Checkpoint(directory.checkpoints, "best", stage.monitor, mode)] if experiment.keeps_best else []
        every += [Checkpoint(directory.checkpoints, "last")]
    passed = {name: value for name, value in vars(settings).items() if name in signature(L.Trainer).parameters}
    passed["max_time"] = None  # the Timer above stops at an epoch's end
    several = settings.devices * settings.num_nodes > 1
    passed["strategy"] = UnevenBatchDDP() if several else "auto"
    passed["profiler"] = Unprofiled()
    if settings.profiler:
        passed["profiler"] = PROFILERS[settings.profiler.lower()](directory.path, "profile")
    try:
        trainer = L.Trainer(
            max_epochs=stage.epochs(settings) if stage else 0,
            logger=EventFiles(directory.path),
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
        raise AeprobeError(f"{experiment.stage}: {' '.join(str(error).split())}") from error
    if trainer.precision != settings.precision:  # Lightning chooses another one with a warning alone
        raise AeprobeError(
            f"trainer.precision={settings.precision}: Lightning would compute in {trainer.precision} on "
            f"{trainer.strategy.root_device.type}; say trainer.precision={trainer.precision}, or use a GPU"
        )
    return trainer
