"""The files of MNIST and of its like: unpacked from the bundle, and checked before they are read."""

import gzip
import hashlib
import math
import struct
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from aeprobe.errors import AeprobeError
from aeprobe.files import checksum, write_atomically

BUNDLE = files("aeprobe") / "assets" / "mnist"
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CHUNK = 4 * 2**20  # bytes of a file in memory beside what is made of them
Identity = dict[str, Any]


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
            found = checksum(path)
        except OSError as error:
            raise AeprobeError(
                f"data: {path} cannot be used ({error.strerror}): choose another data.root="
            ) from None
        if found != expected:
            raise AeprobeError(
                f"data: {path} has SHA-256 {found}, expected {expected}: delete it to have it unpacked again, "
                "or use data=folder for images of your own"
            )


class IdxFile:
    """An IDX file: its header is checked when it is opened, and it is read once, from its first byte to its last.

    The format: https://yann.lecun.com/exdb/mnist. Big-endian 32-bit numbers: magic, count, shape; then the items.

    Args:
        path: the file.
        magic: the number that it begins with.
        shape: of an item.

    Attributes:
        count: how many items it holds.
        shape: of an item.
        identity: "bytes" and "sha256" of what `chunks` has read, of that and nothing else; empty before its end.

    Raises:
        AeprobeError: the file is missing, or is not what its name says.
    """

    def __init__(self, path: Path, magic: int, shape: tuple[int, ...]) -> None:
        self.path, self.shape = path, shape
        self._item = math.prod(shape)
        self.identity: Identity = {}
        form = f">{2 + len(shape)}I"
        try:
            self._bytes = path.stat().st_size
            if self._bytes < struct.calcsize(form):  # a pipe or a device has no size, and would not end
                raise AeprobeError(f"data: {path} is no IDX file: it has {self._bytes} bytes")
            with path.open("rb") as file:
                self._header = file.read(struct.calcsize(form))
        except OSError as error:
            raise AeprobeError(
                f"data: {path} cannot be read ({error.strerror}); give a data.root= that has it"
            ) from None
        if len(self._header) < struct.calcsize(form):
            raise AeprobeError(self._changed)
        found, self.count, *sides = map(int, struct.unpack(form, self._header))
        if found != magic or tuple(sides) != shape:
            raise AeprobeError(
                f"data: {path} begins with magic number {found} and shape {tuple(sides)}, "
                f"expected {magic} and {shape}"
            )
        expected = len(self._header) + self.count * self._item
        if self._bytes != expected or self.count == 0:
            raise AeprobeError(
                f"data: {path} has {self._bytes} bytes, expected {expected} for {self.count} items (at least one)"
            )

    def chunks(self) -> Iterator[memoryview]:
        """The bytes of its items, some megabytes at a time, each in the memory of the one before.

        Raises:
            AeprobeError: the file has another size than before, or cannot be read.
        """
        memory = memoryview(bytearray(max(1, CHUNK // self._item) * self._item))
        digest, left = hashlib.sha256(self._header), self.count * self._item
        try:
            with self.path.open("rb") as file:
                if file.read(len(self._header)) != self._header:
                    raise AeprobeError(self._changed)
                while left:
                    part = memory[:left]
                    if file.readinto(part) != len(part):
                        raise AeprobeError(self._changed)
                    digest.update(part)
                    left -= len(part)
                    yield part
                if file.read(1):
                    raise AeprobeError(self._changed)
        except OSError as error:
            raise AeprobeError(f"data: {self.path} cannot be read ({error.strerror})") from None
        self.identity = {"bytes": self._bytes, "sha256": digest.hexdigest()}

    @property
    def _changed(self) -> str:
        return f"data: {self.path} had {self._bytes} bytes and was changed while it was read; start again"
