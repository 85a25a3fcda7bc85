"""Signals that end a run: each does it as Ctrl-C does, so that metrics.json says "interrupted"."""

import signal
import threading

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")  # a queue sends one of them before its time limit


def end_by_signals() -> None:
    """Let each of them raise KeyboardInterrupt in the main thread, where alone Python hears signals."""
    if threading.current_thread() is threading.main_thread():
        for name in NAMES:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.default_int_handler)
