"""Read metrics.json, the contract that others read too, and put its metrics into words. Needs no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aeprobe.errors import AeprobeError, printable
from aeprobe.files import read_file

SCHEMA = 1
REPORT_BATCH = 100  # images of `test_batch_accuracy`: the report's test loader has shuffled batches of 100
MOST_BYTES = 16 * 2**20  # some 4,000 here; an epoch's row has 400
Metrics = dict[str, Any]
SHAPE = {"stage": str, "status": str, "overrides": list, "config": dict, "epochs": list, "final": dict}


def read_metrics(path: Path, missing_ok: bool = False) -> Metrics:
    """Return metrics.json of a run directory, of the shape that its readers rely on.

    Where there is none, it is {} with `missing_ok`, else an AeprobeError, as is one that is not of this project.
    """
    file = path / "metrics.json"
    try:
        metrics = parsed(read_file(file, MOST_BYTES))
    except FileNotFoundError:
        if missing_ok:
            return {}
        raise AeprobeError(f"{path} is no run directory: it has no metrics.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise AeprobeError(f"{file} cannot be read: {getattr(error, 'strerror', error)}") from None
    if (schema := metrics.get("schema")) != SCHEMA:
        raise AeprobeError(f"{file} has schema {schema}, expected {SCHEMA}: it is not a run of this project")
    for key, kind in SHAPE.items():
        if not isinstance(metrics.get(key), kind):
            raise AeprobeError(f"{file} is not of this project: {key} is no {kind.__name__}")
    return metrics


def parsed(content: bytes) -> dict[str, Any]:
    """Return the values of a JSON object, with text that can be shown on a terminal, or raise ValueError."""
    value = _shown(json.loads(content))
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return value


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {printable(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def find_checkpoint(run: str | Path, stage: str) -> Path:
    """Return the checkpoint that `run` means: itself, or the one that a run directory's metrics.json names.

    In a directory of `stage=all` it is that of `stage`.
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
    kept = read_metrics(path).get("checkpoint") or "best"
    file = path / "checkpoints" / f"{kept}.ckpt"
    if not file.is_file():
        raise AeprobeError(f"ckpt={path}: the run has no {file.name}; was it interrupted in its first epoch?")
    return file


def distinct(values: Mapping[str, float]) -> dict[str, float]:
    """Return metrics by their names, without an MSE that is the loss.

    >>> distinct({"val/loss": 0.02, "val/mse": 0.02, "val/f1": 0.5})
    {'val/loss': 0.02, 'val/f1': 0.5}
    """
    losses = {name: values.get(name.replace("/mse", "/loss")) for name in values if name.endswith("/mse")}
    return {name: value for name, value in values.items() if value != losses.get(name)}


def numbers(values: Mapping[str, float]) -> str:
    """Return metrics by their names in one line, each number once."""
    return "  ".join(f"{name} {value:.4f}" for name, value in distinct(values).items())
