"""A stage's module as a graph of tensor operations, in the two kinds of file that other programs run.

ONNX, which needs the packages of the extra `export` to be written and run, and torch.export's .pt2, which needs
torch alone.
"""

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from aeprobe.errors import AeprobeError
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier

OPSET = 18  # of ONNX: the oldest that torch's exporter writes, which most programs read
FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # that write an ONNX file and run it
INPUTS = {"uint8": torch.uint8, "float": torch.float32}
METADATA = "metadata.json"  # the file of it in a .pt2
LARGEST_DIFFERENCE = 1e-5  # float32 has 1e-7, and the order of its sums differs between programs
MOST_METADATA = 2**20  # bytes that are read of it

Metadata = dict[str, Any]
Predict = Callable[[Tensor], dict[str, Tensor]]


class ImagesToOutputs(nn.Module):
    """A stage's `predict_step` as a function of images alone, without gradients.

    Args:
        module: in eval mode; its weights are frozen.
    """

    def __init__(self, module: Autoencoder | Classifier) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs by name, each with a row for every image, (N, channels, height, width)."""
        outputs: dict[str, Tensor] = self.module.predict_step((images, images))
        return outputs


def made(
    module: Autoencoder | Classifier, images: Tensor, formats: Sequence[str], metadata: Metadata
) -> dict[str, tuple[bytes, float]]:
    """The content of a file for each format, and its greatest difference from the module.

    Args:
        module: in eval mode, on the CPU.
        images: that each is tried on, at once, one alone and seven of them: uint8, or float32 in [0, 1].
        formats: some of `FORMATS`.
        metadata: what a file says of itself, plain values.

    Raises:
        AeprobeError: the module cannot be exported, or what a file gives differs from what the module gives.
    """
    expected = module.predict(images)
    program = captured(module, images.dtype)
    found = {}
    for form in formats:
        if form == "onnx":
            content = as_onnx(program, [*expected], metadata)
            predict = run_onnx(content)
        else:
            content = as_torch(program, metadata)
            predict = run_torch(content)
        apart = [
            difference(predict(images[:size]), {name: values[:size] for name, values in expected.items()})
            for size in (len(images), 1, 7)
        ]
        found[form] = content, max(apart)
    return found


def difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The greatest difference between outputs: of an output with numbers above 1, relative to the largest.

    Raises:
        AeprobeError: it is above 1e-5, a label differs, or they are not of the same names, types and shapes.
    """
    if {k: (v.dtype, v.shape) for k, v in found.items()} != {k: (v.dtype, v.shape) for k, v in expected.items()}:
        raise AeprobeError(f"the exported file gives other outputs ({', '.join(found)}) than the run")
    greatest = 0.0
    for name, values in expected.items():
        apart = (found[name].double() - values.double()).abs().max().item()
        if values.is_floating_point():
            apart /= max(1.0, values.abs().max().item())
        if not apart <= LARGEST_DIFFERENCE:  # nor not a number
            raise AeprobeError(f"{name}: the exported file differs from the run by {apart:.1e}")
        greatest = max(greatest, apart)
    return greatest


def captured(module: Autoencoder | Classifier, dtype: torch.dtype) -> ExportedProgram:
    """The graph of a module's `predict_step`, for any number of images.

    It names no file of this machine: torch notes for every operation the line of source that it comes from.

    Args:
        module: in eval mode, on the CPU.
        dtype: of the images: uint8, or float32 in [0, 1].

    Raises:
        AeprobeError: torch.export cannot follow its network.
    """
    example = torch.zeros(2, *module.shape, dtype=dtype)
    with _as_one_line("torch.export cannot follow its network"), torch.no_grad():
        program = torch.export.export(
            ImagesToOutputs(module), (example,), dynamic_shapes={"images": {0: Dim("batch")}}, strict=False
        )
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def as_torch(program: ExportedProgram, metadata: Metadata) -> bytes:
    """The content of a .pt2 file."""
    file = io.BytesIO()
    with _as_one_line("torch.export cannot write its network"):
        torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})
    return file.getvalue()


def as_onnx(program: ExportedProgram, outputs: Sequence[str], metadata: Metadata) -> bytes:
    """The content of an ONNX file.

    Args:
        program: as `captured` returned it.
        outputs: their names, in the order of the module's.
        metadata: of which values that are no text become JSON.

    Raises:
        AeprobeError: the network has an operation that ONNX has not, or more than 2 GB of weights.
    """
    with _as_one_line("ONNX has not all that its network does"):
        made = torch.onnx.export(
            program,
            opset_version=OPSET,
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes={"images": {0: "batch"}},
            dynamo=True,
            verbose=False,
        )
        assert made is not None
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
        made.model.metadata_props.update(texts)
        return bytes(made.model_proto.SerializeToString())


def run_torch(content: bytes) -> Predict:
    """What the content of a .pt2 file computes."""
    with _as_one_line("torch.export cannot read what it wrote"):
        graph = torch.export.load(io.BytesIO(content)).module()
    return torch.no_grad()(graph)


def run_onnx(content: bytes) -> Predict:
    """What the content of an ONNX file computes by onnxruntime, on the CPU."""
    with _as_one_line("onnxruntime cannot run it"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        options.intra_op_num_threads = torch.get_num_threads()  # its own choice complains where cores are closed
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def predict(images: Tensor) -> dict[str, Tensor]:
        found = session.run(names, {"images": images.numpy()})
        return {name: torch.from_numpy(values) for name, values in zip(names, found, strict=True)}

    return predict


def metadata_of(content: bytes, form: str) -> Mapping[str, Any]:
    """The metadata in a file of a format, of which nothing is run; empty where there are none.

    The values are as they are in the file: of an ONNX file text, of a .pt2 what JSON has.
    """
    try:
        if form == "onnx":
            import onnx

            return {one.key: one.value for one in onnx.load_model_from_string(content).metadata_props}
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (entry,) = (one for one in archive.infolist() if one.filename.endswith(f"/extra/{METADATA}"))
            with archive.open(entry) as file:
                found = json.loads(file.read(MOST_METADATA))
        return found if isinstance(found, dict) else {}
    except Exception:  # whatever a file of something else ends in
        return {}


@contextmanager
def _as_one_line(what: str) -> Iterator[None]:
    """Around what torch's exporters do: nothing is printed, warned or logged, and any failure is one line."""
    silent = io.StringIO()
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(), redirect_stdout(silent), redirect_stderr(silent):
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise AeprobeError(f"its packages do not fit ({error}): pip install -U 'aeprobe[export]'") from error
    except Exception as error:  # whatever a person's own network ends in
        while error.__cause__ is not None and isinstance(error.__cause__, Exception):
            error = error.__cause__  # torch wraps the reason in advice of many lines
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise AeprobeError(f"{what} ({why:.200})") from error
    finally:
        logging.disable(disabled)
