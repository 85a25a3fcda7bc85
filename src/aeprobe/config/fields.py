"""How the schema declares a key: its neutral value, its rule, what it is for."""

from dataclasses import field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING

from aeprobe.config.rules import Rule


class Role(StrEnum):
    """What a key is for that changes no number of the experiment: runs that differ in it belong together."""

    name = "name"  # what a run is called, where it lies, what a search looks at
    display = "display"  # what is shown of it; may be typed with resume=
    place = "place"  # where and how fast it is computed, which may change the last bits


def key(
    neutral: Any = MISSING,
    role: Role | None = None,
    rule: Rule | None = None,
    ours: bool = False,
) -> Any:
    """A field of the schema.

    Args:
        neutral: the value that it has where a stored configuration lacks it.
        role: what it is for, where it changes no number.
        rule: what a value other than null must be.
        ours: whether it is no argument of Lightning's Trainer, among those of `trainer.*`.
    """
    metadata = {"role": role, "rule": rule, "ours": ours}
    if isinstance(neutral, list | dict):
        return field(default_factory=neutral.copy, metadata=metadata)
    return field(default=neutral, metadata=metadata)


def node(neutral: str | None = None, required: bool = False, young: bool = True) -> Any:
    """A field whose `_target_` names a class; its other keys are arguments, held against the class's signature.

    Args:
        neutral: the class that stored configurations mean which name none.
        required: whether null may not stand for none.
        young: whether stored configurations may lack it.
    """
    default = {"_target_": neutral} if young else {}
    return field(default_factory=default.copy, metadata={"node": "one", "required": required})


def node_or_word(neutral: str, *others: str) -> Any:
    """A field that holds a node, or a word for a class of the project's."""
    words = (neutral, *others)
    rule = Rule(f"{' or '.join(words)}, or a node with a _target_", lambda v: isinstance(v, dict) or v in words)
    return field(default=neutral, metadata={"node": "or a word", "role": None, "rule": rule})


def nodes_by_name(role: Role | None = None, ours: bool = False) -> Any:
    """A field that holds nodes by names of the person's own; stored configurations that lack it have none.

    Args:
        role: what they are for, where they change no number of the experiment.
        ours: whether it is no argument of Lightning's Trainer.
    """
    return field(default_factory=dict, metadata={"node": "several", "required": True, "role": role, "ours": ours})
