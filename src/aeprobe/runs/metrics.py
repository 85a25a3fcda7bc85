"""metrics.json, the contract that others read, and its one reader. Needs no torch."""

import json
from pathlib import Path
from typing import Any

from aeprobe.errors import AeprobeError

SCHEMA = 1
Metrics = dict[str, Any]
SHAPE: dict[str, type] = {
    "stage": str,
    "status": str,
    "seed": int,
    "overrides": list,
    "config": dict,
    "versions": dict,
    "seconds": dict,
    "epochs": list,
    "final": dict,
}
OF_BEGUN = ("seed", "versions", "seconds")  # not of a job that was refused: its seed may be what was wrong


def read_metrics(path: Path, missing_ok: bool = False) -> Metrics:
    """metrics.json of a run directory, of the shape that its readers rely on.

    Args:
        path: the directory.
        missing_ok: whether it may have none, and nothing ({}) is returned.

    Raises:
        AeprobeError: there is none, or it is none of ours.
    """
    file = path / "metrics.json"
    try:
        metrics: Metrics = json.loads(file.read_text())
    except FileNotFoundError:
        if missing_ok:
            return {}
        raise AeprobeError(f"{path} is no run directory: it has no metrics.json") from None
    except (OSError, ValueError) as error:
        raise AeprobeError(f"{file} cannot be read: {error}") from None
    found = metrics.get("schema") if isinstance(metrics, dict) else None
    if found != SCHEMA:
        raise AeprobeError(f"{file} has schema {found}, expected {SCHEMA}: it is not a run of this project")
    if wrong := _wrong_shape(metrics):
        raise AeprobeError(f"{file} is not of this project: {wrong}")
    return metrics


def _wrong_shape(metrics: Metrics) -> str:
    """What is not as the contract says, in words; "" where all is."""
    refused = "versions" not in metrics
    for key, kind in SHAPE.items():
        if not isinstance(metrics.get(key), kind) and not (refused and key in OF_BEGUN):
            return f"{key} is {metrics.get(key)!r:.40}, not a {kind.__name__}"
    if not all(isinstance(row, dict) for row in metrics["epochs"]):
        return "its epochs are not objects"
    for row in (*metrics["epochs"], metrics["final"], {} if refused else metrics["seconds"]):
        for key, value in row.items():
            if value is not None and not isinstance(value, int | float):
                return f"{key} is {value!r:.40}, not a number"
    matrix = metrics.get("confusion_matrix") or []
    square = isinstance(matrix, list) and all(isinstance(r, list) and len(r) == len(matrix) for r in matrix)
    if not square or not all(isinstance(count, int) for row in matrix for count in row):
        return "its confusion_matrix is not square, or holds no counts"
    return ""


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
