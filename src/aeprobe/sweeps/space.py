"""What a search may choose from: lists and intervals in Hydra's grammar.

Needs no torch, except for an interval of an optimizer's or a scheduler's own key.
"""

import inspect
import math
from collections.abc import Sequence
from contextlib import suppress
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from aeprobe.config.schema import OPTIMIZER_NUMBERS, keys
from aeprobe.errors import AeprobeError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Choice:
    """One key that varies, by a list or by an interval, as it was typed.

    Raises:
        AeprobeError: an interval does not go from a smaller to a greater number.
    """

    def __init__(self, override: Override) -> None:
        self.override, self.key, self.typed = override, override.get_key_element(), str(override.input_line)
        listed = override.sweep_string_iterator() if override.is_discrete_sweep() else None
        self.listed = None if listed is None else list(dict.fromkeys(listed))
        if self.listed is not None:
            return
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        self.logarithmic, self.whole = "log" in interval.tags, isinstance(interval.start, int)
        low, high = (math.nan if end is None else float(end) for end in (interval.start, interval.end))
        if not (low < high and math.isfinite(low) and math.isfinite(high)) or (self.logarithmic and not low > 0):
            raise AeprobeError(
                f"{self.typed}: an interval goes from a smaller to a greater number; log from above 0"
            )
        self.low, self.high = low, high

    def fit(self, config: DictConfig) -> None:
        """Makes an interval one of whole numbers where the key is one; the configuration has a value of each key.

        Raises:
            AeprobeError: the key takes no number, or no such ends.
        """
        if self.listed is not None:
            return
        types = _types(self.override.key_or_group, config)
        ends_are_whole = self.low.is_integer() and self.high.is_integer()
        if types and not types & {int, float}:
            raise AeprobeError(f"{self.typed}: {self.key} takes no number, and so no interval; give a list")
        if int in types and (ends_are_whole or float not in types):
            self.whole = True
        if self.whole and not ends_are_whole:
            raise AeprobeError(
                f"{self.typed}: goes from one whole number to another, as {self.key} is one, "
                f"such as interval({math.ceil(self.low)},{max(math.ceil(self.low) + 1, math.floor(self.high))})"
            )

    @property
    def values(self) -> list[str]:
        """What has to be right for all to be right: each of a list, the ends of a range or an interval."""
        if self.listed is None:
            return [self.text(self.low), self.text(self.high)]
        ends = isinstance(self.override.value(), RangeSweep)  # it may have thousands
        return [self.listed[0], self.listed[-1]] if ends else self.listed

    def text(self, value: Any) -> str:
        """A value as it is typed. Of a float four digits are enough, and its directory's name stays readable."""
        if self.listed is not None:
            return str(value)
        if self.whole:
            return str(int(value))
        short = f"{value:.4g}"
        text = short if self.low <= float(short) <= self.high else str(value)
        return text if {*text} & {*".e"} else f"{text}.0"  # 1.0 may be a share, and 1 a number of something

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.listed is not None:
            return CategoricalDistribution(self.listed)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.logarithmic)
        return FloatDistribution(self.low, self.high, log=self.logarithmic)


def combinations(choices: Sequence[Choice]) -> list[dict[str, str]]:
    """Settings that hold each of the choices' `values` once, the first of the others with it."""
    first = {choice.key: choice.values[0] for choice in choices}
    more = [first | {choice.key: value} for choice in choices for value in choice.values[1:]]
    return [first, *more]


def _types(key: str, config: DictConfig) -> set[Any]:
    """The types that a key may have, by the schema or by the class that its node names; none: they are not known.

    >>> _types("trainer.limit_epochs", OmegaConf.create()) == {int}
    True
    """
    owner, _, name = key.rpartition(".")
    hint: Any = None
    if key in (schema := dict(keys())):
        hint = schema[key].type
    elif name in OPTIMIZER_NUMBERS:
        hint = float
    elif target := OmegaConf.select(config, f"{owner}._target_"):
        with suppress(NameError, TypeError):  # it has no hints that can be read
            hint = get_type_hints(inspect.getattr_static(get_class(target), "__init__")).get(name)
    return {*(get_args(hint) or (hint,))} - {NoneType, None, Any}
