"""The one exception that a person is meant to read, and its line."""

import sys


class AeprobeError(Exception):
    """An expected failure: its text is one line that says what is wrong, what was given and what to do."""


def tell(text: str) -> None:
    """Print one line for an expected failure on standard error."""
    sys.stdout.flush()
    print(f"error: {printable(text)}", file=sys.stderr)


def printable(text: str) -> str:
    r"""Return text from elsewhere with an escape for each character that a terminal would obey or could not show.

    >>> printable("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return "".join(c if c.isprintable() or c == "\u00a0" else ascii(c)[1:-1] for c in text)
