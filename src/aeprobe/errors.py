"""The one exception that a person is meant to read, its line, and the signals that end a run."""

import signal
import sys
import threading

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")  # a queue sends one of them before its time limit


class AeprobeError(Exception):
    """An expected failure: its text is one line that says what is wrong, what was given and what to do."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its class's name where it has none."""
    return str(error).partition("\n")[0] or type(error).__name__


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


def end_by_signals() -> None:
    """Let each signal do as Ctrl-C does, so that metrics.json says "interrupted"; in the main thread alone."""
    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.default_int_handler)
