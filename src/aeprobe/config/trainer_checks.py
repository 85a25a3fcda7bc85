"""The checks of `trainer.*`, and of the processes that were started."""

import os
from collections.abc import Mapping

from aeprobe.config.rules import require, require_count, require_number
from aeprobe.config.schema import Config, TrainerConfig
from aeprobe.errors import AeprobeError
from aeprobe.processes import launch


def check_trainer(trainer: TrainerConfig) -> None:
    """Checks `trainer.*`.

    Raises:
        AeprobeError: a value is out of range.
    """
    for name in (
        "devices",
        "num_nodes",
        "accumulate_grad_batches",
        "check_val_every_n_epoch",
        "steps_per_execution",
    ):
        require_count(f"trainer.{name}", getattr(trainer, name))
    if trainer.limit_epochs is not None:
        require_count("trainer.limit_epochs", trainer.limit_epochs)
    most = 4 * (os.cpu_count() or 1)  # many more crash torch, or wait for each other without end
    ok = trainer.threads is None or 1 <= trainer.threads <= most
    require(ok, "trainer.threads", trainer.threads, f"null, or from 1 to {most} on this machine")
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        value = getattr(trainer, name)
        ok = value is None or (value >= 1 if isinstance(value, int) else 0 < value <= 1)
        require(ok, f"trainer.{name}", value, "null, a number of batches (1, 2, …) or a fraction (0.1, 1.0)")
    epochs = trainer.figure_epochs
    require(all(epoch >= 1 for epoch in epochs), "trainer.figure_epochs", epochs, "epochs, counted from 1")
    if trainer.gradient_clip_val is not None:
        require_number("trainer.gradient_clip_val", trainer.gradient_clip_val, 0, "null, or above 0", above=True)
    choices = {
        "strategy": ("auto", "ddp"),
        "accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
        "precision": ("32-true", "bf16-mixed", "16-mixed", "64-true"),
        "profiler": (None, "simple", "advanced"),
        "progress": ("auto", "true", "false"),
    }
    for name, allowed in choices.items():
        value = getattr(trainer, name)
        value = value.lower() if isinstance(value, str) else value
        words = ", ".join("null" if a is None else a for a in allowed)
        require(value in allowed, f"trainer.{name}", value, f"one of {words}")


def check_processes(config: Config, typed: Mapping[str, str]) -> None:
    """Holds the numbers of devices and machines against those that torchrun or srun has started, which win.

    Raises:
        AeprobeError: they contradict what was typed.
    """
    trainer, place = config.trainer, launch.launched()
    if trainer.strategy != "ddp":
        several = [f"trainer.{name}={n}" for name in ("devices", "num_nodes") if (n := getattr(trainer, name)) > 1]
        many = [f"{place.world} processes were started"] if place and place.world > 1 else []
        if many or several:
            what = ", ".join(many + several)
            raise AeprobeError(f"{what}: trainer.strategy={trainer.strategy} has one process; add trainer=ddp")
        return
    if place is None and trainer.num_nodes > 1:
        raise AeprobeError(
            f"trainer.num_nodes={trainer.num_nodes}: several machines need torchrun or srun on each of them, "
            f"for example torchrun --nnodes={trainer.num_nodes} --nproc-per-node={trainer.devices} train.py …"
        )
    for name, started in (("devices", place.local_world), ("num_nodes", place.nodes)) if place else ():
        if f"trainer.{name}" in typed and getattr(trainer, name) != started:
            raise AeprobeError(f"{typed[f'trainer.{name}']}: {started} were started; drop the override")
        setattr(trainer, name, started)
    world = trainer.devices * trainer.num_nodes
    for stage in ("autoencoder", "classifier"):
        size = getattr(config, stage).batch_size
        if config.stage.trains(stage) and 1 <= size < world:
            raise AeprobeError(f"{stage}.batch_size={size}: {world} processes divide it; give {world} or more")
