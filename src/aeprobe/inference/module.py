"""The module of a finished run, for the commands."""

from collections.abc import Sequence
from pathlib import Path

from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.runs.metrics import find_checkpoint


def loaded(run: Path, plugins: Sequence[str] = ()) -> tuple[Path, Autoencoder | Classifier]:
    """The checkpoint file of a run, of `stage=all` that of its autoencoder, and its module in eval mode.

    Raises:
        AeprobeError: as `aeprobe.load`.
    """
    path = find_checkpoint(run, "autoencoder")
    return path, checkpoints.restore(checkpoints.read(path), path, plugins)
