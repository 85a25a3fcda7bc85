"""Settings by their dotted keys: the values of a stored configuration, and the test of two runs being alike."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import MISSING

from aeprobe.config.schema import Config, keys, plain, value_of


def flat(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration's values by their dotted keys.

    >>> flat({"seed": 0, "data": {"root": "data"}})
    {'seed': 0, 'data.root': 'data'}
    """
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def complete(stored: Mapping[str, Any], neutral: Any = plain(Config())) -> dict[str, Any]:  # noqa: B008 - a constant
    """Return a stored configuration with the neutral value of each key that it lacks."""
    return {
        name: complete(value, neutral[name])
        if isinstance(value, Mapping) and isinstance(neutral.get(name), Mapping)
        else value
        for name, value in {**neutral, **stored}.items()
        if value != MISSING
    }


@cache
def neutral() -> dict[str, Any]:
    """Return the neutral value of every key that has one."""
    return flat(complete({}))


@cache
def roles() -> dict[str, str]:
    """Return the role of every key that changes no number of the experiment."""
    return {name: role for name, field in keys() if (role := field.metadata.get("role"))}


def changes_a_number(key: str) -> bool:
    """Tell if a dotted key can change a number of the experiment: neither it nor its group has a role."""
    names = key.split(".")
    return not any(".".join(names[:length]) in roles() for length in range(1, len(names) + 1))


def experiment(stored: Mapping[str, Any], data: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the settings that make a run's stage the experiment that it is: a table folds the seeds of one.

    `stored` and `data` are its configuration and its images, as metrics.json has them. A classifier's settings
    hold the autoencoder's too, where one run trained both.
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
    if data.get("name") == "mnist":  # which has the same files everywhere
        return settings
    files = data.get("files")
    sums = [str(file.get("sha256"))[:12] for file in files.values()] if isinstance(files, dict) else []
    return settings | ({"data.files": sums} if sums else {"data.root": data.get("root")})


def _number(key: str, value: Any) -> Any:
    """Return 1 for 1.0, in numbers that the schema does not type, such as an optimizer's."""
    if isinstance(value, list):
        return [_number(key, item) for item in value]
    typed = key.startswith("trainer.")
    return int(value) if isinstance(value, float) and value.is_integer() and not typed else value


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return sixteen hexadecimal digits that stand for settings; a key with its neutral value counts as absent."""
    told = {key: value for key, value in settings.items() if key not in neutral() or value != neutral()[key]}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
