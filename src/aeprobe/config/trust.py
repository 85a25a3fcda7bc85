"""The classes that a configuration may name which came with somebody's file. Nothing is imported to find out."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aeprobe.config.schema import Config, every_node
from aeprobe.errors import AeprobeError

WRITES = re.compile("dir|path|file|uri|url")  # in the name of an argument that says where something is written
TRUSTED = (
    "aeprobe",
    "aeprobe_tools",
    "torch.nn",
    "torch.optim",
    "torchmetrics",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
)


def trusted_in(config: Config, stored: bool = False) -> list[str]:
    """Return what a checkpoint may name for a run: the person's plugins, and each class that they named for it.

    The names of a `stored` configuration, which came with a file, say nothing.
    """
    named = () if stored else (node["_target_"] for _, node, _ in every_node(config))
    return [*config.plugins, *filter(None, named)]


def strange_packages(config: Config) -> list[str]:
    """Return the packages of a stage's classes that a later run, or another person, has to trust by name."""
    targets = (str(node["_target_"]) for _, node, _ in every_node(config) if node["_target_"])
    return sorted({target.partition(".")[0] for target in targets if not _trusts(target, ())})


def _trusts(target: str, plugins: Sequence[str]) -> bool:
    return f"{target}.".startswith(tuple(f"{trusted}." for trusted in (*TRUSTED, *plugins)))


def require_trusted(nodes: Iterable[tuple[str, Any]], plugins: Sequence[str], source: object) -> None:
    """Refuse a class that a stored configuration or a checkpoint names and may not name, also inside a node.

    `plugins` are packages that the person trusts besides; `source` is the file as the person named it.
    """
    for key, node in nodes:
        for name in node if ".callbacks." in key or key.startswith("logger.") else ():
            plain = name == "filename" and re.fullmatch(r"[\w{}-]+", str(node[name]))  # no path
            if WRITES.search(str(name)) and node[name] is not None and not plain:
                raise AeprobeError(f"{source}: {key}.{name}={node[name]}: a stored run writes into its directory")
        for target in _targets(node):
            if target is not None and not _trusts(str(target), plugins):
                package = str(target).partition(".")[0]
                raise AeprobeError(
                    f"{source}: {key}._target_={target}: a stored configuration names no other class than this "
                    f"project's and some of its libraries'; if you trust {package}, add plugins=[{package}], or "
                    "list it in conf/config.yaml"
                )


def _targets(value: Any) -> Iterator[Any]:
    """Yield every `_target_` in a node, at any depth."""
    if isinstance(value, Mapping):
        yield value.get("_target_")
        value = [*value.values()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _targets(item)
