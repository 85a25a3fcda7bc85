"""A finished run as files that run without this project: ONNX, and torch.export's .pt2.

    aeprobe export RUN [-o DIR] [--format onnx,torch] [--input uint8]

Of `stage=all` both stages, each as NAME.onnx and NAME.pt2; docs/EXPORT.md has their inputs, outputs and metadata.
ONNX needs the packages of the extra `export`; a .pt2 needs torch alone, as new as the one that wrote it.

Before a file is written, it is run on 1,000 test images, in batches of one, seven and all others, and must give
what the run gives.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import metadata as installed
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from aeprobe.data.datamodule import as_pixels
from aeprobe.data.sampler import evenly_spaced
from aeprobe.errors import AeprobeError, printable
from aeprobe.files import checksum, filled, write_atomically
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.paths import shortest
from aeprobe_tools.output import command
from aeprobe_tools.use.trained import Trained, load_stage, note, require_new, run_parser, stages, writing

OPSET = 18  # of ONNX: the oldest that torch's exporter writes, which most programs read
FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # that write an ONNX file and run it
CHECKED = 1_000  # images that a file is tried on
LARGEST_DIFFERENCE = 1e-5  # float32 has 1e-7, and the order of its sums differs between programs

Metadata = dict[str, Any]
Predict = Callable[[Tensor], dict[str, Tensor]]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("export", __doc__)
    folder = "the directory of the files (default: RUN/export)"
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help=folder)
    both, types = ",".join(FORMATS), "the type of the images (default: uint8)"
    parser.add_argument("--format", choices=(*FORMATS, both), default=both, help="(default: both)")
    parser.add_argument("--input", choices=("uint8", "float"), default="uint8", help=types)
    given = parser.parse_args(arguments)
    formats = given.format.split(",")
    missing = [name for name in PACKAGES if "onnx" in formats and find_spec(name) is None]
    if missing:
        raise AeprobeError(
            f"--format onnx: not installed: {', '.join(missing)}: pip install 'aeprobe[export]', or --format torch"
        )
    if given.output is None and given.run.is_file():
        raise AeprobeError(f"{given.run} is a file: give a directory for what is exported with -o")
    directory = given.output or given.run / "export"
    loaded = [load_stage(given.run, stage, given.plugins) for stage in stages(given.run)]
    for file in (directory / f"{one.module.stage}{FORMATS[form]}" for one in loaded for form in formats):
        require_new(file)
    said = []
    with writing(directory), filled(directory) as beside:
        for trained in loaded:
            images, metadata = _tried_on(trained, given.input), _metadata(trained, given.input)
            try:
                for form, content, apart in exported(trained.module, images, formats, metadata):
                    name = f"{trained.module.stage}{FORMATS[form]}"
                    write_atomically(beside / name, content)
                    said.append(
                        f"{shortest((directory / name).resolve())}: {len(content) / 1e6:.2f} MB, differs from the "
                        f"run by at most {apart:.1e} on {len(images):,} images"
                    )
            except AeprobeError as error:
                raise AeprobeError(f"{trained.path}: {error}; nothing was written") from error
    print(*said, sep="\n")
    return 0


def _metadata(trained: Trained, images: str) -> Metadata:
    """Describe a file by plain values, without any path; a .ckpt file alone does not know all of them."""
    path, module, metrics = trained.path, trained.module, trained.metrics
    part = path.resolve().parent.parent  # DIR/checkpoints/best.ckpt, or DIR/STAGE/checkpoints/best.ckpt
    run = (part.parent if part.name == module.stage else part) if metrics else path
    count = module.classes if isinstance(module, Classifier) else len(trained.classes.names)
    size, scale = ", ".join(map(str, module.shape)), "0 to 255" if images == "uint8" else "in [0, 1]"
    described = {
        "run": printable(run.name),
        "stage": module.stage,
        "seed": metrics.get("seed"),
        "status": metrics.get("status"),
        "checkpoint": checksum(path),
        "metrics": {key: value for key, value in metrics.get("final", {}).items() if key.startswith("test/")},
        "data": {key: trained.data.get(key) for key in ("name", "val_size", "split_seed")},
        "class_names": [trained.classes.short(label) for label in range(count)],
        "input": f"images, {images} (N, {size}), {scale}",
        "license": installed("aeprobe")["License-Expression"],
        "aeprobe": installed("aeprobe")["Version"],
        "torch": str(torch.__version__),
    }
    return {key: value for key, value in described.items() if value is not None}


def _tried_on(trained: Trained, kind: str) -> Tensor:
    """Return 1,000 test images, evenly spaced, or random ones if they are gone, and say so."""
    try:
        images = trained.images("test").images
        images = images[evenly_spaced(len(images), CHECKED)]
    except AeprobeError as error:
        note(f"{trained.path} is checked on random images, not on its test images: {error}")
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (CHECKED, *trained.module.shape), generator=generator, dtype=torch.uint8)
    return as_pixels(images) if kind == "float" else images


def exported(
    module: Autoencoder | Classifier, images: Tensor, formats: Sequence[str], metadata: Metadata
) -> Iterator[tuple[str, bytes, float]]:
    """Yield each format, its file's content, and how far its outputs of the images are from the module's."""
    expected, example = module.predict(images), torch.zeros(2, *module.shape, dtype=images.dtype)
    with _as_one_line("torch.export cannot follow its network"), torch.no_grad():
        program = torch.export.export(
            _ImagesToOutputs(module), (example,), dynamic_shapes={"images": {0: Dim("batch")}}, strict=False
        )
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)  # lines of source, with their places on this machine
    for form in formats:
        with _as_one_line(f"--format {form} cannot hold its network"):
            content, predict = (_onnx if form == "onnx" else _torch)(program, [*expected], metadata)
        outputs = [predict(part) for part in (images[:1], images[1:8], images[8:]) if len(part)]
        joined = {name: torch.cat([part[name] for part in outputs]) for name in outputs[0]}
        yield form, content, difference(joined, expected)


def difference(outputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Return the greatest difference between outputs, in an output with numbers above 1 relative to the largest.

    More than 1e-5, another label, or other names, types and shapes are an AeprobeError.
    """
    forms = [{name: (one.dtype, one.shape) for name, one in each.items()} for each in (outputs, expected)]
    if forms[0] != forms[1]:
        raise AeprobeError(f"the exported file gives other outputs ({', '.join(outputs)}) than the run")
    greatest = 0.0
    for name, values in expected.items():
        scale = max(1.0, values.abs().max().item()) if values.is_floating_point() else 1
        apart = (outputs[name].double() - values.double()).abs().max().item() / scale
        if not apart <= LARGEST_DIFFERENCE:  # nor not a number
            raise AeprobeError(f"{name}: the exported file differs from the run by {apart:.1e}")
        greatest = max(greatest, apart)
    return greatest


class _ImagesToOutputs(nn.Module):
    """A stage's `predict_step` as a function of images alone, without gradients."""

    def __init__(self, module: Autoencoder | Classifier) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.module.predict_step((images, images))
        return outputs


def _torch(program: ExportedProgram, _: Sequence[str], metadata: Metadata) -> tuple[bytes, Predict]:
    """Return a .pt2 file, and what it computes once it is read."""
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"metadata.json": json.dumps(metadata)})
    content = file.getvalue()
    return content, torch.no_grad()(torch.export.load(io.BytesIO(content)).module())


def _onnx(program: ExportedProgram, outputs: Sequence[str], metadata: Metadata) -> tuple[bytes, Predict]:
    """Return an ONNX file, and what onnxruntime computes of it."""
    import onnxruntime

    made: Any = torch.onnx.export(
        program,
        opset_version=OPSET,
        input_names=["images"],
        output_names=outputs,
        dynamic_shapes={"images": {0: "batch"}},
        dynamo=True,
        verbose=False,
    )
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    made.model.metadata_props.update(texts)
    content = bytes(made.model_proto.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = torch.get_num_threads()  # its own choice complains where cores are closed
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def predict(images: Tensor) -> dict[str, Tensor]:
        found = session.run(outputs, {"images": images.numpy()})
        return {name: torch.from_numpy(values) for name, values in zip(outputs, found, strict=True)}

    return content, predict


@contextmanager
def _as_one_line(what: str) -> Iterator[None]:
    """Silence torch's exporters, and make any failure one line."""
    silent = io.StringIO()
    logging.disable()
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(silent), redirect_stderr(silent):
            yield
    except Exception as error:  # whatever a person's own network ends in
        while isinstance(error.__cause__, Exception):
            error = error.__cause__  # torch wraps the reason in advice of many lines
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise AeprobeError(f"{what} ({why:.200})") from error
    finally:
        logging.disable(logging.NOTSET)
