"""The files of TensorBoard and of CSVLogger go on where a checkpoint was saved, whoever logged into them."""

import csv
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.compat.proto.event_pb2 import Event

from aeprobe.files import write_atomically
from aeprobe.runs.rundir import RESULTS

# Bytes of an event file: before each event, its length with a checksum; after it, another checksum.
LENGTH, HEAD, FOOT = 8, 12, 4


def flush(loggers: Sequence[Logger]) -> dict[str, Any]:
    """Write what was logged to the disk; return how far the files go, for a checkpoint to keep."""
    for logger in loggers:
        logger.save()
    tables = [_table(logger) for logger in loggers if isinstance(logger, CSVLogger)]
    lines = [table.read_bytes().count(b"\n") if table.exists() else 0 for table in tables]
    return {"time": time.time(), "lines": lines}


def cut(loggers: Sequence[Logger], checkpoint: Mapping[str, Any]) -> None:
    """Drop what was logged after a checkpoint was saved, of loggers that have not opened their files yet.

    Lightning logs an epoch's means after its checkpoint is saved, but with the step before: these are kept.
    """
    written, step = checkpoint["logs"], checkpoint["global_step"]
    lines = iter(written["lines"])
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            for file in Path(logger.log_dir).glob("events.out.tfevents.*"):
                _cut_events(file, written["time"], step)
        elif isinstance(logger, CSVLogger):
            _cut_rows(logger, next(lines, 0), step)


def _cut_events(file: Path, until: float, step: int) -> None:
    if file.name.endswith(RESULTS):
        file.unlink()
        return
    content, kept, start = file.read_bytes(), [], 0
    while (end := start + HEAD + int.from_bytes(content[start : start + LENGTH], "little") + FOOT) <= len(content):
        event = Event.FromString(content[start + HEAD : end - FOOT])
        if event.wall_time <= until or event.step < step:
            kept.append(content[start:end])
        start = end
    write_atomically(file, kept)


def _cut_rows(logger: CSVLogger, lines: int, step: int) -> None:
    """Give the logger its earlier rows again: it removes the file that it finds."""
    if not _table(logger).exists():
        return
    whole = _table(logger).read_text().rpartition("\n")[0]
    rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(whole.splitlines())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it removes it
        logger.experiment.metrics = [
            r for number, r in enumerate(rows, 2) if number <= lines or int(r["step"]) < step
        ]
    logger.save()


def _table(logger: CSVLogger) -> Path:
    return Path(logger.log_dir, "metrics.csv")
