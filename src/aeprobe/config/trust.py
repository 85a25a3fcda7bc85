"""Which classes a configuration may name that came with somebody's file. Nothing is imported to find that out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aeprobe.config.schema import Config, every_node
from aeprobe.errors import AeprobeError

WRITES = re.compile("dir|path|file|uri|url")  # in the name of an argument that says where something is written
# Classes, and packages of which any class may be named that is of the kind that its place takes. What a person
# types, or has in conf/, may name others too. Of torch.nn the small ones: others, such as Transformer, make as
# many layers as they are told.
TRUSTED = (
    "aeprobe",
    *(f"torch.nn.{name}" for name in ("Linear", "Dropout", "AlphaDropout", "FeatureAlphaDropout")),
    *(f"torch.nn.{name}Loss" for name in ("MSE", "L1", "SmoothL1", "Huber", "BCE", "CrossEntropy", "KLDiv")),
    "torch.optim",
    "torchmetrics",
    "lightning.pytorch.callbacks",
    *(f"lightning.pytorch.loggers.{name}" for name in ("CSVLogger", "WandbLogger", "MLFlowLogger")),
)


def trusted_in(config: Config, stored: bool = False) -> list[str]:
    """What a checkpoint may name for a run: the person's plugins, and each class that they named for it.

    Args:
        config: as `validate` returned it.
        stored: whether it came with a file, and its own names say nothing.
    """
    named = () if stored else (node["_target_"] for _, node, _ in every_node(config))
    return [*config.plugins, *filter(None, named)]


def strange_packages(config: Config) -> list[str]:
    """The packages whose classes a stage names that a later run, or another person, has to trust by name."""
    targets = (str(node["_target_"]) for _, node, _ in every_node(config) if node["_target_"])
    return sorted({target.partition(".")[0] for target in targets if not _trusts(target, ())})


def _trusts(target: str, plugins: Sequence[str]) -> bool:
    return f"{target}.".startswith(tuple(f"{trusted}." for trusted in (*TRUSTED, *plugins)))


def require_trusted(nodes: Iterable[tuple[str, Any]], plugins: Sequence[str], source: object) -> None:
    """Holds the classes that a stored configuration or a checkpoint names against those that it may name.

    Args:
        nodes: with their keys, in the schema's form.
        plugins: packages that the person trusts besides.
        source: where they are from, as the person named it.

    Raises:
        AeprobeError: it names another.
    """
    for key, node in nodes:
        if not isinstance(node, Mapping):
            continue  # no node, and refused by that reason
        places = [name for name in node if WRITES.search(str(name)) and node[name] is not None]
        if places and (".callbacks." in key or key.startswith("logger.")):
            raise AeprobeError(
                f"{source}: {key}.{places[0]}={node[places[0]]}: a stored run writes into its directory"
            )
        target = str(node.get("_target_") or "aeprobe.none")
        if not _trusts(target, plugins):
            package = target.partition(".")[0]
            raise AeprobeError(
                f"{source}: {key}._target_={target}: a stored configuration names no other class than this "
                f"project's and some of its libraries'; if you trust {package}, add plugins=[{package}], or list "
                "it in conf/config.yaml"
            )
