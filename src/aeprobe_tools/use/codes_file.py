"""The file of codes that `aeprobe encode` writes and `aeprobe decode` reads: an .npz without pickles."""

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aeprobe.data.datamodule import PART
from aeprobe.errors import AeprobeError
from aeprobe_tools.evaluations.quantizer import Quantizer

MOST_BYTES = 2**30  # of a file, unpacked
MOST_NAME = 255  # bytes of a name, in UTF-8
ARRAYS = {"codes", "names", "run"}
QUANTISED = ARRAYS | {"low", "high", "bits"}


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
    """Return the content of a file.

    Args:
        names: of the images.
        run: SHA-256 of the checkpoint file.
        codes: finite, float32 (N, code), of at least one image.
        bits: of a number, 1 to 8: each is quantised in its range over these codes, which the file holds too, and
            a code takes bits * code / 8 bytes, rounded up. None: floats of 32 bits.
    """
    arrays: dict[str, Any] = {
        "names": np.array([name.encode(errors="replace")[:MOST_NAME] for name in names]),
        "run": np.array(run),
        "codes": codes.numpy(),
    }
    if bits is not None:
        low, high = codes.aminmax(dim=0)
        indices = Quantizer(low, high, bits).indices(codes).numpy()
        each = np.unpackbits(indices[:, :, None], axis=2)[:, :, 8 - bits :]
        arrays |= {"codes": np.packbits(each.reshape(len(codes), -1), axis=1)}
        arrays |= {"low": low.numpy(), "high": high.numpy(), "bits": np.array(bits, np.uint8)}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def read(path: Path) -> Codes:
    """Read a file of codes, which somebody else may have made: nothing in it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES:,} bytes; encode fewer images at a time")
        with np.load(path, allow_pickle=False) as stored:
            return _codes(dict(stored))
    except OSError as error:
        raise AeprobeError(f"{path} cannot be read ({error.strerror or error})") from None
    except Exception as error:  # what a damaged archive ends in can be any
        what = str(error).partition("\n")[0]
        raise AeprobeError(f"{path} is no file of codes ({what:.100}): give one of aeprobe encode") from None


def _codes(arrays: Mapping[str, Any]) -> Codes:
    if arrays.keys() not in (ARRAYS, QUANTISED):
        raise ValueError("it holds other arrays")
    stored, names, run = torch.from_numpy(arrays["codes"]), arrays["names"], str(arrays["run"])
    codes = _unpacked(stored, arrays) if "bits" in arrays else stored
    if codes.ndim != 2 or codes.dtype != torch.float32 or not codes.isfinite().all():
        raise ValueError("its codes are no rows of finite 32-bit floats")
    if names.shape != (len(codes),) or names.dtype.kind != "S" or not re.fullmatch(r"[0-9a-f]{64}", run):
        raise ValueError("its names or its run do not belong to its codes")
    return Codes([name.decode(errors="replace") for name in names.tolist()], run, codes)


def _unpacked(stored: Tensor, arrays: Mapping[str, Any]) -> Tensor:
    bits, size = int(arrays["bits"]), len(arrays["low"])
    quantizer = Quantizer(torch.from_numpy(arrays["low"]), torch.from_numpy(arrays["high"]), bits)
    if stored.shape[1] != -(-size * bits // 8):
        raise ValueError("its ranges do not fit its codes")
    weights = (1 << np.arange(bits)[::-1]).astype(np.uint8)
    parts = []
    for part in stored.split(PART):  # of one bit each, a number takes 100 times as much on its way
        each = np.unpackbits(part.numpy(), axis=1, count=size * bits).reshape(-1, size, bits)
        parts.append(quantizer.values(torch.from_numpy(each @ weights)).float())
    return torch.cat(parts)
