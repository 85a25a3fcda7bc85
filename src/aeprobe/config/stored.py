"""A configuration that lies in somebody's run directory, read as data: it runs no resolver and has an end."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.errors import AeprobeError
from aeprobe.files import read_file

MOST_BYTES = 2**18  # some 3,000 here
DEPTH = 20


def read_config(file: Path) -> DictConfig:
    """The configuration in a run directory's file.

    Raises:
        AeprobeError: it cannot be read, is no YAML of plain values below keys, is too large or too deep, refers to
            itself, or asks for a value of this machine, such as ${oc.env:NAME}.
    """
    config = _read(file)
    if not isinstance(config, DictConfig):
        raise AeprobeError(f"{file} is no configuration")
    asks = next(_resolvers(OmegaConf.to_container(config)), None)
    if asks:
        raise AeprobeError(f"{file}: {asks} would be computed on this machine; put its value there")
    return config


def read_overrides(file: Path) -> list[str]:
    """The overrides in a run directory's file, as they were typed: texts, also those with a `${…}`.

    Raises:
        AeprobeError: it cannot be read, or is no short list of texts.
    """
    overrides = OmegaConf.to_container(_read(file))
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise AeprobeError(f"{file} is no list of what was typed")
    return [*map(str, overrides)]


def _read(file: Path) -> Any:
    try:
        text = read_file(file, MOST_BYTES).decode()
        _require_plain(text)
        return OmegaConf.load(io.StringIO(text))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise AeprobeError(f"{file} cannot be read: {reason}") from None
    except Exception as error:  # PyYAML's errors have no common base that OmegaConf exports
        raise AeprobeError(f"{file} is no configuration: {str(error).partition(chr(10))[0]}") from None


def _require_plain(text: str) -> None:
    """Raises ValueError for what grows when it is read: nested values, and those that are named again."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"it has an alias, *{event.anchor}")
        if depth > DEPTH:
            raise ValueError(f"it is nested over {DEPTH} deep")


def _resolvers(value: Any) -> Iterator[str]:
    """The values that are more than a reference to another key."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _resolvers(item)
    elif isinstance(value, str) and re.search(r"(?<!\\)(\\\\)*\$\{[^}]*:", value):  # `\${` is text
        yield value
