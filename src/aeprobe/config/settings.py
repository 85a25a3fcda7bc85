"""A configuration as settings by their dotted keys: what a stored one means, and what makes two runs alike.

Needs no torch. Every comparison of two runs goes through here.
"""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from omegaconf import MISSING, OmegaConf

from aeprobe.config.fields import Role
from aeprobe.config.schema import Config, keys, value_of


def flat(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration's values by their dotted keys.

    >>> flat({"seed": 0, "data": {"root": "data"}})
    {'seed': 0, 'data.root': 'data'}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def complete(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, with the neutral value of each key that it lacks."""
    config = deepcopy(dict(stored))
    for key, value in neutral().items():
        *groups, name = key.split(".")
        group = config
        for part in groups:
            group = group.setdefault(part, {})
        group.setdefault(name, value)
    return config


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


def experiment(stored: Mapping[str, Any], data: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """What makes one stage of a run the experiment that it is: runs that share it differ in their seed alone.

    Args:
        stored: the run's configuration, as metrics.json has it.
        data: the images as they were used, as metrics.json has them.
        stage: "autoencoder", "classifier" or "test". A classifier's settings hold the autoencoder's too, where one
            run trained both.
    """
    config = complete(stored)
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
