"""What a run hears of signals, wherever they come."""

import os
import signal
import sys
import time
import weakref

import pytest

from aeprobe.processes.signals import Interrupted, Interruption


class Thing:
    """Has a weak reference."""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_garbage_is_collected_is_heard_a_moment_later(
    signum: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """An error in a callback of a weak reference is printed by Python, and goes nowhere."""

    def collected(_: object) -> None:
        os.kill(os.getpid(), signum)
        time.sleep(0.01)

    def work() -> None:
        with Interruption():
            thing = Thing()
            reference = weakref.ref(thing, collected)
            del thing
            assert reference() is None
            time.sleep(5)

    before = signal.getsignal(signum)
    with pytest.raises(Interrupted) as caught:
        work()
    assert caught.value.signum == signum
    assert signal.getsignal(signum) == before
    assert capfd.readouterr().err == ""


def test_other_errors_there_are_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_value))

    def collected(_: object) -> None:
        raise ValueError("of somebody's own")

    with Interruption():
        thing = Thing()
        reference = weakref.ref(thing, collected)
        del thing
    assert reference() is None
    assert [*map(str, told)] == ["of somebody's own"]
