"""A small folder of made-up images."""

import struct
from pathlib import Path

import torch

from aeprobe.data import mnist
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.mnist import IdxFolder


def write_folder(root: Path, count: int = 300, labels: int | None = None, side: int = 28) -> Path:
    """Made-up IDX files: `count` training and test images of side x side pixels, labels 0, 1, 2."""
    root.mkdir(exist_ok=True)
    pixels = torch.randint(
        0, 256, (count, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for images_name, labels_name in mnist.FILES.values():
        header = struct.pack(">4I", 2051, count, side, side)
        (root / images_name).write_bytes(header + bytes(pixels.flatten().tolist()))
        n = count if labels is None else labels
        (root / labels_name).write_bytes(struct.pack(">2I", 2049, n) + bytes(i % 3 for i in range(n)))
    return root


def folder_data(folder: Path, val_size: float = 0, split_seed: int = 0) -> ImageDataModule:
    """The images of a folder of IDX files, not read yet."""
    return ImageDataModule("folder", str(folder), val_size, split_seed, source=IdxFolder(str(folder)))
