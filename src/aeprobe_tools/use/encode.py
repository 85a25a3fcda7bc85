"""Images to codes, by the encoder of a finished run.

    aeprobe encode RUN IMAGES … -o codes.npz [--bits 8]

IMAGES are pictures (PNG, JPEG, WebP, BMP, GIF, TIFF, PPM), directories, of which all pictures below are taken in
the order of their names, and IDX files of images. A picture of another size is resized as little as makes it
cover the run's size, its middle is cut out, and it becomes grey or coloured as the run's images are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aeprobe.data.datamodule import PART
from aeprobe.data.idx_files import read_idx
from aeprobe.data.pictures import below
from aeprobe.data.pixels import as_pixels
from aeprobe.errors import AeprobeError
from aeprobe.files import checksum, write_atomically
from aeprobe.paths import home, shortest
from aeprobe_tools.evaluations.quantizer import MOST_BITS
from aeprobe_tools.output import command
from aeprobe_tools.use import codes_file
from aeprobe_tools.use.module import loaded, run_parser
from aeprobe_tools.use.picture_files import Image, batched, picture

IDX = (".gz", "-ubyte", ".idx", ".idx3")


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

    Raises:
        AeprobeError: the file is there, there is no such run, or one of the images cannot be read.
    """
    if output.exists():
        raise AeprobeError(f"{output} is there already: delete it, or give another file with -o")
    path, module = loaded(run, plugins)
    names: list[str] = []
    parts: list[Tensor] = []
    for part in batched(_images(images, module.shape), PART):
        names += [name for name, _ in part]
        with torch.no_grad():
            parts.append(module.encode(as_pixels(torch.from_numpy(np.stack([image for _, image in part])))))
    if not parts:
        raise AeprobeError("no image given: expected one or more")
    codes = torch.cat(parts)
    if not codes.isfinite().all():
        raise AeprobeError(f"{path}: its codes of these images are not finite")
    content = codes_file.packed(names, checksum(path), codes, bits)
    if len(content) > codes_file.MOST_BYTES:
        raise AeprobeError(f"more than {codes_file.MOST_BYTES:,} bytes of codes: encode fewer images at a time")
    try:
        write_atomically(output, content)
    except OSError as error:
        raise AeprobeError(f"{output} cannot be written ({error.strerror}): give another file with -o") from error
    return len(names)


def _images(paths: Sequence[Path], shape: tuple[int, ...]) -> Iterator[tuple[str, Image]]:
    """Yield each image with its name, uint8 of the shape."""
    for path in paths:
        if path.is_file() and path.name.lower().endswith(IDX):
            yield from _of_idx(path, shape)
            continue
        try:
            yield from ((name, picture(file, shape)) for name, file in below([path]))
        except ValueError as error:
            raise AeprobeError(str(error)) from None


def _of_idx(path: Path, shape: tuple[int, ...]) -> Iterator[tuple[str, Image]]:
    images = read_idx(path, dimensions=3)[0].unsqueeze(1).numpy()
    if images.shape[1:] != shape:
        raise AeprobeError(f"{path} has images of {images.shape[1:]}, and the run is of {shape}")
    name = path.name.removesuffix(".gz")
    yield from ((f"{name}-{number:05}", image) for number, image in enumerate(images))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("encode", "Writes the codes of images into a file.")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGES", help="pictures, directories of pictures, and IDX files; resized"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the file of codes, such as codes.npz"
    )
    parser.add_argument(
        "--bits",
        type=int,
        choices=range(1, MOST_BITS + 1),
        help="quantise each number to so many bits (default: floats of 32)",
    )
    given = parser.parse_intermixed_args(arguments)
    output = Path(home(given.output))
    images = [Path(home(path)) for path in given.images]
    count = encode(Path(home(given.run)), images, output, given.bits, given.plugins)
    print(f"{shortest(output.resolve())}: {count:,} codes")
    return 0
