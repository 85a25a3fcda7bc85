"""Codes to pictures, by the decoder of the run that made them.

    aeprobe decode RUN codes.npz -o DIR

DIR, which must not be there or be empty, gets a PNG for each code, called as its image was.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from aeprobe.data.datamodule import PART
from aeprobe.data.pictures import ENDS
from aeprobe.errors import AeprobeError
from aeprobe.files import checksum, filled
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.paths import home, shortest
from aeprobe_tools.output import command
from aeprobe_tools.use import codes_file
from aeprobe_tools.use.module import loaded, run_parser

MOST_LETTERS = 60  # of a picture's name: 240 bytes at most


def decode(run: Path, file: Path, output: Path, plugins: Sequence[str] = ()) -> int:
    """Write the pictures of some codes into a directory, all or none; return how many there are.

    Args:
        run: a run directory (of `stage=all`: its autoencoder), or a .ckpt file.
        file: of codes, as `encode` writes it.
        output: a directory that is empty, or not there.
        plugins: packages of your own that a checkpoint may name classes of.

    Raises:
        AeprobeError: the directory holds something, the file is none of codes or of another run, or the run has no
            decoder.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise AeprobeError(f"{output} is there already and no empty directory: give another with -o")
    codes = codes_file.read(file)
    path, module = loaded(run, plugins)
    if not isinstance(module, Autoencoder):
        raise AeprobeError(f"{path} is a classifier's, which has no decoder: give the run of its autoencoder")
    if (size := codes.codes.shape[1]) != module.code_size:
        raise AeprobeError(f"{file} has codes of {size} numbers, and {path} makes some of {module.code_size}")
    if checksum(path) != codes.run:
        raise AeprobeError(
            f"{file} was made by a checkpoint with SHA-256 {codes.run:.12}…, and {path} is another: give the run "
            "that encoded it"
        )
    if module.shape[0] not in (1, 3):
        raise AeprobeError(f"{path} is of images with {module.shape[0]} channels, which no PNG here has")
    try:
        _write(output, zip(_file_names(codes.names), _images(module, codes.codes), strict=True))
    except OSError as error:
        raise AeprobeError(
            f"{output} cannot be written ({error.strerror}): give another directory with -o"
        ) from error
    return len(codes.names)


@torch.no_grad()
def _images(module: Autoencoder, codes: torch.Tensor) -> Iterator[NDArray[np.uint8]]:
    """Yield reconstructions, each uint8 (height, width) or (height, width, 3)."""
    for part in codes.split(PART):
        pixels = module.decoder(part).mul(255).round().clamp(0, 255).byte()
        yield from (pixels[:, 0] if module.shape[0] == 1 else pixels.movedim(1, 3)).numpy()


def _write(output: Path, pictures: Iterable[tuple[str, NDArray[np.uint8]]]) -> None:
    """Write the pictures into a temporary folder, and move them when all are complete."""
    with filled(output) as whole:
        for name, pixels in pictures:
            with (whole / name).open("xb") as file:
                Image.fromarray(pixels).save(file, "PNG")


def _file_names(names: Iterable[str]) -> Iterator[str]:
    r"""Yield a file name for each image: its own without folders, with a number if another has it.

    >>> [*_file_names(["a/x.jpg", "x.png", "../../etc/passwd", "C:\\.hidden", "X", "", "v1.5"])]
    ['x.png', 'x-2.png', 'passwd.png', 'hidden.png', 'X-3.png', 'image.png', 'v1.5.png']
    """
    taken: set[str] = set()
    last: dict[str, int] = {}
    for name in names:
        own = PurePosixPath(name.replace("\\", "/")).name
        own = own[: -len(end)] if (end := PurePosixPath(own).suffix).lower() in ENDS else own
        stem = re.sub(r"[^\w. -]", "_", own).lstrip("-. ")[:MOST_LETTERS].rstrip(". ") or "image"
        key, number = stem.casefold(), last.get(stem.casefold(), 1)
        found = key
        while found in taken:
            number += 1
            found = f"{key}-{number}"
        taken.add(found)
        last[key] = number
        yield f"{stem}{found.removeprefix(key)}.png"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("decode", "Writes codes as pictures.")
    parser.add_argument("codes", metavar="FILE", help="a file of codes, as aeprobe encode writes it")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="an empty or a new directory")
    given = parser.parse_args(arguments)
    output = Path(home(given.output))
    count = decode(Path(home(given.run)), Path(home(given.codes)), output, given.plugins)
    print(f"{shortest(output.resolve())}: {count:,} pictures")
    return 0
