"""A configuration that lies in somebody's run directory, read as data: it runs no resolver and has an end."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.errors import AeprobeError
from aeprobe.files import read_file

MOST_BYTES = 2**18  # some 3,000 here
DEPTH = 20


def read_yaml(file: Path) -> Any:
    """What a YAML file of a run directory holds, as OmegaConf has it.

    Raises:
        AeprobeError: it cannot be read, is no YAML of plain values, is too large or too deep, refers to itself,
            or asks for a value of this machine, such as ${oc.env:NAME}.
    """
    try:
        text = read_file(file, MOST_BYTES).decode()
        _require_plain(text)
        content = OmegaConf.load(io.StringIO(text))
        asks = next(_resolvers(OmegaConf.to_container(content)), None)
    except (OSError, ValueError, OmegaConfBaseException) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise AeprobeError(f"{file} cannot be read: {reason}") from None
    except Exception as error:  # PyYAML's errors have no common base that OmegaConf exports
        raise AeprobeError(f"{file} is no configuration: {str(error).partition(chr(10))[0]}") from None
    if asks:
        raise AeprobeError(f"{file}: {asks} would be computed on this machine; put its value there")
    return content


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
