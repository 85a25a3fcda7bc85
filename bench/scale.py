"""Time and memory by the number of images, made by repeating MNIST's."""

import gzip
import json
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aeprobe.data.mnist import BUNDLE, FILES
from bench.processes import TRAIN, run
from bench.stages import summary

SIZES = (15_000, 60_000, 600_000)
PIXELS, HELD_OUT, EPOCHS = 784, 5_000, 2


def measure(sizes: Sequence[int] = SIZES, rounds: int = 3) -> list[dict[str, Any]]:
    """Measure stage 1 on each number of images, in turns.

    Returns:
        For each number the seconds of the second epoch and the microseconds per image, as `summary` has them, and
        the peak resident bytes.
    """
    found = [_measure(size) for _ in range(rounds) for size in sizes]
    return [_row(size, found[place :: len(sizes)]) for place, size in enumerate(sizes)]


def _row(size: int, found: Sequence[tuple[float, int]]) -> dict[str, Any]:
    seconds, peaks = [seconds for seconds, _ in found], [peak for _, peak in found]
    return {
        "images": size,
        "seconds": summary(seconds),
        "microseconds per image": summary([1e6 * value / (size - HELD_OUT) for value in seconds]),
        "peak": max(peaks),
    }


def _measure(size: int) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as folder:
        root, outputs = Path(folder) / "images", Path(folder) / "outputs"
        root.mkdir()
        for split, count in (("train", size), ("test", 10_000)):
            images, labels = FILES[split]
            _repeat(root / images, struct.pack(">4i", 2051, count, 28, 28), count * PIXELS)
            _repeat(root / labels, struct.pack(">2i", 2049, count), count)
        settings = [f"autoencoder.max_epochs={EPOCHS}", f"data.val_size={HELD_OUT}", "trainer.figures=false"]
        where = [f"data.root={root}", f"hydra.run.dir={outputs}", f"outputs={folder}"]
        peak = run([str(TRAIN), "stage=autoencoder", "data=folder", *settings, *where])[1]
        rows = json.loads((outputs / "metrics.json").read_text())["epochs"]
    return rows[-1]["seconds"], peak


def _repeat(path: Path, header: bytes, size: int) -> None:
    """Write an IDX file of `size` bytes after its header, from the bundle's file of that name."""
    stored = gzip.decompress((BUNDLE / f"{path.name}.gz").read_bytes())[len(header) :]
    with path.open("wb") as file:
        file.write(header)
        for _ in range(size // len(stored)):
            file.write(stored)
        file.write(stored[: size % len(stored)])
