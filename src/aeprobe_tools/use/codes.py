"""Images to codes by the encoder of a finished run, and codes back to pictures by its decoder.

    aeprobe encode RUN IMAGES … -o codes.npz [--bits 8]
    aeprobe decode RUN codes.npz -o DIR

IMAGES are pictures (PNG, JPEG, WebP, BMP, GIF, TIFF, PPM), directories, of which all pictures below are taken in
the order of their names, and IDX files of images. A picture of another size is resized as little as makes it
cover the run's size, its middle is cut out, and it becomes grey or coloured as the run's images are. DIR, which
must not be there or be empty, gets a PNG for each code, called as its image was.

The file of codes is an .npz without pickles.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from aeprobe.data.datamodule import PART
from aeprobe.data.idx_files import read_idx
from aeprobe.data.pictures import ENDS, below
from aeprobe.data.pixels import as_pixels
from aeprobe.errors import AeprobeError
from aeprobe.files import checksum, filled, write_atomically
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.paths import shortest
from aeprobe_tools.evaluations.quantizer import MOST_BITS, Quantizer
from aeprobe_tools.output import command
from aeprobe_tools.use.picture_files import Image, read_picture
from aeprobe_tools.use.trained import load_stage, run_parser, typed_path

IDX = (".gz", "-ubyte", ".idx", ".idx3")
MOST_BYTES = 2**30  # of a file of codes, unpacked
MOST_NAME = 255  # bytes of an image's name, in UTF-8
MOST_LETTERS = 60  # of a picture's name: 240 bytes at most
ARRAYS = {"codes", "names", "run"}
QUANTISED = ARRAYS | {"low", "high", "bits"}


@dataclass(frozen=True)
class Codes:
    """Images' names, the SHA-256 of the checkpoint that encoded them, and their codes, float32 (N, code)."""

    names: list[str]
    run: str
    codes: Tensor


def encode(
    run: Path, images: Sequence[Path], output: Path, bits: int | None = None, plugins: Sequence[str] = ()
) -> int:
    """Write the codes of some images into a file, complete or not at all; return how many there are.

    Args:
        run: a run directory (of `stage=all`: its autoencoder), or a .ckpt file.
        images: files and directories.
        output: a file that is not there yet.
        bits: of a number, 1 to 8; None: floats of 32 bits.
        plugins: packages of your own that a checkpoint may name classes of.
    """
    if output.exists():
        raise AeprobeError(f"{output} is there already: delete it, or give another file with -o")
    trained = load_stage(run, plugins=plugins)
    named = [*_images(images, trained.module.shape)]
    if not named:
        raise AeprobeError("no image given: expected one or more")
    names, pixels = zip(*named, strict=True)
    with torch.no_grad():
        parts = torch.from_numpy(np.stack(pixels)).split(PART)
        codes = torch.cat([trained.module.encode(as_pixels(part)) for part in parts])
    if not codes.isfinite().all():
        raise AeprobeError(f"{trained.path}: its codes of these images are not finite")
    try:
        write_atomically(output, packed(names, checksum(trained.path), codes, bits))
    except OSError as error:
        raise AeprobeError(f"{output} cannot be written ({error.strerror}): give another file with -o") from error
    return len(names)


def _images(paths: Sequence[Path], shape: tuple[int, ...]) -> Iterator[tuple[str, Image]]:
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
            yield from ((name, read_picture(file, shape)) for name, file in below([path]))
        except ValueError as error:
            raise AeprobeError(str(error)) from None


def decode(run: Path, file: Path, output: Path, plugins: Sequence[str] = ()) -> int:
    """Write the pictures of some codes into a directory, all or none; return how many there are.

    Args:
        run: a run directory (of `stage=all`: its autoencoder), or a .ckpt file.
        file: of codes, as `encode` writes it.
        output: a directory that is empty, or not there.
        plugins: packages of your own that a checkpoint may name classes of.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise AeprobeError(f"{output} is there already and no empty directory: give another with -o")
    codes = read(file)
    trained = load_stage(run, plugins=plugins)
    path, module = trained.path, trained.module
    if not isinstance(module, Autoencoder):
        raise AeprobeError(f"{path} is a classifier's, which has no decoder: give the run of its autoencoder")
    if checksum(path) != codes.run or codes.codes.shape[1] != module.code_size:
        raise AeprobeError(
            f"{file} was made by a checkpoint with SHA-256 {codes.run:.12}…, and {path} is another: give the run "
            "that encoded it"
        )
    try:
        with filled(output) as folder:
            for name, pixels in zip(file_names(codes.names), _decoded(module, codes.codes), strict=True):
                with (folder / name).open("xb") as opened:
                    Pillow.fromarray(pixels).save(opened, "PNG")
    except OSError as error:
        raise AeprobeError(
            f"{output} cannot be written ({error.strerror}): give another directory with -o"
        ) from error
    return len(codes.names)


@torch.no_grad()
def _decoded(module: Autoencoder, codes: Tensor) -> Iterator[NDArray[np.uint8]]:
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
        base = PurePosixPath(name.replace("\\", "/")).name
        base = base[: -len(end)] if (end := PurePosixPath(base).suffix).lower() in ENDS else base
        stem = re.sub(r"[^\w. -]", "_", base).lstrip("-. ")[:MOST_LETTERS].rstrip(". ") or "image"
        free, number = stem, 1
        while free.casefold() in taken:
            number += 1
            free = f"{stem}-{number}"
        taken.add(free.casefold())
        yield f"{free}.png"


def packed(names: Sequence[str], run: str, codes: Tensor, bits: int | None = None) -> bytes:
    """Return the content of a file of codes; `run` is the SHA-256 of the checkpoint.

    With bits, each number is quantised in its range over these codes, which the file holds too, and a code takes
    bits * code / 8 bytes, rounded up.
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
        with np.load(path, allow_pickle=False) as stored:  # noqa: TID251
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
    each = np.unpackbits(stored.numpy(), axis=1, count=size * bits).reshape(-1, size, bits)
    weights = (1 << np.arange(bits)[::-1]).astype(np.uint8)
    return quantizer.values(torch.from_numpy(each @ weights)).float()


@command
def encode_command(arguments: Sequence[str] | None = None) -> int:
    """Run `aeprobe encode`; return the exit status."""
    parser = run_parser("encode", "Writes the codes of images into a file.")
    images = "pictures, directories of pictures, and IDX files; resized"
    parser.add_argument("images", type=typed_path, nargs="+", metavar="IMAGES", help=images)
    file = "the file of codes, such as codes.npz"
    parser.add_argument("-o", "--output", type=typed_path, required=True, metavar="FILE", help=file)
    parser.add_argument(
        "--bits",
        type=int,
        choices=range(1, MOST_BITS + 1),
        help="quantise each number to so many bits (default: floats of 32)",
    )
    given = parser.parse_intermixed_args(arguments)
    count = encode(given.run, given.images, given.output, given.bits, given.plugins)
    print(f"{shortest(given.output.resolve())}: {count:,} codes")
    return 0


@command
def decode_command(arguments: Sequence[str] | None = None) -> int:
    """Run `aeprobe decode`; return the exit status."""
    parser = run_parser("decode", "Writes codes as pictures.")
    file, folder = "a file of codes, as aeprobe encode writes it", "an empty or a new directory"
    parser.add_argument("codes", type=typed_path, metavar="FILE", help=file)
    parser.add_argument("-o", "--output", type=typed_path, required=True, metavar="DIR", help=folder)
    given = parser.parse_args(arguments)
    count = decode(given.run, given.codes, given.output, given.plugins)
    print(f"{shortest(given.output.resolve())}: {count:,} pictures")
    return 0
