"""Files that are complete or absent, and numbers that JSON can hold."""

import errno
import hashlib
import math
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file, as a whole or part by part, that is complete or absent, whatever happens meanwhile."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with beside.open("xb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def finite(value: Any) -> Any:
    """Return the same value, with null for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def filled(directory: Path) -> Iterator[Path]:
    """Yield a new folder for files, which are moved into the directory when all are complete; else removed."""
    directory = directory.absolute()
    there = directory.is_dir()
    with tempfile.TemporaryDirectory(
        dir=directory if there else directory.parent, prefix=f".{directory.name}.", ignore_cleanup_errors=True
    ) as beside:
        whole = Path(beside) / "whole"
        whole.mkdir()
        yield whole
        if not there:
            whole.replace(directory)
            return
        for file in whole.iterdir():
            file.replace(directory / file.name)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file(path: Path, most: int) -> bytes:
    """Return the bytes of a file that somebody else may have made; raise OSError for more than `most`."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than the {most / 2**20:.3g} MB that are read of it", str(path))
    return content
