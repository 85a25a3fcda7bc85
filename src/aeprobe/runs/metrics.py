"""metrics.json, the contract that others read, and its one reader. Needs no torch."""

import json
import math
import re
from pathlib import Path
from typing import Any

from aeprobe.config.settings import misfit
from aeprobe.errors import AeprobeError, printable
from aeprobe.files import read_file

SCHEMA = 1
MOST_BYTES = 16 * 2**20  # some 4,000 here; an epoch's row has 400
MOST_PARTS = 100_000  # lists and objects, which take 20 times as much memory as their text
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
        metrics: Metrics = parsed(read_file(file, MOST_BYTES).decode())
    except FileNotFoundError:
        if missing_ok:
            return {}
        raise AeprobeError(f"{path} is no run directory: it has no metrics.json") from None
    except OSError as error:
        raise AeprobeError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise AeprobeError(f"{file} cannot be read: {error}") from None
    found = metrics.get("schema") if isinstance(metrics, dict) else None
    if found != SCHEMA:
        raise AeprobeError(f"{file} has schema {found}, expected {SCHEMA}: it is not a run of this project")
    if wrong := _wrong_shape(metrics):
        raise AeprobeError(f"{file} is not of this project: {wrong}")
    return metrics


def parsed(text: str) -> Any:
    """What JSON says, in numbers that a run can have, and in text that can be shown; raises ValueError."""
    if text.count("[") + text.count("{") > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS} lists and objects")
    return _shown(json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite))


def _whole(digits: str) -> int:
    if len(digits) > len(str(-(2**63))):
        raise ValueError(f"a number of {len(digits)} digits is none of a run's")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(float(digits)):
        raise ValueError(f"{digits} is no number; one that is not finite is null")
    return float(digits)


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {printable(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _wrong_shape(metrics: Metrics) -> str:
    """What is not as the contract says, in words; "" where all is."""
    refused = "versions" not in metrics
    for key, kind in SHAPE.items():
        if type(metrics.get(key)) is not kind and not (refused and key in OF_BEGUN):
            return f"{key} is {metrics.get(key)!r:.40}, not a {kind.__name__}"
    if not isinstance(metrics.get("ckpt"), str | None):
        return "its ckpt is no path"
    loggers = metrics.get("loggers", {})
    runs = loggers.values() if isinstance(loggers, dict) else ["/"]
    if not all(re.fullmatch(r"[\w-]{1,80}", str(run)) for run in runs):
        return "its loggers are not the names of runs"
    if not all(isinstance(row, dict) for row in metrics["epochs"]):
        return "its epochs are not objects"
    parts = metrics.get("test_parts")
    rows = [metrics["final"], {} if refused else metrics["seconds"], parts if isinstance(parts, dict) else {}]
    for row in (*metrics["epochs"], *rows):
        for key, value in row.items():
            if value is not None and type(value) not in (int, float):
                return f"{key} is {value!r:.40}, not a number"
    matrix = metrics.get("confusion_matrix") or []
    square = isinstance(matrix, list) and all(isinstance(r, list) and len(r) == len(matrix) for r in matrix)
    if not square or not all(type(count) is int and count >= 0 for row in matrix for count in row):
        return "its confusion_matrix is not square, or holds no counts"
    return "" if refused else misfit(metrics["config"])


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
    kept = read_metrics(path).get("checkpoint") or "best"
    file = path / "checkpoints" / f"{kept}.ckpt"
    if not file.is_file():
        raise AeprobeError(f"ckpt={path}: the run has no {file.name}; was it interrupted in its first epoch?")
    return file
