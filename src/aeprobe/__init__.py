"""An autoencoder on MNIST, and a probe on its frozen encoder.

Importing the package costs nothing: torch and Lightning are imported by the modules that compute.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aeprobe.models.autoencoder import Autoencoder
    from aeprobe.models.classifier import Classifier


def load(run: "str | Path") -> "Autoencoder | Classifier":
    """The trained module of a run, in eval mode on the CPU.

    Args:
        run: a run directory (of `stage=all`: its classifier), or a .ckpt file.

    Raises:
        AeprobeError: there is no such checkpoint, or it is not one of this project.
    """
    from aeprobe.models.checkpoints import load as load_checkpoint

    return load_checkpoint(run)
