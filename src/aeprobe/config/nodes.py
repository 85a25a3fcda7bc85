"""Objects from nodes of the configuration: `_target_` names the class, the other keys are its arguments."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from hydra.utils import instantiate

from aeprobe.config.hints import nearest
from aeprobe.errors import AeprobeError

T = TypeVar("T")


def bound(node: Mapping[str, Any], name: str, kind: type[T]) -> "partial[T]":
    """The class that a node names, with its arguments bound.

    Args:
        node: checked by `validate`: the class is one of those that may be named there.
        name: the node's key.
        kind: what the class must be a subclass of.

    Raises:
        AeprobeError: there is no such class, it is of another kind, or it takes no such argument.
    """
    target = node["_target_"]
    try:
        # Converted to plain lists: a checkpoint holds them.
        factory: partial[T] = instantiate({**node, "_partial_": True}, _convert_="all")
        known = inspect.signature(factory.func).parameters
        fits = issubclass(factory.func, kind)  # type: ignore[arg-type]
    except Exception as error:
        raise AeprobeError(f"{name}._target_={target}: there is no such class") from error
    if not fits:
        raise AeprobeError(f"{name}._target_={target}: is no {kind.__name__}")
    for key in factory.keywords:
        if key not in known:
            raise AeprobeError(f"{name}.{key}: {target} takes no such argument; {nearest(key, known)}")
    return factory


def build(node: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """The object that a node describes; None for one without a class.

    Raises:
        AeprobeError: as `bound`, or the class refuses its arguments.
    """
    if node.get("_target_") is None:
        return None
    try:
        return bound(node, name, kind)()
    except (TypeError, ValueError) as error:
        raise AeprobeError(f"{name}: {str(error).partition(chr(10))[0]}") from error
