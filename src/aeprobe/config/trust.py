"""Which classes a configuration may name that came with somebody's file. Nothing is imported to find that out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aeprobe.config.schema import every_node
from aeprobe.errors import AeprobeError

WRITES = re.compile("dir|path|file|uri|url")  # in the name of an argument that says where something is written
# Classes, and packages of which any class may be named that is of the kind that its place takes. What a person
# types, or has in conf/, may name others too.
TRUSTED = (
    "aeprobe",
    "torch.nn",
    "torch.optim",
    "torchmetrics",
    "lightning.pytorch.callbacks",
    *(f"lightning.pytorch.loggers.{name}" for name in ("CSVLogger", "WandbLogger", "MLFlowLogger")),
)


def require_trusted(config: Mapping[Any, Any], plugins: Sequence[str], source: object) -> None:
    """Holds the classes that a stored configuration names against the packages that it may name.

    Args:
        config: as it was stored, in the schema's form.
        plugins: packages that the person trusts besides.
        source: of the configuration, as the person named it.

    Raises:
        AeprobeError: it names another.
    """
    for key, node, _ in every_node(config):
        if not isinstance(node, Mapping):
            continue  # no node, and refused by that reason
        places = [name for name in node if WRITES.search(name) and node[name] is not None]
        if places and (".callbacks." in key or key.startswith("logger.")):
            raise AeprobeError(
                f"{source}: {key}.{places[0]}={node[places[0]]}: a stored run writes into its directory"
            )
        target = str(node.get("_target_") or "aeprobe.none")
        if not f"{target}.".startswith(tuple(f"{trusted}." for trusted in (*TRUSTED, *plugins))):
            raise AeprobeError(
                f"{source}: {key}._target_={target}: a stored configuration names no other class than this "
                f"project's and its libraries'; if you trust {target.partition('.')[0]}, add plugins="
                f"[{target.partition('.')[0]}], or list it in conf/config.yaml"
            )
