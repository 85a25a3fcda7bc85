"""Objects from nodes of the configuration: `_target_` names the class, the other keys are its arguments."""

import inspect
import sys
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from aeprobe.config.hints import nearest
from aeprobe.errors import AeprobeError
from aeprobe.paths import typed_in

T = TypeVar("T")


def bound(node: Mapping[str, Any], name: str, kind: type[T]) -> "partial[T]":
    """The class that a node names, with its arguments bound; it is checked before anything of it is called.

    Args:
        node: checked by `validate`.
        name: the node's key.
        kind: what the class must be a subclass of.

    Raises:
        AeprobeError: there is no such class, it is of another kind, or it takes no such argument.
    """
    target = node["_target_"]
    if (here := str(typed_in())) not in sys.path:
        sys.path.append(here)  # a class of the person's own, beside where they type
    module, _, own = target.rpartition(".")
    try:
        found = getattr(import_module(module), own)  # Hydra's get_class would print the error, too
    except Exception as error:
        raise AeprobeError(
            f"{name}._target_={target}: there is no such class ({str(error).partition(chr(10))[0]})"
        ) from error
    if not isinstance(found, type) or not issubclass(found, kind):
        raise AeprobeError(f"{name}._target_={target}: is no {kind.__name__}")
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    known = inspect.signature(found).parameters
    anything = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values())
    for key in arguments:
        if key not in known and not anything:
            raise AeprobeError(f"{name}.{key}: {target} takes no such argument; {nearest(key, known)}")
    return partial(found, **arguments)


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
