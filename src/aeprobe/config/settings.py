"""A configuration as settings by their dotted keys: what a stored one means today, and what makes two runs alike.

Needs no torch. Every comparison of two runs goes through here.
"""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin

from omegaconf import MISSING, OmegaConf

from aeprobe.config.fields import Role
from aeprobe.config.schema import ALIASES, SOURCES, STAGES, Config, keys, value_of

# What became of keys that a stored configuration may still have: the new name, or None for a key that was dropped.
MOVED: dict[str, str | None] = {
    **ALIASES,
    "trainer.steps_per_execution": None,
    "autoencoder.shift": "autoencoder.augmentation.pixels",
    "autoencoder.shift_epochs": "autoencoder.augmentation.epochs",
    "autoencoder.pixel_dropout": "autoencoder.corruption.p",
    "autoencoder.cluster_weight": "autoencoder.regularizer.weight",
    "autoencoder.clusters": "autoencoder.regularizer.clusters",
}
# The class of a node that moved keys belong to, and the one of them that must not be 0 for it.
CLASSES = {
    "autoencoder.augmentation": ("aeprobe.data.augmentation.RandomShift", "pixels"),
    "autoencoder.corruption": ("torch.nn.Dropout", "p"),
    "autoencoder.regularizer": ("aeprobe.models.regularizers.ClusterAgreement", "weight"),
}
# Arguments that a class did not have when some runs were stored: what they mean.
LATER = {
    f"aeprobe.models.networks.{name}": {"initialization": "torch", "dropout": 0.0, "batch_norm": False}
    for name in ("MLPAutoencoder", "MLP")
}


def flat(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration's values by their dotted keys.

    >>> flat({"seed": 0, "data": {"root": "data"}})
    {'seed': 0, 'data.root': 'data'}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def upgraded(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration in today's keys: moved ones by their new names, absent ones with their neutral value.

    What is no group of settings, in a damaged file, stays as it is for the checks that follow.
    """
    config: dict[str, Any] = deepcopy(dict(stored))
    for old, new in MOVED.items():
        node, name = _parent(config, old)
        if node is not None and name in node:
            value = node.pop(name)
            target, name = _parent(config, new) if new else (None, "")
            if target is not None:
                target.setdefault(name, value)
    for owner, (target_class, amount) in CLASSES.items():
        node, name = _parent(config, owner)
        if node is not None and isinstance(node.get(name), dict) and "_target_" not in node[name]:
            node[name] = {"_target_": target_class} | node[name] if node[name].get(amount) else {"_target_": None}
    for stage in STAGES:
        schedule, _ = _parent(config, f"{stage}.scheduler.interval")
        if schedule and schedule.get("_target_"):
            schedule.setdefault("interval", "step")  # before it was a key, every schedule counted optimizer steps
    for key, value in neutral().items():
        node, name = _parent(config, key)
        if node is not None:
            node.setdefault(name, value)
    _upgrade_networks(config)
    _upgrade_source(config)
    return config


def _upgrade_source(config: dict[str, Any]) -> None:
    """Adds the class that a configuration means which names its images alone."""
    source = value_of(config, "data.source")
    if isinstance(source, dict) and source.get("_target_") is None:
        source["_target_"] = SOURCES.get(str(value_of(config, "data.name")))


def _upgrade_networks(config: dict[str, Any]) -> None:
    """Adds what a class did not have; widths that the images and the code fix are "auto", whoever typed them."""
    for key, ends in (("autoencoder.network", [0]), ("classifier.head", [0, -1])):
        node, _ = _parent(config, f"{key}.widths")
        if node is not None:
            node |= LATER.get(str(node.get("_target_")), {}) | node
        widths = value_of(config, f"{key}.widths")
        if isinstance(widths, list) and widths:
            for end in ends:
                if end == 0 or (widths[end] == 10 and value_of(config, "data.name") == "mnist"):
                    widths[end] = "auto"


def _parent(config: dict[str, Any], key: str) -> tuple[dict[str, Any] | None, str]:
    """The group that a dotted key lies in, None where it is no group, and the key's name in it."""
    *owners, name = key.split(".")
    node: Any = config
    for owner in owners:
        node = node.setdefault(owner, {}) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else None), name


@cache
def neutral() -> dict[str, Any]:
    """The neutral value of every key that has one."""
    values = flat(OmegaConf.to_container(OmegaConf.structured(Config), enum_to_str=True))  # type: ignore[arg-type]
    return {key: value for key, value in values.items() if value != MISSING}


@cache
def roles() -> dict[str, Role]:
    """The role of every key that has one: of all that changes no number of the experiment."""
    return {name: field.metadata["role"] for name, field in keys() if field.metadata.get("role")}


def changes_a_number(key: str) -> bool:
    """Whether a dotted key can change a number of the experiment: neither it nor its group has a role."""
    names = key.split(".")
    return not any(".".join(names[:length]) in roles() for length in range(1, len(names) + 1))


def misfit(stored: Mapping[str, Any]) -> str:
    """The first setting of somebody's run that has not the schema's type and range, in words; "" for none.

    Threads and the like may be those of a larger machine.
    """
    for key, item in keys():
        value, rule = value_of(stored, key), item.metadata.get("rule")
        if value is not None and not _has_type(value, item.type):
            return f"{key} is {value!r:.40}"
        if value is not None and rule and item.metadata["role"] != Role.place and not rule.allows(value):
            return f"{key} is {value!r:.40}, must be {rule.text}"
    return ""


def _has_type(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if get_origin(kind) is UnionType:
        return any(_has_type(value, one) for one in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_has_type(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict)
    if issubclass(kind, StrEnum):
        return value in [*kind]
    return type(value) is kind or (kind is float and type(value) is int)


def experiment(stored: Mapping[str, Any], data: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """What makes one stage of a run the experiment that it is: runs that share it differ in their seed alone.

    Args:
        stored: the run's configuration, as metrics.json has it.
        data: the images as they were used, as metrics.json has them.
        stage: "autoencoder", "classifier" or "test". A classifier's settings hold the autoencoder's too, where one
            run trained both.
    """
    config = upgraded(stored)
    groups = ["trainer", stage]
    if config.get("stage") == "all" and stage == "classifier":
        groups.insert(1, "autoencoder")
    settings = {key: value for key, value in flat(config).items() if key.partition(".")[0] in groups}
    settings |= {f"data.{key}": data.get(key) for key in ("name", "val_size", "mean", "std")}
    if stage == "classifier":
        settings["data.labels"] = value_of(config, "data.labels")
    settings = {key: _number(key, value) for key, value in settings.items() if changes_a_number(key)}
    files = data.get("files")
    sums = [str(file.get("sha256"))[:12] for file in files.values()] if isinstance(files, dict) else []
    return settings | ({"data.files": sums} if sums else {"data.root": data.get("root")})


def _number(key: str, value: Any) -> Any:
    """The schema does not type an optimizer's numbers: 1.0 is 1 there, unlike in `limit_*_batches`."""
    if isinstance(value, list):
        return [_number(key, item) for item in value]
    typed = key.startswith("trainer.")
    return int(value) if isinstance(value, float) and value.is_integer() and not typed else value


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that stand for settings; a key with its neutral value counts as absent."""
    told = {key: value for key, value in settings.items() if key not in neutral() or value != neutral()[key]}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
