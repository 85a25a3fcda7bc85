"""The nearest right name for a key that does not exist."""

import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

from aeprobe.config.schema import Config
from aeprobe.paths import typed_command


def no_such_key(key: str, config: Container | None = None) -> str:
    """Return the line that refuses a key and names the nearest one, of a composed configuration or the schema."""
    if preset := re.search(r"(?:^|@)(experiment|search)\b", key):
        return f"{key}: no such key; a file of conf/{preset[1]} has to begin with the line `# @package _global_`"
    root = config._get_root() if config is not None else OmegaConf.structured(Config)
    of_hydra = key.startswith("hydra")
    groups = {name: group for name, group in _keys(root) if name != key and name.startswith("hydra") == of_hydra}
    name = nearest(key.partition("@")[0].replace("/", "."), groups)
    if name is None:
        return f"{key}: no such key; `{typed_command()} --cfg job` lists the keys"
    return f"{key}: no such key; did you mean {choice(name) if groups[name] else name}?"


def choice(group: str) -> str:
    """Return the override that chooses a file of conf/ for a group of keys.

    >>> choice("autoencoder.optimizer")
    'optimizer@autoencoder.optimizer=NAME'
    """
    folder = group.rpartition(".")[2].replace("evaluations", "evaluation")
    return f"{folder}@{group}=NAME" if "." in group else f"{group}=NAME"


def nearest(key: str, known: Collection[str]) -> str | None:
    """Return the known dotted key most like `key`: its name elsewhere, or a near spelling; None: neither."""
    owner, _, name = key.rpartition(".")
    same = [other for other in known if other.rpartition(".")[2] == name]
    if same:
        return min(same, key=lambda other: other.partition(".")[0] != owner.partition(".")[0])
    siblings = {other.rpartition(".")[2]: other for other in known if other.rpartition(".")[0] == owner}
    anywhere = {other.rpartition(".")[2]: other for other in reversed([*known])}
    for names in (siblings, anywhere):
        if near := get_close_matches(name, names, n=1):
            return names[near[0]]
    return None


def _keys(config: Any, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield every dotted key below a configuration, and whether it is a group of keys."""
    for name in config:
        node = config._get_node(name)
        group = isinstance(node, DictConfig) and not node._is_none()
        yield f"{prefix}{name}", group
        if group and not node._is_interpolation() and not node._is_missing():
            yield from _keys(node, f"{prefix}{name}.")
