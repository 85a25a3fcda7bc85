"""What a run changes of its process, put back for those who go on in it."""

import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig


@contextmanager
def restored() -> Iterator[None]:
    """Puts back the environment, loggers, warnings, torch's number of threads, random numbers, Hydra's state.

    `Interruption` puts signal handlers back. Two things stay: the threads that torch has started, and whether they
    take denormal numbers for zero.
    """
    environment, filters, of_hydra = dict(os.environ), warnings.filters[:], HydraConfig.instance().cfg
    known = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(one for one in known if isinstance(one, logging.Logger))]
    states = [(one, one.level, one.propagate, one.disabled, one.handlers[:]) for one in loggers]
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    threads = torch.get_num_threads() if torch else None
    chance = random.getstate(), numpy and numpy.random.get_state(), torch and torch.get_rng_state()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        warnings.filters[:] = filters  # type: ignore[index]
        for logger, level, propagate, disabled, own in states:
            logger.setLevel(level)
            logger.propagate, logger.disabled, logger.handlers[:] = propagate, disabled, own
        HydraConfig.instance().cfg = of_hydra
        random.setstate(chance[0])
        if numpy:
            numpy.random.set_state(chance[1])
        if torch:
            torch.set_rng_state(chance[2])
            torch.set_num_threads(threads)
