"""The files of MNIST and of its like: unpacked from the bundle, and checked before they are read."""

import gzip
import hashlib
import struct
from importlib.resources import files
from pathlib import Path

from aeprobe.errors import AeprobeError
from aeprobe.rundir import write_atomically

BUNDLE = files("aeprobe") / "assets" / "mnist"
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def checksums() -> dict[str, str]:
    """SHA-256 of each unpacked file of MNIST, by name."""
    lines = (BUNDLE / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def unpack(raw: Path) -> None:
    """Unpacks the bundled files that are missing in `raw` and checks all of them.

    Two processes may do so at once: each file is replaced whole.

    Raises:
        AeprobeError: `raw` cannot be written, or a file is not MNIST's.
    """
    for name, expected in checksums().items():
        path = raw / name
        try:
            if not path.exists():
                raw.mkdir(parents=True, exist_ok=True)
                write_atomically(path, gzip.decompress((BUNDLE / f"{name}.gz").read_bytes()))
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise AeprobeError(
                f"data: {path} cannot be used ({error.strerror}): choose another data.root="
            ) from None
        if found != expected:
            raise AeprobeError(
                f"data: {path} has SHA-256 {found}, expected {expected}: delete it to have it unpacked again, "
                "or use data=folder for images of your own"
            )


def check_idx(path: Path, magic: int, shape: tuple[int, ...]) -> int:
    """Checks the header and the length of an IDX file and returns how many items it holds.

    The format: https://yann.lecun.com/exdb/mnist. Big-endian 32-bit numbers: magic, count, shape.

    Raises:
        AeprobeError: the file is missing, or is not what its name says.
    """
    form = f">{2 + len(shape)}I"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(struct.calcsize(form))
    except OSError as error:
        raise AeprobeError(f"data: {path} cannot be read ({error.strerror}); data=folder needs it") from None
    if len(header) < struct.calcsize(form):
        raise AeprobeError(f"data: {path} is no IDX file: it has {size} bytes")
    found, count, *sides = map(int, struct.unpack(form, header))
    if found != magic or tuple(sides) != shape:
        raise AeprobeError(
            f"data: {path} begins with magic number {found} and shape {tuple(sides)}, expected {magic} and {shape}"
        )
    expected = struct.calcsize(form) + count * (shape[0] * shape[1] if shape else 1)
    if size != expected or count == 0:
        raise AeprobeError(f"data: {path} has {size} bytes, expected {expected} for {count} items (at least one)")
    return count
