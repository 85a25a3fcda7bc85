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
    """Return the object of a full name; `name` is the key of the node that has it."""
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
    """Return the class of a node with its arguments bound, checked before anything of it is called.

    The class must be one of a `kind`. It is given those of `ours` that it takes and the node does not have.

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
    if strange := [key for key in arguments if key not in known and not anything]:
        raise AeprobeError(f"{name}.{strange[0]}: {target} takes no such argument{_near(strange[0], known)}")
    return partial(named, **{key: value for key, value in ours.items() if key in known} | arguments)


def build(node: Mapping[str, Any], name: str, kind: type[T], **ours: Any) -> T:
    """Return the object that a node describes. Arguments as of `bound`.

    Numbers and lists of them become tensors of floats where the class wants a tensor: a loss's `weight: [1, 2]`.

    Raises:
        AeprobeError: as `bound`, or the class refuses its arguments.
    """
    make = bound(node, name, kind, **ours)
    try:
        return make(**_tensors(make))
    except (TypeError, ValueError) as error:
        known = inspect.signature(make.func).parameters
        strange = [_near(key, known) for key in make.keywords if key not in known]  # it takes any
        raise AeprobeError(f"{name}: {str(error).partition(chr(10))[0]}{''.join(strange)}") from error


def build_or_none(node: Mapping[str, Any], name: str, kind: type[T], **ours: Any) -> T | None:
    """Return the same; None for a node without a class, where one may be left out."""
    return None if node.get("_target_") is None else build(node, name, kind, **ours)


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
    return {
        name: torch.tensor(value, dtype=torch.get_default_dtype())
        for name, value in make.keywords.items()
        if hints.get(name) in (torch.Tensor, torch.Tensor | None) and isinstance(value, list | int | float)
    }
