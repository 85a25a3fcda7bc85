"""IDX files, as MNIST has them: read, or unpacked from the bundle and held against their checksums."""

import gzip
import hashlib
import math
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aeprobe.errors import AeprobeError
from aeprobe.files import checksum, write_atomically

BUNDLE = files("aeprobe") / "assets" / "mnist"
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MOST_BYTES = 2**32  # of a file, unpacked: five million images of MNIST's size
Identity = dict[str, Any]


def checksums() -> dict[str, str]:
    """Return the SHA-256 of each unpacked file of MNIST, by name."""
    lines = (BUNDLE / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def unpack(raw: Path) -> None:
    """Unpack the bundled files that are missing in `raw`, each atomically, and check all of them."""
    for name, expected in checksums().items():
        path = raw / name
        try:
            if not path.exists():
                raw.mkdir(parents=True, exist_ok=True)
                write_atomically(path, gzip.decompress((BUNDLE / f"{name}.gz").read_bytes()))
            digest = checksum(path)
        except OSError as error:
            raise AeprobeError(
                f"data: {path} cannot be used ({error.strerror}): choose another data.root="
            ) from None
        if digest != expected:
            raise AeprobeError(
                f"data: {path} has SHA-256 {digest}, expected {expected}: delete it to have it unpacked again, "
                "or use data=folder for images of your own"
            )


def read_idx(path: Path, dimensions: int) -> tuple[Tensor, Identity]:
    """Read an IDX file of bytes, uint8, and its size and SHA-256; one that ends in .gz is unpacked.

    The format: https://yann.lecun.com/exdb/mnist. Big-endian 32-bit numbers: 2048 plus the number of dimensions,
    and their sizes; then the values.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = bytearray(file.read(MOST_BYTES))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise AeprobeError(f"data: {path} cannot be read ({reason}); give a data.root= that has it") from None
    start = 4 * (1 + dimensions)
    magic, *shape = (int.from_bytes(content[i : i + 4], "big") for i in range(0, start, 4))
    if magic != 2048 + dimensions or not 0 < math.prod(shape) == len(content) - start:
        raise AeprobeError(
            f"data: {path} is no complete IDX file of {dimensions} dimensions: it begins with {magic} {shape}, "
            f"expected {2048 + dimensions}, the sizes and as many bytes, 1 to {MOST_BYTES}"
        )
    identity = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).view(shape), identity
