"""The modules of a finished run, for the commands."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aeprobe.errors import printable
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.paths import shortest
from aeprobe.runs.metrics import find_checkpoint, read_metrics


def run_parser(name: str, description: str | None, **more: Any) -> argparse.ArgumentParser:
    """Return the parser of a command on a RUN, whose checkpoint may name classes of --plugins."""
    parser = argparse.ArgumentParser(f"aeprobe {name}", description=description, **more)
    parser.add_argument("run", metavar="RUN", help="a run directory, best of stage=all, or a .ckpt file")
    parser.add_argument(
        "--plugins", action="append", default=[], metavar="PACKAGE", help="whose classes RUN names"
    )
    return parser


def loaded(
    run: Path, plugins: Sequence[str] = (), stage: str = "autoencoder"
) -> tuple[Path, Autoencoder | Classifier]:
    """Load a run: its checkpoint file, and its module in eval mode.

    Args:
        run: a run directory, or a .ckpt file.
        plugins: packages of your own that a checkpoint may name classes of.
        stage: which to take of `stage=all`.
    """
    path = usable_checkpoint(run, stage)
    return path, checkpoints.restore(checkpoints.read(path), path, plugins)


def stages(run: Path) -> tuple[str, ...]:
    """Return the stages of a run: both or one of `stage=all`; for any other path one, which may be either."""
    there = [(run / stage / "metrics.json").exists() for stage in ("autoencoder", "classifier")]
    if there == [False, True]:
        return ("classifier",)
    return ("autoencoder", "classifier") if there[0] and (run / "classifier").is_dir() else ("autoencoder",)


def usable_checkpoint(run: Path, stage: str) -> Path:
    """Find a run's checkpoint; of an unfinished run its best or last one, and say so."""
    part = run / stage if (run / stage / "metrics.json").exists() else run
    metrics = read_metrics(part, missing_ok=True) if part.is_dir() else {}
    if metrics.get("status", "completed") == "completed":
        return find_checkpoint(run, stage)
    for name in ("best", "last"):
        if (file := part / "checkpoints" / f"{name}.ckpt").is_file():
            epochs = len(metrics["epochs"])
            note(f"{shortest(part)} is {metrics['status']} after {epochs} epochs: its {name} checkpoint is used")
            return file
    return find_checkpoint(run, stage)


def note(text: str) -> None:
    """Print a note for the person on standard error."""
    print(f"note: {printable(text)}", file=sys.stderr)
