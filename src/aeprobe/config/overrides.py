"""A command line's `KEY=VALUE`, read before Hydra reads it, and written such that it can be typed again."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from itertools import groupby
from typing import Any, get_type_hints

from antlr4 import InputStream  # type: ignore[import-untyped]
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.overrides_visitor import HydraErrorListener
from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import OverrideLexer

from aeprobe.config.schema import Config
from aeprobe.errors import AeprobeError
from aeprobe.paths import PATHS

GROUPS = ("autoencoder", "classifier", "data", "trainer", "experiment")
BETWEEN = (OverrideLexer.COMMA, OverrideLexer.POPEN, OverrideLexer.PCLOSE)  # of the names in a list or a function
NESTED = (OverrideLexer.BRACKET_OPEN, OverrideLexer.BRACE_OPEN, OverrideLexer.EQUAL)


def as_typed_text(arguments: Sequence[str]) -> list[str]:
    """Quotes every text that Hydra's grammar would alter or refuse: a name that looks like a number, or has a `~`.

    >>> as_typed_text(["sweep=20241125_1530", "seed=1_0", "outputs=~/runs", "ckpt=null", "-m"])
    ['sweep="20241125_1530"', 'seed=1_0', 'outputs="~/runs"', 'ckpt=null', '-m']
    """
    return [_as_typed(argument) for argument in arguments]


def override(key: str, value: str) -> str:
    """`key=value`, quoted as OmegaConf, Hydra's grammar and then the shell need it.

    >>> print(override("ckpt", "a b=c"))
    'ckpt="a b=c"'
    """
    if key in PATHS and value.startswith("~"):  # a folder of that name
        value = f"./{value}"
    plain = bool(re.fullmatch(r"[A-Za-z0-9_./+@-]+", value))
    argument = f"{key}={value if plain and _parsed(value) == value else quote(literal(value))}"
    return argument if re.fullmatch(r"[\w./+@=-]+", argument) else shlex.quote(argument)


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
    """Refuses a number or a list where Hydra expects the name of a file, and does not look.

    Args:
        arguments: of the command line, options too.

    Raises:
        AeprobeError: as it says.
    """
    for argument in arguments:
        try:
            parsed = OverridesParser.create().parse_override(argument)
            value = parsed.value()
        except (HydraException, ValueError) as error:
            if "integer string conversion" in str(error):
                raise AeprobeError(f"{argument[:60]}…: the number has too many digits") from None
            continue  # an option, or Hydra tells what is wrong with it
        given = value.list if isinstance(value, ChoiceSweep) else [value]
        if value is None and (parsed.is_delete() or parsed.key_or_group == "experiment"):
            continue
        if parsed.package is not None or parsed.key_or_group in GROUPS:
            for item in given:
                if not isinstance(item, str | QuotedString | Glob):
                    raise AeprobeError(
                        f"{argument}: {parsed.key_or_group} takes the name of a file in conf/; "
                        f"one that looks like a number in quotes: '{parsed.key_or_group}=\"NAME\"'"
                    )


def _texts(schema: type, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """The keys of a schema that take a text, and whether null may stand for none."""
    for name, kind in get_type_hints(schema).items():
        if is_dataclass(kind):
            assert isinstance(kind, type)
            yield from _texts(kind, f"{prefix}{name}.")
        elif kind in (str, str | None):
            yield prefix + name, kind is not str


TEXTS = {**dict(_texts(Config)), **dict(_texts(HydraConf, "hydra.")), "resume": False}
del TEXTS["trainer.progress"]  # true or false, however they are spelled


def _as_typed(argument: str) -> str:
    found = re.fullmatch(r"(\+{0,2}([\w.]+)=)(.+)", argument, re.DOTALL)
    if not found or found[2] not in TEXTS:
        return argument
    value, quoted = found[3], found[1]
    # Of the same length, so that the tokens tell where a name is: what no token can hold counts as its part.
    lexer = OverrideLexer(InputStream(re.sub(r"""[^A-Za-z0-9_ \t"'()\[\]{}:,=/\\+.$%*@?|-]""", "%", value)))
    lexer.removeErrorListeners()
    lexer.addErrorListener(HydraErrorListener())
    lexer.mode(OverrideLexer.VALUE_MODE)
    try:
        tokens = lexer.getAllTokens()
    except HydraException:  # a quote without its other half: Hydra says so
        return argument
    if any(token.type in NESTED for token in tokens):
        return argument
    for between, group in groupby(tokens, lambda token: token.type in BETWEEN):
        those = list(group)
        part = value[those[0].start : those[-1].stop + 1]
        quoted += part if between else _name(part, those, value, TEXTS[found[2]])
    return quoted


def _name(part: str, tokens: Sequence[Any], value: str, null: bool) -> str:
    if any(token.type == OverrideLexer.QUOTED_VALUE for token in tokens):
        return part
    texts = [(token.type, value[token.start : token.stop + 1]) for token in tokens]
    text = "".join(text[1::2] if kind == OverrideLexer.ESC else text for kind, text in texts)
    found = _parsed(part)
    return part if (found is None and null) or str(found) == text else quote(text)


def _parsed(value: str) -> Any:
    """What Hydra takes a value for; False where it refuses it."""
    try:
        return OverridesParser.create().parse_override(f"key={value}").value()
    except (HydraException, ValueError):  # a number of thousands of digits is the latter
        return False
