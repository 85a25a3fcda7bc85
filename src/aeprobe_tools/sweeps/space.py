"""A key that varies in a search: by a list or by an interval, in Hydra's grammar."""

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from aeprobe.config.schema import OPTIMIZER_NUMBERS, keys
from aeprobe.errors import AeprobeError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Choice:
    """One key that varies, as it was typed; `config` has a value of it, whose type an interval takes."""

    def __init__(self, override: Override, config: DictConfig) -> None:
        self.key, self.typed = override.get_key_element(), str(override.input_line)
        self.listed = [*dict.fromkeys(override.sweep_string_iterator())] if override.is_discrete_sweep() else None
        if self.listed is not None:
            return
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        self.low, self.high = interval.start or 0.0, interval.end or 0.0
        self.logarithmic = "log" in interval.tags
        if not (self.low < self.high and (self.low > 0 or not self.logarithmic)):
            raise AeprobeError(
                f"{self.typed}: an interval goes from a smaller to a greater number; log from above 0"
            )
        ends_are_whole = int(self.low) == self.low and int(self.high) == self.high
        self.whole = isinstance(self.low, int) or (ends_are_whole and _is_whole(override.key_or_group, config))

    @property
    def values(self) -> list[str]:
        """The values to check: each of a list, both ends of an interval."""
        return [self.text(end) for end in (self.low, self.high)] if self.listed is None else self.listed

    def text(self, value: Any) -> str:
        """Return a value as it is typed. Four digits of a float make a readable name."""
        if self.listed is not None:
            return str(value)
        if self.whole:
            return str(int(value))
        short = f"{value:.4g}"
        text = short if self.low <= float(short) <= self.high else str(value)
        return text if {*text} & {*".e"} else f"{text}.0"  # 1.0 may be a share, and 1 a number of something

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's distribution of the values."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.listed is not None:
            return CategoricalDistribution(self.listed)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.logarithmic)
        return FloatDistribution(float(self.low), float(self.high), log=self.logarithmic)


def _is_whole(key: str, config: DictConfig) -> bool:
    """Tell whether a key takes whole numbers, by the schema or by the class that its node names."""
    owner, _, name = key.rpartition(".")
    field, hint = dict(keys()).get(key), None
    if field is not None:
        hint = field.type
    elif name not in OPTIMIZER_NUMBERS and (target := OmegaConf.select(config, f"{owner}._target_")):
        with suppress(NameError, TypeError):  # it has no hints that can be read
            hint = get_type_hints(inspect.getattr_static(get_class(target), "__init__")).get(name)
    return int in (get_args(hint) or (hint,))
