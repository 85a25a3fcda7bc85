"""Settings that have no effect beside another one: whoever types one of them alone is told so."""

from collections.abc import Callable, Mapping
from typing import Any

from aeprobe.config.schema import STAGES, Config, Stage, keys
from aeprobe.errors import AeprobeError

# A key, the key that makes it idle, and whether that has such a value.
RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("trainer.figure_epochs", "trainer.figures", lambda drawn: not drawn),
    ("trainer.figure_epochs", "stage", lambda stage: stage == Stage.classifier),  # it reconstructs nothing
    *(
        (key, "stage", lambda stage: stage == Stage.test)
        for key, field in keys()
        if field.metadata.get("training")
    ),
    *(
        (f"{stage}.activation", f"{stage}.widths", lambda widths: len(widths) == 2) for stage in STAGES
    ),  # one layer
    *(
        (f"{stage}.optimizer.dampening", f"{stage}.optimizer.momentum", lambda value: not value)
        for stage in STAGES
    ),
    *(
        (f"{stage}.scheduler.{key}", f"{stage}.scheduler.cycle_momentum", lambda cycled: cycled is False)
        for stage in STAGES
        for key in ("base_momentum", "max_momentum")
    ),
    *(
        (f"{stage}.scheduler.{key}", f"{stage}.scheduler.total_steps", lambda total: total is not None)
        for stage in STAGES
        for key in ("epochs", "steps_per_epoch")
    ),
)
NODES = tuple(key for key, field in keys() if field.metadata.get("packages"))


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
    for node in NODES:
        for key in typed if not _value(config, f"{node}._target_") else ():
            if key.startswith(f"{node}.") and _value(config, key) and not (swept and node in typed):
                group = node.rpartition(".")[2]
                raise AeprobeError(
                    f"{typed[key]}: has no effect without a {group}; choose one: {group}@{node}=NAME"
                )


def _value(config: Config, key: str) -> Any:
    """What the configuration has there; None: nothing."""
    found: Any = config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else getattr(found, name, None)
    return found
