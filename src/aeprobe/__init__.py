"""An autoencoder on MNIST, and a probe on its frozen encoder.

Importing the package costs nothing: torch and Lightning are imported by the modules that compute.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aeprobe.models.autoencoder import Autoencoder
    from aeprobe.models.classifier import Classifier


def load(run: "str | Path", plugins: Sequence[str] = ()) -> "Autoencoder | Classifier":
    """The trained module of a run, in eval mode on the CPU.

    Args:
        run: a run directory (of `stage=all`: its classifier), or a .ckpt file.
        plugins: packages of your own that a checkpoint may name classes of, such as ["mine"].

    Raises:
        AeprobeError: there is no such checkpoint, it is not one of this project, or it names a class that
            is not trusted.
    """
    from aeprobe.models.checkpoints import load as load_checkpoint

    return load_checkpoint(run, plugins)
