"""How time and memory grow with the number of images, made by repeating MNIST's."""

import gzip
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

from aeprobe.benchmark.processes import TRAIN, run
from aeprobe.idx import BUNDLE, FILES

SIZES = (15_000, 60_000, 600_000)
PIXELS, HELD_OUT, EPOCHS = 784, 5_000, 2


def measure(sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """Stage 1 on each number of images: the seconds of its second epoch, and the peak resident bytes."""
    return [_measure(size) for size in sizes]


def _measure(size: int) -> dict[str, Any]:
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
    seconds = rows[-1]["seconds"]
    trained = size - HELD_OUT
    return {
        "images": size,
        "trained": trained,
        "seconds": seconds,
        "microseconds per image": 1e6 * seconds / trained,
        "peak": peak,
    }


def _repeat(path: Path, header: bytes, size: int) -> None:
    """Writes an IDX file of `size` bytes after its header, from the bundle's file of that name."""
    stored = gzip.decompress((BUNDLE / f"{path.name}.gz").read_bytes())[len(header) :]
    with path.open("wb") as file:
        file.write(header)
        for _ in range(size // len(stored)):
            file.write(stored)
        file.write(stored[: size % len(stored)])
