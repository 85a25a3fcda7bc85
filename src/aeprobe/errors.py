"""The one exception that a person is meant to read, and how it is told."""

import sys


class AeprobeError(Exception):
    """An expected failure: its text is one line that says what is wrong, what was given and what to do."""


def tell(text: str) -> None:
    """Prints one line for an expected failure on standard error."""
    sys.stdout.flush()
    print(f"error: {text}", file=sys.stderr)
