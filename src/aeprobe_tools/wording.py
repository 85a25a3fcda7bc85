"""Numbers as a person reads them, in figures, tables and sentences. Needs neither torch nor matplotlib."""

import math

NONE = "–"
PERCENT = "\u00a0%"
NOTHING = 1e-8  # a loss below it is what rounding leaves


def number(value: float | None) -> str:
    """A loss with four decimals, or three significant digits where four decimals would be zeros.

    >>> [number(value) for value in (0.0183, 0.00000123, -0.0, None, float("nan"))]
    ['0.0183', '1.23e-06', '0.0000', '–', '–']
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:z.4f}" if value == 0 or abs(value) >= 0.00005 else f"{value:.2e}"


def percent(value: float | None) -> str:
    r"""A fraction as a percentage with two decimals.

    >>> percent(0.93)
    '93.00\xa0%'
    """
    return NONE if value is None or not math.isfinite(value) else f"{100 * value:z.2f}{PERCENT}"


def counted(count: int, thing: str) -> str:
    """So many things.

    >>> counted(1, "epoch"), counted(2000, "test image")
    ('1 epoch', '2,000 test images')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def of_labels(count: int | None) -> str:
    """So many labels; None: all."""
    return "all labels" if count is None else counted(count, "label")
