"""An autoencoder on MNIST, and a probe on its frozen encoder.

    import aeprobe

    run = aeprobe.train("experiment=speedrun", "seed=1")
    run.metrics["classifier"]["final"]["test/accuracy"]
    aeprobe.load(run).predict(images)["label"]

Importing the package costs nothing: torch and Lightning are imported by what computes.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aeprobe.errors import AeprobeError as Error

if TYPE_CHECKING:
    from aeprobe.cli.api import Run
    from aeprobe.models.autoencoder import Autoencoder
    from aeprobe.models.classifier import Classifier

__all__ = ["Error", "load", "results", "train"]


def train(*overrides: str, child: bool = True) -> "Run":  # noqa: ARG001 - what it was for is always done
    """Train as `python train.py` does, in a process of its own, print the same lines, and return the run.

    Args:
        overrides: what one types after the command, such as "stage=autoencoder" or "resume=DIR"; of one run.
        child: has no effect; every run has a process of its own.

    Returns:
        The run: its absolute `path`, the `metrics` of each stage, and `frame()`, its epochs as a pandas DataFrame.

    Raises:
        Error: in one line, what is wrong.
        KeyboardInterrupt: it was interrupted; its text says how to go on.
    """
    from aeprobe.cli.api import train as train_in_child

    return train_in_child(overrides)


def load(run: "str | os.PathLike[str]", plugins: Sequence[str] = ()) -> "Autoencoder | Classifier":
    """Return the trained module of a run, in eval mode on the CPU.

    Its `predict` takes any number of images, uint8 or floats in [0, 1], (N, channels, height, width), and returns
    by name, of an autoencoder "code" and "reconstruction", of a classifier "code", "probabilities" and "label".

    Args:
        run: a run, its directory (of `stage=all`: its classifier), or a .ckpt file.
        plugins: packages of your own that a checkpoint may name classes of, such as ["mine"].

    Raises:
        Error: there is no such checkpoint, it is not one of this project, or it names a class that is not trusted.
    """
    from aeprobe.models.checkpoints import load as load_checkpoint
    from aeprobe.paths import home

    return load_checkpoint(home(os.fspath(run)), plugins)


def results(*directories: "str | os.PathLike[str]", by: str | None = None) -> list[dict[str, Any]]:
    """Return a row for each setting of all runs below some directories, seeds folded, the best first.

    Args:
        directories: of runs, or of sweeps.
        by: a single key to group by, instead of all that vary.

    Returns:
        Each is {"settings": {…}, "n": …, "seeds": […], "metrics": {name: {"mean": …, "sd": …}}, …}; sd is None
        for a single run.

    Raises:
        Error: there is no run below them, or none has that key.
    """
    from pathlib import Path

    from aeprobe.paths import home
    from aeprobe_tools.results.folding import find_runs, summarize

    return summarize(find_runs(Path(home(os.fspath(directory))) for directory in directories), by)
