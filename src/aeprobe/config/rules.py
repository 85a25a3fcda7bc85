"""What a value is held against: each rule raises AeprobeError with the key, the value and what it must be."""

import math

from aeprobe.errors import AeprobeError


def require(condition: bool, key: str, value: object, rule: str) -> None:
    """Requires that the condition holds; `rule` says it in words."""
    if not condition:
        raise AeprobeError(f"{key}={value}: must be {rule}")


def require_number(key: str, value: object, low: float, rule: str, *, above: bool = False) -> None:
    """Requires a finite number >= low, or > low."""
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    require(ok and (value > low if above else value >= low), key, value, rule)  # type: ignore[operator]


def require_seed(key: str, value: int) -> None:
    """Requires a seed that torch, NumPy and Python take."""
    require(0 <= value < 2**32, key, value, "between 0 and 4294967295")


def require_count(key: str, value: int) -> None:
    """Requires a number of something, that torch can count to."""
    require(value >= 1, key, value, "at least 1")
    require(value < 2**31, key, value, "below 2147483648")
