"""A finished run as files that run without this project: ONNX, and torch.export's .pt2.

    aeprobe export RUN [-o DIR] [--format onnx,torch] [--input uint8]

Of `stage=all` both stages, each as NAME.onnx and NAME.pt2:

    autoencoder   images -> code, float32 (N, code); reconstruction, float32 (N, channels, height, width) in [0, 1]
    classifier    images -> code; probabilities, float32 (N, classes) in [0, 1]; label, int64 (N,)

The one input is `images`, (N, channels, height, width) of any N, uint8 as image files have them, or with
`--input float` float32 in [0, 1]: an input of a graph has one type. Mean and std of the run are inside. ONNX is of
opset 18 and needs the packages of the extra `export`; a .pt2 needs torch alone, of the version that wrote it or a
newer one.

Both hold metadata, in ONNX as text by key (`metadata_props`), in a .pt2 as one extra file (`metadata.json`): run,
stage, seed, status, checkpoint (SHA-256 of its file), metrics (of the test), data, class_names, input, license
(of this project), aeprobe and torch (their versions).

Before a file is written, it is run on 1,000 test images, and must give what the run gives.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import metadata as installed
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from aeprobe.data.classes import Classes
from aeprobe.data.pixels import as_pixels
from aeprobe.data.sampler import evenly_spaced
from aeprobe.errors import AeprobeError, printable
from aeprobe.files import checksum, filled, write_atomically
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.checkpoints import Checkpoint
from aeprobe.models.classifier import Classifier
from aeprobe.paths import home, shortest
from aeprobe.runs.metrics import read_metrics
from aeprobe_tools.output import command
from aeprobe_tools.use import graphs
from aeprobe_tools.use.graphs import Metadata
from aeprobe_tools.use.images import images_of
from aeprobe_tools.use.module import note, run_parser, stages, usable_checkpoint

CHECKED = 1_000  # images that a file is tried on


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of it.
        size: in bytes.
        difference: the greatest between its outputs and the run's, as `graphs.difference` measures it.
        images: how many it was tried on.
    """

    path: Path
    size: int
    difference: float
    images: int


def export(
    run: Path,
    output: Path | None = None,
    formats: Sequence[str] = tuple(graphs.FORMATS),
    images: str = "uint8",
    plugins: Sequence[str] = (),
) -> list[Exported]:
    """Write a run's modules into a directory, all files or none, and return what was written.

    Args:
        run: a run directory (of `stage=all`: both stages), or a .ckpt file.
        output: a directory; `export` in the run's by default. No file in it is replaced.
        formats: some of `graphs.FORMATS`.
        images: the type of the input, one of `graphs.INPUTS`.
        plugins: packages of your own that a checkpoint may name classes of.

    Raises:
        AeprobeError: a package is missing, there is no such run, a file is there already, a network cannot be
            exported, or what a file gives differs from what the run gives.
    """
    _require_packages(formats)
    if output is None and run.is_file():
        raise AeprobeError(f"{run} is a file: give a directory for what is exported with -o")
    directory = output or run / "export"
    found = []
    for path in [usable_checkpoint(run, stage) for stage in stages(run)]:
        checkpoint = checkpoints.read(path)
        found.append((path, checkpoint, checkpoints.restore(checkpoint, path, plugins)))
    targets = {(module, form): f"{module.stage}{graphs.FORMATS[form]}" for *_, module in found for form in formats}
    if there := [directory / name for name in targets.values() if (directory / name).exists()]:
        raise AeprobeError(f"{there[0]} exists: give another directory with -o")
    files: dict[str, bytes] = {}
    done = []
    for path, checkpoint, module in found:
        tried = _tried_on(checkpoint, path, module, plugins)
        if graphs.INPUTS[images].is_floating_point:
            tried = as_pixels(tried)
        try:
            made = graphs.made(module, tried, formats, _metadata(path, checkpoint, module, images))
        except AeprobeError as error:
            raise AeprobeError(f"{path}: {error}; nothing was written") from error
        for form, (content, difference) in made.items():
            name = targets[module, form]
            files[name] = content
            done.append(Exported(directory / name, len(content), difference, len(tried)))
    try:
        with filled(directory) as folder:
            for name, content in files.items():
                write_atomically(folder / name, content)
    except OSError as error:
        raise AeprobeError(f"{directory} cannot be written ({error.strerror}): give another with -o") from error
    return done


def _require_packages(formats: Sequence[str]) -> None:
    missing = [name for name in graphs.PACKAGES if "onnx" in formats and find_spec(name) is None]
    if missing:
        raise AeprobeError(
            f"--format onnx: not installed: {', '.join(missing)}: pip install 'aeprobe[export]', or --format torch"
        )


def _metadata(path: Path, checkpoint: Checkpoint, module: Autoencoder | Classifier, images: str) -> Metadata:
    """Describe a file by plain values, without any path; a .ckpt file alone does not know all of them."""
    part = path.resolve().parent.parent if path.parent.name == "checkpoints" else None
    metrics = read_metrics(part, missing_ok=True) if part else {}
    owner = part.parent if part and part.name == module.stage else part
    data = checkpoint["datamodule_hyper_parameters"]
    names = Classes(data["noun"], data.get("class_names", ()))
    count = module.classes if isinstance(module, Classifier) else len(names.names)
    size, scale = ", ".join(map(str, module.shape)), "0 to 255" if images == "uint8" else "in [0, 1]"
    described = {
        "run": printable((owner or path).name),
        "stage": module.stage,
        "seed": metrics.get("seed"),
        "status": metrics.get("status"),
        "checkpoint": checksum(path),
        "metrics": {key: value for key, value in metrics.get("final", {}).items() if key.startswith("test/")},
        "data": {key: data.get(key) for key in ("name", "val_size", "split_seed")},
        "class_names": [names.short(label) for label in range(count)],
        "input": f"images, {images} (N, {size}), {scale}",
        "license": installed("aeprobe")["License-Expression"],
        "aeprobe": installed("aeprobe")["Version"],
        "torch": str(torch.__version__),
    }
    return {key: value for key, value in described.items() if value is not None}


def _tried_on(
    checkpoint: Checkpoint, path: Path, module: Autoencoder | Classifier, plugins: Sequence[str]
) -> Tensor:
    """Return 1,000 test images, evenly spaced, uint8, or as many random ones if they are gone, and say so."""
    try:
        images = images_of(checkpoint, path, "test", plugins).images
        return images[evenly_spaced(len(images), CHECKED)]
    except AeprobeError as error:
        why = str(error)
    note(f"{path} is checked on random images, not on its test images: {why}")
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (CHECKED, *module.shape), generator=generator, dtype=torch.uint8)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("export", __doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", metavar="DIR", help="the directory of the files (default: RUN/export)")
    both = ",".join(graphs.FORMATS)
    parser.add_argument("--format", choices=(*graphs.FORMATS, both), default=both, help="(default: both)")
    parser.add_argument(
        "--input", choices=graphs.INPUTS, default="uint8", help="the type of the images (default: uint8)"
    )
    given = parser.parse_args(arguments)
    output = Path(home(given.output)) if given.output else None
    done = export(Path(home(given.run)), output, given.format.split(","), given.input, given.plugins)
    for one in done:
        print(
            f"{shortest(one.path.resolve())}: {one.size / 1e6:.2f} MB, "
            f"differs from the run by at most {one.difference:.1e} on {one.images:,} images"
        )
    return 0
