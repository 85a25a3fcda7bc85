"""Checkpoints: the only place that reads or writes one.

A file is read with `weights_only=True`, so that it cannot run code, and after every byte of it was checked
against the checksums that its zip format keeps, since torch itself loads a flipped byte without a word.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from aeprobe.config.trust import require_trusted
from aeprobe.errors import AeprobeError
from aeprobe.files import require_regular, write_atomically
from aeprobe.models import building, pickled, stored
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.runs.metrics import find_checkpoint

Checkpoint = dict[str, Any]
DIRECTORY = 0x10  # in an entry's attributes


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to its files: complete or absent, and read safely."""

    def save_checkpoint(self, checkpoint: Checkpoint, path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint; an interruption leaves the old file as it was."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Checkpoint:
        """Reads a checkpoint onto the CPU."""
        return read(Path(path))


def load(run: str | Path, plugins: Sequence[str] = (), stage: str = "classifier") -> Autoencoder | Classifier:
    """As `aeprobe.load`, which imports torch only when it is called; `stage` is the one to take of `stage=all`."""
    path = find_checkpoint(run, stage)
    return restore(read(path), path, plugins)


def read(path: Path) -> Checkpoint:
    """The content of a checkpoint file, on the CPU.

    Raises:
        AeprobeError: the file is no checkpoint of this project, it is damaged, or what it says or holds is out
            of range.
    """
    try:
        content: Checkpoint = _content(path)
        _check(content)
    except AeprobeError as error:
        raise AeprobeError(f"ckpt={path}: {error}") from error
    except OSError as error:
        raise AeprobeError(f"ckpt={path}: cannot be read ({error.strerror or error})") from error
    return content


def _content(path: Path) -> Any:
    """What an undamaged file holds: plain values and tensors."""
    require_regular(path)
    try:
        if not zipfile.is_zipfile(path):
            raise AeprobeError("is not a checkpoint, or was cut short")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise AeprobeError("is compressed, which no checkpoint is; nothing of it was unpacked")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise AeprobeError("claims more than it holds")
            # torch takes an entry for a directory by a bit that has no checksum, and reads its tensor as nothing.
            hidden = (entry.filename for entry in entries if entry.external_attr & DIRECTORY)
            if damaged := archive.testzip() or next(hidden, None):
                raise AeprobeError(f"is damaged in {damaged}; use another copy")
            pickled.check(archive)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (AeprobeError, OSError):
        raise
    except Exception as error:  # what is no pickle can raise any
        raise AeprobeError("is not a checkpoint of plain weights; nothing of it was run") from error


def _check(content: Any) -> None:
    """Raises AeprobeError for what is no checkpoint of this project, or holds what is out of range."""
    keys = {"stage", "state_dict", "hyper_parameters", "datamodule_hyper_parameters"}
    known = isinstance(content, dict) and keys <= content.keys()
    if not known or content["stage"] not in tuple(
        building.BUILDERS
    ):  # it may be anything, also what no dict looks up
        raise AeprobeError("is a checkpoint, but not one of this project's stages")
    for tensor in _tensors(content):
        dense = tensor.layout == torch.strided
        if dense and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise AeprobeError(f"claims a tensor of {tuple(tensor.shape)}, which it does not hold")
    try:
        stored.check(content)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise AeprobeError(f"is a checkpoint, but no run of this project wrote it ({error!r:.80})") from error


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def restore(checkpoint: Checkpoint, path: Path, plugins: Sequence[str] = ()) -> Autoencoder | Classifier:
    """The module that a checkpoint holds, in eval mode.

    Args:
        checkpoint: as `read` returned it.
        path: of its file.
        plugins: packages of which it may name classes, too.

    Raises:
        AeprobeError: it names a class that is not trusted, or its weights do not fit its networks.
    """
    settings, weights = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    require_trusted(building.nodes_of(settings), plugins, f"ckpt={path}")
    try:
        # No memory is taken for layers that the file only claims to have.
        claimed = building.rehearse(checkpoint["stage"], settings)
        if claimed and _shapes(claimed.state_dict()) != _shapes(weights):
            raise ValueError("other shapes")
        module = building.BUILDERS[checkpoint["stage"]](settings)
        module.load_state_dict(weights, strict=True)
    except Exception as error:  # whatever settings of another type end in
        raise _misfit(path, settings, error) from error
    return module.eval()


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def _misfit(path: Path, settings: dict[str, Any], error: Exception) -> AeprobeError:
    architecture = {name: settings.get(name) for name in ("network", "head") if name in settings}
    reason = str(error).partition("\n")[0]
    return AeprobeError(f"ckpt={path}: its weights do not fit {architecture!s:.500} ({reason:.200})")
