"""A command line's `KEY=VALUE`: looked at before Hydra does, quoted so that it can be typed again, made a name."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf

from aeprobe.errors import AeprobeError
from aeprobe.paths import PATHS, home

GROUPS = ("autoencoder", "classifier", "data", "trainer", "experiment", "search")
OF_A_MULTIRUN = ("sweep=", "search=")  # say which runs there are, not what a run does
NOT_TEXT = ("null", "true", "false", "inf", "nan")  # in Hydra's grammar


def with_homes(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the home directory for a leading `~` of a path."""
    pairs = [argument.partition("=") for argument in arguments]
    return [
        f"{key}={_quote(literal(home(value)))}" if key in PATHS and value.startswith("~") else key + equals + value
        for key, equals, value in pairs
    ]


def override(key: str, value: str) -> str:
    """Return `key=value` for a shell, quoted as it, Hydra's grammar and OmegaConf need it.

    >>> print(override("ckpt", "a b=c"))
    'ckpt="a b=c"'
    """
    return shlex.quote(argument(key, value))


def argument(key: str, value: str) -> str:
    """Return the same for a process, which no shell reads.

    >>> print(argument("ckpt", "a b=c"))
    ckpt="a b=c"
    """
    if key in PATHS and value.startswith("~"):  # a folder of that name
        value = f"./{value}"
    path = re.fullmatch(r"(\.{0,2}/)*[A-Za-z][A-Za-z0-9_./-]*", value)
    return f"{key}={value if path and value.lower() not in NOT_TEXT else _quote(literal(value))}"


def _quote(text: str) -> str:
    """Return the text in double quotes; Hydra's grammar undoes a backslash only before a quote."""
    return '"' + re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), text) + '"'


def literal(value: Any) -> Any:
    """Return the same value for a configuration, where `${` would begin an interpolation, in nested texts too."""
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def key_of(parsed: Override) -> str:
    """Return the dotted key that an override gives; a group counts as its package."""
    return parsed.package or parsed.key_or_group.replace("/", ".")


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what Hydra does not notice: a key that is given twice, and for a group what is no name of a file.

    A multirun takes the last of two values, a single run merges two dictionaries. The choice of a file and a
    dictionary that changes its values are two things; so are `~KEY` and a new value.
    """
    given: dict[object, str] = {}
    for argument in arguments:
        try:
            parsed = OverridesParser.create().parse_override(argument)
            value = parsed.value()
        except (HydraException, ValueError):
            continue  # an option, or Hydra tells what is wrong with it
        key, group = key_of(parsed), parsed.key_or_group
        file = parsed.package is not None or "/" in group or group in GROUPS
        other = given.setdefault((key, file, parsed.is_delete()), argument)
        if other is not argument:
            raise AeprobeError(f"{other} and {argument}: {key} is given twice; give it once")
        choices = value.list if isinstance(value, ChoiceSweep) else [value]
        named = parsed.is_delete() or all(isinstance(one, str | QuotedString | Glob | list) for one in choices)
        if file and not named:
            raise AeprobeError(
                f"{argument}: {group} takes the name of a file in conf/, in quotes where it looks like a number; "
                f"for none of them: '{argument.partition('=')[0]}=[]'"
            )


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Return overrides as they were typed: a node of OmegaConf would put values for their `${…}`."""
    plain = OmegaConf.to_container(overrides, resolve=False) if isinstance(overrides, ListConfig) else overrides
    return [str(override) for override in plain]  # type: ignore[union-attr]


def job_name(overrides: Sequence[str]) -> str:
    """Return the name of a multirun's job: readable, at most 120 characters, no two settings alike.

    >>> job_name(["sweep=lr", "seed=0", "autoencoder.optimizer.lr=0.001"])
    'autoencoder.optimizer.lr-0.001_seed-0_881210f4'
    """
    settings = sorted(o for o in as_typed(overrides) if not o.startswith(OF_A_MULTIRUN))
    digest = hashlib.sha256("\n".join(settings).encode()).hexdigest()[:8]
    words = (re.sub(r"[^A-Za-z0-9._+-]+", "-", setting).strip("-.") for setting in settings)
    return f"{'_'.join(words)[:111]}_{digest}".lstrip("_")


def sweep_name(name: str) -> str:
    """Return the sweep's name, if it can be the name of one folder; else raise AeprobeError."""
    if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,119}", str(name)):
        raise AeprobeError(f"sweep={name}: must be a folder's name of letters, digits and . _ + -")
    return str(name)


OmegaConf.register_new_resolver("aeprobe.job_name", job_name, replace=True)
OmegaConf.register_new_resolver("aeprobe.sweep_name", sweep_name, replace=True)
