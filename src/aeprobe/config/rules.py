"""What a value may be. A field of the schema names its rule; a stored value is held against the same one."""

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aeprobe.errors import AeprobeError


def require(condition: bool, key: str, value: object, rule: str) -> None:
    """Raises AeprobeError where the condition does not hold; `rule` says in words what the value must be."""
    if not condition:
        raise AeprobeError(f"{key}={value}: must be {rule}")


@dataclass(frozen=True)
class Rule:
    """A range of values, and how it is said."""

    text: str
    holds: Callable[[Any], bool]

    def allows(self, value: object) -> bool:
        """Whether a value is in the range; one of a type that cannot be is not."""
        try:
            return self.holds(value)
        except (TypeError, ValueError, OverflowError):
            return False

    def require(self, key: str, value: object) -> None:
        """Raises AeprobeError where the value is not in the range."""
        require(self.allows(value), key, value, self.text)


def word_of(words: Iterable[str]) -> Rule:
    """One of these words, as it is spelled."""
    known = list(words)
    return Rule(f"one of {', '.join(known)}", lambda value: value in known)


def one_of(*words: str | None) -> Rule:
    """One of these words, in any case."""
    choices = ", ".join("null" if word is None else word for word in words)
    return Rule(f"one of {choices}", lambda value: (value.lower() if isinstance(value, str) else value) in words)


def _finite(value: Any) -> bool:
    return not isinstance(value, bool) and math.isfinite(value)


FINITE = Rule("a finite number", _finite)
POSITIVE = Rule("a finite number above 0", lambda value: _finite(value) and value > 0)
NOT_NEGATIVE = Rule("a finite number, 0 or more", lambda value: _finite(value) and value >= 0)
COUNT = Rule("at least 1 and below 2147483648", lambda value: 1 <= value < 2**31)
EPOCHS = Rule("at least 1", lambda value: value >= 1)
EPOCH_NUMBERS = Rule("epochs, counted from 1", lambda epochs: all(epoch >= 1 for epoch in epochs))
SEED = Rule("between 0 and 4294967295", lambda value: 0 <= value < 2**32)
MOST_THREADS = 4 * (os.cpu_count() or 1)  # many more crash torch, or wait for each other without end
THREADS = Rule(f"null, or from 1 to {MOST_THREADS} on this machine", lambda number: 1 <= number <= MOST_THREADS)
THREADS_ANYWHERE = Rule("from 1 to 1024", lambda number: type(number) is int and 1 <= number <= 1024)
BATCHES = Rule(
    "null, a number of batches (1, 2, …) or a fraction (0.1, 1.0)",
    lambda value: value >= 1 if isinstance(value, int) else 0 < value <= 1,
)
DURATION = Rule(
    "days, hours, minutes and seconds, such as 00:01:30:00; in a file in quotes, as YAML reads 1:12:00:00 in base "
    "60, as 259200",
    lambda time: bool(re.fullmatch(r"\d{1,3}(:\d\d){3}", time)) and bool(re.search("[1-9]", time)),
)
DATASET_NAME = Rule(
    "a name of at most 40 letters, digits and . _ + -", lambda name: bool(re.fullmatch(r"[\w.+-]{1,40}", name))
)
PACKAGES = Rule(
    "the names of packages, such as [mine]",
    lambda names: all(isinstance(name, str) and all(map(str.isidentifier, name.split("."))) for name in names),
)
BETAS = Rule(
    "two numbers from 0 up to, but not, 1",
    lambda value: isinstance(value, list) and len(value) == 2 and all(_finite(b) and 0 <= b < 1 for b in value),
)
