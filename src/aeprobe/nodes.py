"""Objects from nodes: `_target_` names the class, the other keys are its arguments.

A node that came with somebody's file may name trusted classes alone; nothing is imported to find out.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from aeprobe.errors import AeprobeError, first_line

T = TypeVar("T")
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


def found(target: str, name: str) -> Any:
    """Return the object of a full name; `name` is the key of the node that has it."""
    import aeprobe.runtime  # noqa: F401 - heavy, and first: whatever the class is, its module imports torch

    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a class of the person's own, beside where they type
    module, _, own = target.rpartition(".")
    try:
        return getattr(import_module(module), own)  # Hydra's get_class would print the error, too
    except Exception as error:
        raise AeprobeError(f"{name}._target_={target}: there is no such class ({first_line(error)})") from error


def bound(node: Mapping[str, Any], name: str, kind: type[T], **ours: Any) -> "partial[T]":
    """Return the class of a node with its arguments bound, checked before anything of it is called.

    The class must be one of a `kind`. It is given those of `ours` that it takes and the node does not have.
    """
    target = node["_target_"]
    named = found(target, name)
    if not isinstance(named, type) or not issubclass(named, kind):
        raise AeprobeError(f"{name}._target_={target}: is no {kind.__name__}")
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    known = inspect.signature(named).parameters
    anything = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values())
    for key in () if anything else arguments.keys() - known.keys():
        near = "".join(f"; did you mean {word}?" for word in get_close_matches(key, known, n=1))
        raise AeprobeError(f"{name}.{key}: {target} takes no such argument{near}")
    return partial(named, **{key: value for key, value in ours.items() if key in known} | arguments)


def build(node: Mapping[str, Any], name: str, kind: type[T], **ours: Any) -> T:
    """Return the object that a node describes. Arguments as of `bound`.

    Numbers and lists of them become tensors of floats where the class wants a tensor: a loss's `weight: [1, 2]`.
    """
    make = bound(node, name, kind, **ours)
    try:
        return make(**_tensors(make))
    except (TypeError, ValueError) as error:
        raise AeprobeError(f"{name}: {first_line(error)}") from error


def build_or_none(node: Mapping[str, Any], name: str, kind: type[T], **ours: Any) -> T | None:
    """Return the same; None for a node without a class, where one may be left out."""
    return None if node.get("_target_") is None else build(node, name, kind, **ours)


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


def trusts(target: str, plugins: Sequence[str] = ()) -> bool:
    """Tell if a stored node may name a class, of this project, its libraries or the person's plugins."""
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
            if target is not None and not trusts(str(target), plugins):
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
