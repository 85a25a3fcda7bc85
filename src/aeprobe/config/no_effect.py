"""Settings that have no effect beside another one: whoever types one of them alone is told so."""

from collections.abc import Callable, Mapping
from typing import Any

from aeprobe.config.schema import Config, Stage
from aeprobe.errors import AeprobeError

STAGES = ("autoencoder", "classifier")
TRAINING = (  # what a test has no use for
    *("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_epochs", "trainer.figure_epochs"),
    *("trainer.gradient_clip_val", "trainer.accumulate_grad_batches", "trainer.check_val_every_n_epoch"),
    *("trainer.steps_per_execution", "objective"),
)
# A key, the key that makes it idle, and whether that has such a value.
RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("autoencoder.clusters", "autoencoder.cluster_weight", lambda weight: weight == 0),
    ("autoencoder.shift_epochs", "autoencoder.shift", lambda pixels: pixels == 0),
    ("autoencoder.shift", "autoencoder.shift_epochs", lambda epochs: epochs == 0),
    ("trainer.figure_epochs", "trainer.figures", lambda drawn: not drawn),
    ("trainer.figure_epochs", "stage", lambda stage: stage == Stage.classifier),  # it reconstructs nothing
    *((key, "stage", lambda stage: stage == Stage.test) for key in TRAINING),
    *((f"{own}.activation", f"{own}.widths", lambda widths: len(widths) == 2) for own in STAGES),  # one layer
    *((f"{own}.optimizer.dampening", f"{own}.optimizer.momentum", lambda value: not value) for own in STAGES),
    *(
        (f"{own}.scheduler.{key}", f"{own}.scheduler.cycle_momentum", lambda cycled: cycled is False)
        for own in STAGES
        for key in ("base_momentum", "max_momentum")
    ),
    *(
        (f"{own}.scheduler.{key}", f"{own}.scheduler.total_steps", lambda total: total is not None)
        for own in STAGES
        for key in ("epochs", "steps_per_epoch")
    ),
)


def check_effect(config: Config, typed: Mapping[str, str], swept: bool) -> None:
    """Refuses what was typed in vain; a value that asks for nothing (null, 0, false, an empty list) is none.

    Args:
        config: the whole.
        typed: the overrides by their keys.
        swept: whether this is one of many runs: the other key of a rule may then be what varies.

    Raises:
        AeprobeError: names the override, and the setting that leaves it without effect.
    """
    for key, by, idle in RULES:
        if key not in typed or not _value(config, key) or not idle(_value(config, by)):
            continue
        if by.partition(".")[0] in STAGES and not config.stage.trains(by.partition(".")[0]):
            continue  # held against a checkpoint
        varies = {"experiment", by, by.rpartition(".")[0]} & typed.keys()
        if not (swept and varies and by != "stage"):
            why = f"{by}={_value(config, by)}"
            raise AeprobeError(f"{typed[key]}: has no effect with {why}; drop it, or change {by}")
    for stage in STAGES:
        node = f"{stage}.scheduler"
        for key in typed if _value(config, node)["_target_"] is None else ():
            if key.startswith(f"{node}.") and _value(config, key) and not (swept and node in typed):
                raise AeprobeError(
                    f"{typed[key]}: has no effect without a schedule; choose one, such as scheduler@{node}=step"
                )


def _value(config: Config, key: str) -> Any:
    """What the configuration has there; None: nothing."""
    found: Any = config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else getattr(found, name, None)
    return found
