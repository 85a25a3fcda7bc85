"""metrics.json, the contract that others read, and its one reader. Needs no torch."""

import json
from pathlib import Path
from typing import Any

from aeprobe.errors import AeprobeError

SCHEMA = 1
Metrics = dict[str, Any]


def read_metrics(path: Path) -> Metrics:
    """metrics.json of a run directory.

    Raises:
        AeprobeError: there is none, or it is none of ours.
    """
    file = path / "metrics.json"
    try:
        metrics: Metrics = json.loads(file.read_text())
    except FileNotFoundError:
        raise AeprobeError(f"{path} is no run directory: it has no metrics.json") from None
    except (OSError, ValueError) as error:
        raise AeprobeError(f"{file} cannot be read: {error}") from None
    found = metrics.get("schema") if isinstance(metrics, dict) else None
    if found != SCHEMA:
        raise AeprobeError(f"{file} has schema {found}, expected {SCHEMA}: it is not a run of this project")
    return metrics


def find_checkpoint(run: str | Path, stage: str) -> Path:
    """The file that `run` means: itself, or the checkpoint that a run directory's metrics.json names.

    Args:
        run: a .ckpt file or a run directory.
        stage: which run to take in a directory of `stage=all`.

    Raises:
        AeprobeError: there is none.
    """
    path = Path(run)
    if path.is_file():
        return path
    if not path.exists():
        raise AeprobeError(f"ckpt={path}: there is no such file or directory")
    if not (path / "metrics.json").exists() and (path / stage / "metrics.json").exists():
        path = path / stage
    if not (path / "checkpoints").is_dir():
        raise AeprobeError(f"ckpt={path}: the directory holds no checkpoint; give a run directory or a .ckpt file")
    file = path / "checkpoints" / f"{read_metrics(path).get('checkpoint')}.ckpt"
    if not file.is_file():
        raise AeprobeError(f"ckpt={path}: the run has no {file.name}; was it interrupted in its first epoch?")
    return file
