"""Objects from nodes of the configuration: `_target_` names the class, the other keys are its arguments."""

import inspect
import sys
from collections.abc import Collection, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from aeprobe.config.hints import nearest
from aeprobe.errors import AeprobeError

T = TypeVar("T")


def found(target: str, name: str) -> Any:
    """What a full name is the name of; `name` is the key of the node that has it.

    Raises:
        AeprobeError: there is nothing of that name.
    """
    import aeprobe.runtime  # noqa: F401 - heavy, and first: whatever the class is, its module imports torch

    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a class of the person's own, beside where they type
    module, _, own = target.rpartition(".")
    try:
        return getattr(import_module(module), own)  # Hydra's get_class would print the error, too
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise AeprobeError(f"{name}._target_={target}: there is no such class ({reason})") from error


def bound(node: Mapping[str, Any], name: str, kind: type[T], **ours: Any) -> "partial[T]":
    """The class that a node names, with its arguments bound; it is checked before anything of it is called.

    Args:
        node: checked by `validate`.
        name: the node's key.
        kind: what the class must be a subclass of.
        ours: arguments that are ours to give, where the class takes them and the node does not have them.

    Raises:
        AeprobeError: there is no such class, it is of another kind, or it takes no such argument.
    """
    target = node["_target_"]
    named = found(target, name)
    if not isinstance(named, type) or not issubclass(named, kind):
        raise AeprobeError(f"{name}._target_={target}: is no {kind.__name__}")
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    known = inspect.signature(named).parameters
    anything = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values())
    for key in arguments:
        if key not in known and not anything:
            raise AeprobeError(f"{name}.{key}: {target} takes no such argument{_near(key, known)}")
    return partial(named, **{key: value for key, value in ours.items() if key in known} | arguments)


def build(node: Mapping[str, Any], name: str, kind: type[T], **ours: Any) -> T | None:
    """The object that a node describes; None for one without a class. Arguments as of `bound`.

    Numbers and lists of them become tensors of floats where the class wants a tensor: a loss's `weight: [1, 2]`.

    Raises:
        AeprobeError: as `bound`, or the class refuses its arguments.
    """
    if node.get("_target_") is None:
        return None
    make = bound(node, name, kind, **ours)
    try:
        return make(**_tensors(make))
    except (TypeError, ValueError) as error:
        known = inspect.signature(make.func).parameters
        strange = [_near(key, known) for key in make.keywords if key not in known]  # it takes any
        raise AeprobeError(f"{name}: {str(error).partition(chr(10))[0]}{''.join(strange)}") from error


def _near(key: str, known: Collection[str]) -> str:
    close = nearest(key, known)
    return f"; did you mean {close}?" if close else ""


def _tensors(make: "partial[Any]") -> dict[str, Any]:
    """Return those bound arguments as tensors whose annotation is Tensor, or Tensor | None."""
    import torch

    try:
        hints = get_type_hints(make.func.__init__)
    except Exception:  # names that only a type checker imports
        return {}
    wanted = {name for name, hint in hints.items() if hint in (torch.Tensor, torch.Tensor | None)}
    return {
        name: torch.tensor(value, dtype=torch.get_default_dtype())
        for name, value in make.keywords.items()
        if name in wanted and isinstance(value, list | int | float)
    }
