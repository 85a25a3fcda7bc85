"""Images to codes by the encoder of a finished run, and codes back to pictures by its decoder.

    aeprobe encode RUN IMAGES … -o codes.npz [--bits 8]
    aeprobe decode RUN codes.npz -o DIR

IMAGES are pictures, directories of pictures, and IDX files. DIR, which is new or empty, gets a PNG for each code,
called as its image was. docs/COMPRESSION.md has the format of the file, an .npz without pickles.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aeprobe.data.datamodule import PART
from aeprobe.data.image_folder import ENDS, below
from aeprobe.data.mnist import read_idx
from aeprobe.errors import AeprobeError, first_line
from aeprobe.files import checksum, filled, write_atomically
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.paths import shortest
from aeprobe_tools.evaluations.quantizer import MOST_BITS, Quantizer
from aeprobe_tools.output import command
from aeprobe_tools.use.preparation import Pixels, read_picture
from aeprobe_tools.use.trained import load_stage, require_new, run_parser, writing

IDX = (".gz", "-ubyte", ".idx", ".idx3")
MOST_BYTES = 2**30  # of a file of codes, unpacked
MOST_LETTERS = 60  # of a picture's name: 240 bytes at most


@dataclass(frozen=True)
class Codes:
    """Images' names, the SHA-256 of the checkpoint that encoded them, and their codes, float32 (N, code)."""

    names: list[str]
    run: str
    codes: Tensor


@command
def encode_command(arguments: Sequence[str] | None = None) -> int:
    """Run `aeprobe encode`; return the exit status."""
    parser = run_parser("encode", "Writes the codes of images into a file.")
    images = "pictures, directories of pictures, and IDX files; resized"
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help=images)
    file = "the file of codes, such as codes.npz"
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=file)
    bits = "quantise each number to so many bits (default: floats of 32)"
    parser.add_argument("--bits", type=int, choices=range(1, MOST_BITS + 1), help=bits)
    given = parser.parse_intermixed_args(arguments)
    require_new(given.output)
    trained = load_stage(given.run, plugins=given.plugins)
    names, pixels = zip(*_images(given.images, trained.module.shape), strict=True)
    codes = trained.module.predict(torch.from_numpy(np.stack(pixels)))["code"]
    with writing(given.output):
        write_atomically(given.output, packed(names, checksum(trained.path), codes, given.bits))
    print(f"{shortest(given.output.resolve())}: {len(names):,} codes")
    return 0


def _images(paths: Sequence[Path], shape: tuple[int, ...]) -> Iterator[tuple[str, Pixels]]:
    """Yield each image with its name, uint8 of the shape."""
    for path in paths:
        if path.is_file() and path.name.lower().endswith(IDX):
            images = read_idx(path, dimensions=3)[0].unsqueeze(1).numpy()
            if images.shape[1:] != shape:
                raise AeprobeError(f"{path} has images of {images.shape[1:]}, and the run is of {shape}")
            name = path.name.removesuffix(".gz")
            yield from ((f"{name}-{number:05}", image) for number, image in enumerate(images))
            continue
        try:
            yield from ((name, read_picture(file, shape)) for name, file in below(path))
        except ValueError as error:
            raise AeprobeError(str(error)) from None


def packed(names: Sequence[str], run: str, codes: Tensor, bits: int | None = None) -> bytes:
    """Return the content of a file of codes; `run` is the SHA-256 of the checkpoint.

    With bits, each number is quantised in its range over these codes, which the file holds too, and a code takes
    bits * code / 8 bytes, rounded up.
    """
    arrays: dict[str, Any] = {
        "names": np.array([name.encode(errors="replace") for name in names]),
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
        with np.load(path, allow_pickle=False) as stored:  # noqa: TID251
            return _codes(stored)
    except OSError as error:
        raise AeprobeError(f"{path} cannot be read ({error.strerror or error})") from None
    except Exception as error:  # what a damaged archive ends in can be any
        raise AeprobeError(
            f"{path} is no file of codes ({first_line(error):.100}): give one of aeprobe encode"
        ) from None


def _codes(arrays: Mapping[str, Any]) -> Codes:
    codes, names = torch.from_numpy(arrays["codes"]), [name.decode(errors="replace") for name in arrays["names"]]
    if "bits" in arrays:
        bits, low, high = int(arrays["bits"]), torch.from_numpy(arrays["low"]), torch.from_numpy(arrays["high"])
        each = np.unpackbits(codes.numpy(), axis=1)[:, : len(low) * bits].reshape(len(codes), len(low), bits)
        indices = torch.from_numpy(np.packbits(each, axis=2)[:, :, 0] >> (8 - bits))
        codes = Quantizer(low, high, bits).values(indices).float()
    if codes.ndim != 2 or codes.dtype != torch.float32 or len(names) != len(codes) or not codes.isfinite().all():
        raise ValueError("its codes are no rows of finite 32-bit floats, one for each name")
    return Codes(names, str(arrays["run"]), codes)


@command
def decode_command(arguments: Sequence[str] | None = None) -> int:
    """Run `aeprobe decode`; return the exit status."""
    parser = run_parser("decode", "Writes codes as pictures.")
    file = "a file of codes, as aeprobe encode writes it"
    parser.add_argument("codes", type=Path, metavar="FILE", help=file)
    pictures = "an empty or a new directory"
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=pictures)
    given = parser.parse_args(arguments)
    require_new(given.output)
    found, trained = read(given.codes), load_stage(given.run, plugins=given.plugins)
    module = trained.module
    if not isinstance(module, Autoencoder):
        raise AeprobeError(f"{trained.path} is a classifier's, which has no decoder: give the autoencoder's run")
    if checksum(trained.path) != found.run:
        raise AeprobeError(
            f"{given.codes} was made by a checkpoint with SHA-256 {found.run:.12}…, and {trained.path} is another"
        )
    with writing(given.output), filled(given.output) as folder:
        for name, pixels in zip(file_names(found.names), _decoded(module, found.codes), strict=True):
            Image.fromarray(pixels).save(folder / name)
    print(f"{shortest(given.output.resolve())}: {len(found.names):,} pictures")
    return 0


@torch.no_grad()
def _decoded(module: Autoencoder, codes: Tensor) -> Iterator[Pixels]:
    """Yield reconstructions, each uint8 (height, width) or (height, width, 3)."""
    for part in codes.split(PART):
        pixels = module.decoder(part).mul(255).round().clamp(0, 255).byte()
        yield from (pixels[:, 0] if module.shape[0] == 1 else pixels.movedim(1, 3)).numpy()


def file_names(names: Iterable[str]) -> Iterator[str]:
    r"""Yield a file name for each image: its own without folders, with a number if another has it.

    >>> [*file_names(["a/x.jpg", "x.png", "../../etc/passwd", "C:\\.hidden", "X", "", "v1.5"])]
    ['x.png', 'x-2.png', 'passwd.png', 'hidden.png', 'X-3.png', 'image.png', 'v1.5.png']
    """
    taken: set[str] = set()
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        base = path.stem if path.suffix.lower() in ENDS else path.name
        stem = re.sub(r"[^\w. -]", "_", base).strip("-. ")[:MOST_LETTERS] or "image"
        numbered = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        free = next(one for one in numbered if one.casefold() not in taken)
        taken.add(free.casefold())
        yield f"{free}.png"
