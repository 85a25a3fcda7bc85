"""Numbers as a person reads them, in figures, tables and sentences. Needs neither torch nor matplotlib."""

import math
from collections.abc import Sequence

NONE = "–"
PERCENT = "\u00a0%"
NOTHING = 1e-8  # a loss below it is what rounding leaves: no other number is a share or a multiple of it


def number(value: float | None) -> str:
    """A loss with four decimals, or three significant digits where four decimals would be zeros.

    >>> [number(value) for value in (0.0183, 0.00000123, -0.0, None, float("nan"))]
    ['0.0183', '1.23e-06', '0.0000', '–', '–']
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:z.4f}" if value == 0 or abs(value) >= 0.00005 else f"{value:.2e}"


def span(first: float, last: float) -> str:
    """Two losses as the ends of what lies between them, or one where they read the same.

    >>> span(0.1, 0.2), span(0.1, 0.1)
    ('0.1000 to 0.2000', '0.1000')
    """
    ends = dict.fromkeys((number(first), number(last)))
    return " to ".join(ends)


def percent(value: float | None) -> str:
    r"""A fraction as a percentage with two decimals.

    >>> percent(0.93)
    '93.00\xa0%'
    """
    return NONE if value is None or not math.isfinite(value) else f"{100 * value:z.2f}{PERCENT}"


def counted(count: int, kind: str) -> str:
    """So many images of a kind.

    >>> counted(1, "test"), counted(2000, "validation")
    ('1 test image', '2,000 validation images')
    """
    return f"{count:,} {kind} image{'' if count == 1 else 's'}"


def epochs(count: int, part: int | float | None) -> str:
    r"""So many epochs, and how much of each was trained on: a number of batches, a fraction of them, or None: all.

    >>> epochs(1, None), epochs(6, 0.4), epochs(2, 20)
    ('1 epoch', '6 epochs of 40\xa0% of the batches', '2 epochs of 20 batches')
    """
    of = ""
    if isinstance(part, float) and part < 1:
        of = f" of {100 * part:g}{PERCENT} of the batches"
    elif isinstance(part, int):
        of = f" of {part:,} batch{'' if part == 1 else 'es'}"
    return f"{count} epoch{'' if count == 1 else 's'}{of}"


def of_labels(count: int | None) -> str:
    """So many labels; None: all.

    >>> of_labels(1), of_labels(1000), of_labels(None)
    ('1 label', '1,000 labels', 'all labels')
    """
    return "all labels" if count is None else f"{count:,} label{'' if count == 1 else 's'}"


Words = tuple[str, str, str]  # for less, as much, more


def beside(
    value: float, other: float, digits: int = 0, words: Words = ("less than", "as much as", "more than")
) -> str:
    """Compare two losses in a clause that goes before the other loss; with a share only where that says something.

    Args:
        value: 0 or more.
        other: what it stands beside, 0 or more.
        digits: decimals of the percentage.
        words: what to say for less, as much and more.

    >>> [beside(*pair) for pair in ((0.9, 1.0), (1.5, 1.0), (12.0, 1.0), (1.0, 1.0), (0.5, 1e-12), (0.0, 1e-12))]
    ['10% less than', '50% more than', '12 times', 'as much as', 'more than', 'as much as']
    """
    less, equal, more = words
    if max(value, other) < NOTHING:
        return equal
    if other < NOTHING:
        return more
    if value >= 3 * other:
        return f"{value / other:.3g} times" if value < 1000 * other else "more than 1,000 times"
    share = f"{abs(value / other - 1):.{digits}%}"
    if not float(share.rstrip("%")):
        return equal
    return f"{share} {less if value < other else more}"


def said_of_order(metric: str, held_out: Sequence[int | None]) -> str | None:
    """Return what has to be said of a table that is sorted by a metric of the test set; None where it is not.

    Args:
        metric: such as "val/loss" or "classifier val/accuracy".
        held_out: `data.val_size` of each run; None where it is not known.
    """
    shared = sum(number == 0 for number in held_out)
    if not shared or not metric.rpartition(" ")[2].startswith("val/"):
        return None
    runs = "all runs" if shared == len(held_out) else f"{shared} of {len(held_out)} runs"
    return (
        f"{metric} of {runs} was measured on the test set (data.val_size=0): the first row was chosen by the "
        "test set, and its test metrics flatter it"
    )
