"""SIGINT, SIGTERM, SIGUSR1 and SIGUSR2: once for a clean end after the step, twice for an end at once."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
DEAF = 5.0  # seconds without Python code, after which a process that was told to stop is taken to wait in vain


class Interrupted(BaseException):
    """A run was told to stop. No Exception, so that nobody takes it for a failure."""

    what = "interrupted"  # how to tell it
    advice = ""  # what to do next, to follow `what`

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum  # 0 for none
        # The exit status. A queue sends SIGUSR1 or SIGUSR2 before its time limit: the same to us as the SIGTERM
        # that follows.
        self.status = 128 + (signum if signum == signal.SIGINT else signal.SIGTERM)


class Lost(Interrupted):
    """Another process of the run is gone without a word, or does not answer.

    Args:
        what: what interrupts the run.
        guess: why that may be.
    """

    def __init__(self, what: str, guess: str = "") -> None:
        BaseException.__init__(self, what)
        self.signum, self.status = 0, 1
        self.what = f"interrupted by {what}{guess}"


class Interruption:
    """Hears the signals while it is entered. Outside of a training step they raise `Interrupted` where they come.

    Attributes:
        waiting: whether a first signal waits for `act` instead.
        ending: whether the run ends anyway, and signals are of no account.
        signum: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.waiting = self.ending = False
        self._before: dict[int, Any] = {}
        self._heard = 0
        self._unraisable = sys.unraisablehook

    def __enter__(self) -> "Interruption":
        hears = threading.current_thread() is threading.main_thread()  # no other thread does
        self._before = {number: signal.signal(number, self._hear) for number in SIGNALS} if hears else {}
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._hear_again
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._unraisable
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Takes the signals back, if it is entered, from the handlers that Lightning has put in place of this one.

        Those wait for the other processes, which wait for this one elsewhere.
        """
        for number in self._before:
            signal.signal(number, self._hear)

    def act(self) -> None:
        """Raises `Interrupted` if a signal came meanwhile."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Once a signal came, raises `Interrupted` for any error: code that is cut short may fail differently."""
        try:
            yield
        except Exception as error:
            if self.signum is None:
                raise
            raise Interrupted(self.signum) from error

    @contextmanager
    def insisting(self, end: Callable[[int], None]) -> Iterator[None]:
        """Ends the process where a signal comes and no Python code hears it: it waits for another one, in C++.

        `end` is called with the signal, from another thread, and does not return.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._insist, args=(reading, end), daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(writing)  # the thread reads that, and ends

    def _insist(self, reading: int, end: Callable[[int], None]) -> None:
        heard, signum, waited = self._heard, 0, 0.0
        while True:
            if select.select([reading], [], [], 0.2 if signum else None)[0]:
                came = os.read(reading, 64)
                if not came:
                    break
                signum = next((number for number in came if number in self._before), signum)
            else:
                waited += 0.2
            if self._heard > heard:
                heard, signum, waited = self._heard, 0, 0.0
            elif signum and waited > DEAF:
                end(signum)
        os.close(reading)

    def _hear(self, signum: int, _frame: FrameType | None) -> None:
        self._heard += 1
        if self.ending:
            return
        again, self.signum = self.signum is not None, signum
        if again or not self.waiting:
            raise Interrupted(signum)

    def _hear_again(self, unraisable: Any) -> None:
        """Sends a signal again that came while Python collected garbage, where no error gets out."""
        if not isinstance(unraisable.exc_value, Interrupted):
            self._unraisable(unraisable)
            return
        signum = unraisable.exc_value.signum

        def send() -> None:
            if signal.getsignal(signum) == self._hear:  # else it is over by now
                os.kill(os.getpid(), signum)

        threading.Timer(0.05, send).start()


def cut_short(error: BaseException | None) -> bool:
    """Whether an error came up while an interruption was on its way through code that was not made for it."""
    while error is not None and not isinstance(error, KeyboardInterrupt | Interrupted):
        error = error.__context__
    return error is not None
