"""A command line's `KEY=VALUE`: read before Hydra does, written such that it can be typed again, made a name."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString
from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf

from aeprobe.config.schema import ALIASES
from aeprobe.errors import AeprobeError
from aeprobe.paths import PATHS, home

GROUPS = ("autoencoder", "classifier", "data", "trainer", "experiment")
OF_A_MULTIRUN = ("sweep=", "search=")  # say which runs there are, not what a run does


def in_full(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with whole names for short ones of keys, and the home directory for a leading `~`."""
    whole = []
    for key, equals, value in (argument.partition("=") for argument in arguments):
        path = quote(literal(home(value))) if key in PATHS and value.startswith("~") else value
        whole.append(f"{ALIASES.get(key, key)}{equals}{path}")
    return whole


def override(key: str, value: str) -> str:
    """`key=value`, quoted as OmegaConf, Hydra's grammar and then the shell need it.

    >>> print(override("ckpt", "a b=c"))
    'ckpt="a b=c"'
    """
    text = argument(key, value)
    return text if re.fullmatch(r"[\w./+@=-]+", text) else shlex.quote(text)


def argument(key: str, value: str) -> str:
    """The same for a process, which no shell reads.

    >>> print(argument("ckpt", "a b=c"))
    ckpt="a b=c"
    """
    if key in PATHS and value.startswith("~"):  # a folder of that name
        value = f"./{value}"
    plain = bool(re.fullmatch(r"[A-Za-z0-9_./+@-]+", value))
    return f"{key}={value if plain and _parsed(value) == value else quote(literal(value))}"


def quote(text: str) -> str:
    """The text in double quotes, as Hydra's grammar reads it back: it undoes a backslash only before a quote."""
    return '"' + re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), text) + '"'


def literal(value: Any) -> Any:
    """The same value for a configuration, where `${` would begin an interpolation: in texts, also nested ones."""
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def check_groups(arguments: Sequence[str]) -> None:
    """Raises AeprobeError for a number or a list where Hydra expects the name of a file, and does not look."""
    for argument in arguments:
        try:
            parsed = OverridesParser.create().parse_override(argument)
            value = parsed.value()
        except (HydraException, ValueError) as error:
            if "integer string conversion" in str(error):
                raise AeprobeError(f"{argument[:60]}…: the number has too many digits") from None
            continue  # an option, or Hydra tells what is wrong with it
        choices: list[Any] = value.list if isinstance(value, ChoiceSweep) else [value]
        given = [name for choice in choices for name in (choice if isinstance(choice, list) else [choice])]
        if value is None and (parsed.is_delete() or parsed.key_or_group == "experiment"):
            continue
        names_a_file = parsed.package is not None or parsed.key_or_group in GROUPS
        if names_a_file and not all(isinstance(item, str | QuotedString | Glob) for item in given):
            raise AeprobeError(
                f"{argument}: {parsed.key_or_group} takes the name of a file in conf/; "
                f"one that looks like a number in quotes: '{parsed.key_or_group}=\"NAME\"'"
            )


def _parsed(value: str) -> Any:
    """What Hydra takes a value for; False where it refuses it."""
    try:
        return OverridesParser.create().parse_override(f"key={value}").value()
    except (HydraException, ValueError):  # a number of thousands of digits is the latter
        return False


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Overrides as they were typed: a node of OmegaConf would put values for their `${…}`."""
    plain = OmegaConf.to_container(overrides, resolve=False) if isinstance(overrides, ListConfig) else overrides
    return [str(override) for override in plain]  # type: ignore[union-attr]


def job_name(overrides: Sequence[str]) -> str:
    """The directory of a multirun's job: readable, at most 120 characters, no two settings alike.

    >>> job_name(["sweep=lr", "seed=0", "autoencoder.optimizer.lr=0.001"])
    'autoencoder.optimizer.lr-0.001_seed-0_881210f4'
    """
    settings = sorted(o for o in as_typed(overrides) if not o.startswith(OF_A_MULTIRUN))
    digest = hashlib.sha256("\n".join(settings).encode()).hexdigest()[:8]
    words = (re.sub(r"[^A-Za-z0-9._+-]+", "-", setting).strip("-.") for setting in settings)
    return f"{'_'.join(words)[:111]}_{digest}".lstrip("_")


def sweep_name(name: str) -> str:
    """The sweep's name, if it can be the name of one folder.

    Raises:
        AeprobeError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,119}", str(name)):
        raise AeprobeError(f"sweep={name}: must be a folder's name of letters, digits and . _ + -")
    return str(name)


OmegaConf.register_new_resolver("aeprobe.job_name", job_name, replace=True)
OmegaConf.register_new_resolver("aeprobe.sweep_name", sweep_name, replace=True)
