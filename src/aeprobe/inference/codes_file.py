"""The file of codes that `aeprobe encode` writes: an .npz without pickles, and as data when it is read."""

import io
import math
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from aeprobe.data.datamodule import PART
from aeprobe.errors import AeprobeError
from aeprobe.files import require_regular
from aeprobe.models.quantizer import Quantizer

MOST_IMAGES = 1_000_000
MOST_NUMBERS = 2**26  # of all codes, 256 MB as floats: a million codes of 30 have half of them
MOST_BYTES = 2**30  # of a file
MOST_NAME = 255  # bytes of a name, in UTF-8
# The arrays of a file by their names: type and number of dimensions. The second are there where it is quantised.
ARRAYS = {"codes": ("<f4", 2), "names": ("S", 1), "run": ("<U64", 0)}
QUANTISED = ARRAYS | {"codes": ("|u1", 2), "low": ("<f4", 1), "high": ("<f4", 1), "bits": ("|u1", 0)}


@dataclass(frozen=True)
class Codes:
    """Codes of images.

    Attributes:
        names: of the images; text that may say anything.
        run: SHA-256 of the checkpoint file that made them.
        codes: finite, float32 (N, code), as they will be decoded.
    """

    names: list[str]
    run: str
    codes: Tensor


def packed(names: Sequence[str], run: str, codes: Tensor, bits: int | None = None) -> bytes:
    """The content of a file.

    Args:
        names: of the images.
        run: SHA-256 of the checkpoint file.
        codes: finite, float32 (N, code), of at least one image.
        bits: of a number, 1 to 8: each is quantised in its range over these codes, which the file holds too, and
            a code takes bits * code / 8 bytes, rounded up. None: floats of 32 bits.
    """
    arrays = {
        "names": np.array([name.encode(errors="replace")[:MOST_NAME] for name in names]),
        "run": np.array(run),
    }
    if bits is None:
        arrays["codes"] = codes.numpy()
    else:
        low, high = codes.aminmax(dim=0)
        indices = Quantizer(low, high, bits).indices(codes).numpy()
        each = np.unpackbits(indices[:, :, None], axis=2)[:, :, 8 - bits :]
        arrays |= {"codes": np.packbits(each.reshape(len(codes), -1), axis=1)}
        arrays |= {"low": low.numpy(), "high": high.numpy(), "bits": np.array(bits, np.uint8)}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def read(path: Path) -> Codes:
    """What a file holds.

    Raises:
        AeprobeError: there is none, or it is not as `packed` makes one; no more memory was taken for it than it is
            large.
    """
    try:
        require_regular(path)
        if path.stat().st_size > MOST_BYTES:
            raise AeprobeError(f"has more than {MOST_BYTES:,} bytes: encode fewer images at a time")
        return _checked(_arrays(path))
    except OSError as error:
        raise AeprobeError(f"{path} cannot be read ({error.strerror or error})") from None
    except AeprobeError as error:
        raise AeprobeError(f"{path} {error}") from None
    except Exception as error:  # what a damaged archive ends in can be any
        what = str(error).partition("\n")[0]
        raise AeprobeError(f"{path} is no file of codes ({what:.100}): give one of aeprobe encode") from None


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = sorted(entry.filename.removesuffix(".npy") for entry in entries)
        form = QUANTISED if "bits" in names else ARRAYS
        if names != sorted(form):
            raise ValueError("it holds other arrays")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which none is; nothing of it was unpacked")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("it claims more than it holds")
        return {name: _array(archive.read(f"{name}.npy"), name, *form[name]) for name in form}


def _array(content: bytes, name: str, kind: str, sides: int) -> NDArray[np.generic]:
    """One array, whose header is held against the bytes that are there before anything is made of it."""
    file = io.BytesIO(content)
    if npy.read_magic(file) != (1, 0):
        raise ValueError(f"{name} has another version")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy reads a header of Python 2, and says so
        shape, columns_first, dtype = npy.read_array_header_1_0(file)
    alike = dtype.kind == "S" and 0 < dtype.itemsize <= MOST_NAME if kind == "S" else dtype.str == kind
    if not alike or columns_first or len(shape) != sides:
        raise ValueError(f"{name} has another type or shape")
    if min(shape, default=1) < 1 or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"{name} has another size than it claims")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)


def _checked(arrays: dict[str, NDArray[np.generic]]) -> Codes:
    count, size = arrays["codes"].shape
    size = len(arrays["low"]) if "bits" in arrays else size
    if len(arrays["names"]) != count or count > MOST_IMAGES or count * size > MOST_NUMBERS:
        raise ValueError(f"it has {len(arrays['names']):,} names and {count:,} codes of {size:,} numbers")
    names = [bytes(name).decode(errors="replace") for name in arrays["names"]]
    run = arrays["run"].tobytes().decode("utf-32-le", errors="replace")  # any numbers may stand there
    if not re.fullmatch(r"[0-9a-f]{64}", run):
        raise ValueError("its run is no SHA-256")
    stored = torch.from_numpy(arrays["codes"].copy())
    codes = _unpacked(stored, arrays) if "bits" in arrays else stored
    if not codes.isfinite().all():
        raise ValueError("its codes are not finite")
    return Codes(names, run, codes)


def _unpacked(stored: Tensor, arrays: dict[str, NDArray[np.generic]]) -> Tensor:
    bits = int(arrays["bits"])
    low, high = (torch.from_numpy(arrays[name].copy()) for name in ("low", "high"))
    size = len(low)
    fits = len(high) == size and stored.shape[1] == math.ceil(size * bits / 8)
    if not fits or not (low <= high).all():
        raise ValueError("its ranges do not fit its codes")
    quantizer = Quantizer(low, high, bits)
    weights = (1 << np.arange(bits)[::-1]).astype(np.uint8)
    parts = []
    for part in stored.split(PART):  # of one bit each, a number takes 100 times as much on its way
        each = np.unpackbits(part.numpy(), axis=1, count=size * bits).reshape(-1, size, bits)
        parts.append(quantizer.values(torch.from_numpy(each @ weights)).float())
    return torch.cat(parts)
