"""A command line's `KEY=VALUE`: read before Hydra does, written such that it can be typed again, made a name."""

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf

from aeprobe.config.settings import flat
from aeprobe.errors import AeprobeError
from aeprobe.paths import PATHS, home

GROUPS = ("autoencoder", "classifier", "data", "trainer", "experiment", "search")
OF_A_MULTIRUN = ("sweep=", "search=")  # say which runs there are, not what a run does


def with_homes(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the home directory for a leading `~` of a path."""
    whole = []
    for key, equals, value in (argument.partition("=") for argument in arguments):
        path = quote(literal(home(value))) if key in PATHS and value.startswith("~") else value
        whole.append(f"{key}{equals}{path}")
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


def key_of(parsed: Override) -> str:
    """The dotted key that an override gives; a group counts as its package."""
    return parsed.package or parsed.key_or_group.replace("/", ".")


def require_once(arguments: Sequence[str]) -> None:
    """Refuses a key that is given twice: a single run merges two dictionaries, a multirun takes the last of them.

    The choice of a file and a dictionary that changes its values are two things; so are `~KEY` and a new value.

    Raises:
        AeprobeError: names both, and says what to type.
    """
    given: dict[object, tuple[str, bool]] = {}
    for argument in arguments:
        try:
            parsed = OverridesParser.create().parse_override(argument)
            values = all(isinstance(choice, dict) for choice in _choices(parsed))
        except (HydraException, ValueError):
            continue  # an option, or Hydra tells what is wrong with it
        key, group = key_of(parsed), parsed.key_or_group
        file = parsed.package is not None or "/" in group or group in GROUPS
        kind = "deleted" if parsed.is_delete() else "file" if file else "value"
        for same in ((key, kind), parsed.get_key_element()):  # by the latter a multirun tells them apart
            other, both = given.get(same, ("", False))
            if other:
                once = "one dictionary for both" if values and both else "it once"
                swept = ", with all its values in one list" if parsed.is_sweep_override() else ""
                raise AeprobeError(f"{other} and {argument}: {key} is given twice; give {once}{swept}")
        given |= dict.fromkeys(((key, kind), parsed.get_key_element()), (argument, values))


def with_preset(params: Mapping[str, str] | None, arguments: Sequence[str]) -> list[str]:
    """What was typed for a multirun, after what its preset varies that no typed key takes the place of.

    >>> with_preset({"seed": "0,1", "data.std": "1,2"}, ["++data={std: 3}"])
    ['seed=0,1', '++data={std: 3}']
    """
    parse = OverridesParser.create().parse_override
    typed = set[str]()
    for parsed in map(parse, arguments):
        typed |= {key_of(parsed)}.union(*(flat({key_of(parsed): choice}) for choice in _choices(parsed)))
    preset = [f"{key}={value}" for key, value in (params or {}).items()]
    return [*(line for line in preset if key_of(parse(line)) not in typed), *arguments]


def _choices(parsed: Override) -> list[Any]:
    value = parsed.value()
    return value.list if isinstance(value, ChoiceSweep) else [value]


def check_groups(arguments: Sequence[str]) -> None:
    """Raises AeprobeError for a number or a list where Hydra expects the name of a file, and does not look."""
    for argument in arguments:
        try:
            parsed = OverridesParser.create().parse_override(argument)
            choices = _choices(parsed)
        except (HydraException, ValueError) as error:
            if "integer string conversion" in str(error):
                raise AeprobeError(f"{argument[:60]}…: the number has too many digits") from None
            continue  # an option, or Hydra tells what is wrong with it
        given = [name for choice in choices for name in (choice if isinstance(choice, list) else [choice])]
        if parsed.is_delete() and given == [None]:
            continue
        group, names_a_file = parsed.key_or_group, parsed.package is not None or parsed.key_or_group in GROUPS
        if names_a_file and None in given:
            none = re.sub(r"\bnull\b", "[]", argument)
            raise AeprobeError(
                f"{argument}: {group} takes the name of a file in conf/; for none of them: '{none}'"
            )
        if names_a_file and not all(isinstance(item, str | QuotedString | Glob) for item in given):
            raise AeprobeError(
                f"{argument}: {group} takes the name of a file in conf/; "
                f"one that looks like a number in quotes: '{group}=\"NAME\"'"
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
