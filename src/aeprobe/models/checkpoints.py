"""Checkpoints: the only place that reads or writes one.

A file is read with `weights_only=True`, so that it cannot run code, and only if all its bytes have the checksums
that the zip format keeps: torch itself loads a flipped byte without a word.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from aeprobe.errors import AeprobeError
from aeprobe.files import write_atomically
from aeprobe.models import building
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.nodes import require_trusted
from aeprobe.runs.metrics import find_checkpoint

Checkpoint = dict[str, Any]
KEYS = {"stage", "state_dict", "hyper_parameters", "datamodule_hyper_parameters"}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to its files: complete or absent, and read safely."""

    def save_checkpoint(self, checkpoint: Checkpoint, path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; an interruption leaves the old file as it was."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Checkpoint:
        """Read a checkpoint onto the CPU."""
        return read(Path(path))


def load(run: str | Path, plugins: Sequence[str] = (), stage: str = "classifier") -> Autoencoder | Classifier:
    """Load the module of a run or a file, as `aeprobe.load`; of a run of `stage=all` that of `stage`."""
    path = find_checkpoint(run, stage)
    return restore(read(path), path, plugins)


def read(path: Path) -> Checkpoint:
    """Return the content of a checkpoint, on the CPU; raise AeprobeError for a damaged or foreign file."""
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise AeprobeError(f"ckpt={path}: is damaged in {damaged}; use another copy")
        content: Checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except AeprobeError:
        raise
    except OSError as error:
        raise AeprobeError(f"ckpt={path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a file that is no zip, or whose pickle says something else, can raise any
        raise AeprobeError(f"ckpt={path}: is not a checkpoint of plain weights; no code of it was run") from error
    if not isinstance(content, dict) or not content.keys() >= KEYS or content["stage"] not in [*building.BUILDERS]:
        raise AeprobeError(f"ckpt={path}: is a checkpoint, but not one of this project's stages")
    for name, weight in content["state_dict"].items():
        if bad := int((~weight.isfinite()).sum()):
            raise AeprobeError(
                f"ckpt={path}: its weight {name} is not finite in {bad} of {weight.numel()} numbers; use another "
                "checkpoint"
            )
    return content


def restore(
    checkpoint: Checkpoint, path: Path, plugins: Sequence[str] = (), **training: Any
) -> Autoencoder | Classifier:
    """Build the module that a checkpoint holds, in eval mode.

    Args:
        checkpoint: as `read` returned it.
        path: of its file.
        plugins: packages of which it may name classes, too.
        training: further arguments of the module, of training alone.
    """
    settings = checkpoint["hyper_parameters"]
    require_trusted(settings.items(), plugins, f"ckpt={path}")
    try:
        module = building.BUILDERS[checkpoint["stage"]](settings, **training)
        module.load_state_dict(checkpoint["state_dict"], strict=True)
    except Exception as error:  # settings that are not the project's can end in any
        reason = str(error).partition("\n")[0]
        raise AeprobeError(f"ckpt={path}: its weights do not fit {settings!s:.500} ({reason:.200})") from error
    return module.eval()
