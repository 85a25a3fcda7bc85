"""What a worker is given in the tests; it imports little, as every worker does it anew."""

import os
import signal
import time
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from aeprobe.processes.signals import Interrupted


def giving(value: object) -> JobReturn:
    return JobReturn(status=JobStatus.COMPLETED, _return_value=value)


def process_id() -> JobReturn:
    return giving(os.getpid())


def killed() -> JobReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    return giving(None)


def wrong() -> JobReturn:
    raise ValueError("wrong\nin every line")


def waiting(file: Path) -> JobReturn:
    """Until a signal comes."""
    file.write_text(str(os.getpid()))
    try:
        time.sleep(60)
    except Interrupted as error:
        return giving(error.signum)
    return giving(None)
