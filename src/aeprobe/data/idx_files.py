"""The files of MNIST and of its like: unpacked from the bundle, and checked before they are read."""

import gzip
import hashlib
import math
import struct
import zlib
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
IMAGES, LABELS = 2051, 2049  # what a file of images or of labels begins with
CHUNK = 4 * 2**20  # bytes of a file in memory beside what is made of them
MOST_SIDE = 2**16  # pixels
MOST_PACKED = 1100  # bytes that one byte of a .gz can hold
UNREADABLE = (OSError, EOFError, zlib.error)
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

    The format: https://yann.lecun.com/exdb/mnist. Big-endian 32-bit numbers: magic, whose last byte is the
    number of dimensions, and the sizes of these; then the items, of one byte for each number.

    Args:
        path: the file; one that ends in .gz is read unpacked.
        magic: the number that it begins with: `IMAGES` or `LABELS`.

    Attributes:
        count: how many items it holds.
        shape: of an item, (height, width) or ().
        identity: "bytes" and "sha256" of what `chunks` has read, unpacked; empty before its end.

    Raises:
        AeprobeError: the file is missing, or is not what its name says.
    """

    def __init__(self, path: Path, magic: int) -> None:
        self.path = path
        self.identity: Identity = {}
        form = f">{1 + magic % 256}I"
        packed = path.suffix == ".gz"
        try:
            size = path.stat().st_size
            if size < struct.calcsize(form):  # a pipe or a device has no size, and would not end
                raise AeprobeError(f"data: {path} is no IDX file: it has {size} bytes")
            with self._open() as file:
                self._header = file.read(struct.calcsize(form))
        except UNREADABLE as error:
            raise AeprobeError(
                f"data: {path} cannot be read ({_reason(error)}); give a data.root= that has it"
            ) from None
        if len(self._header) < struct.calcsize(form):
            raise AeprobeError(self._changed if not packed else f"data: {path} is no IDX file: it ends early")
        found, self.count, *sides = map(int, struct.unpack(form, self._header))
        self.shape = tuple(sides)
        if found != magic or not all(1 <= side <= MOST_SIDE for side in sides):
            raise AeprobeError(
                f"data: {path} begins with magic number {found} and shape {self.shape}, "
                f"expected {magic} and sides from 1 to {MOST_SIDE}"
            )
        self._item = math.prod(self.shape)
        self._bytes = len(self._header) + self.count * self._item
        fits = self._bytes <= MOST_PACKED * size if packed else self._bytes == size
        if not fits or self.count == 0:
            raise AeprobeError(
                f"data: {path} has {size} bytes, expected {self._bytes}{' unpacked' if packed else ''} for "
                f"{self.count} items (at least one)"
            )

    def chunks(self) -> Iterator[memoryview]:
        """The bytes of its items, some megabytes at a time, each in the memory of the one before.

        Raises:
            AeprobeError: the file has another size than before, or cannot be read.
        """
        memory = memoryview(bytearray(max(1, CHUNK // self._item) * self._item))
        digest, left = hashlib.sha256(self._header), self.count * self._item
        try:
            with self._open() as file:
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
        except UNREADABLE as error:
            raise AeprobeError(f"data: {self.path} cannot be read ({_reason(error)})") from None
        self.identity = {"bytes": self._bytes, "sha256": digest.hexdigest()}

    def _open(self) -> Any:
        return gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")

    @property
    def _changed(self) -> str:
        if self.path.suffix == ".gz":
            return f"data: {self.path} is damaged: it does not hold the {self._bytes} bytes that it should"
        return f"data: {self.path} had {self._bytes} bytes and was changed while it was read; start again"


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
