"""A stage's module as a graph of tensor operations, in the two kinds of file that other programs run.

ONNX, which needs the packages of the extra `export` to be written and run, and torch.export's .pt2, which needs
torch alone.
"""

import io
import json
import logging
import warnings
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
    """Return the content of a file for each format, and its greatest difference from the module.

    Args:
        module: in eval mode, on the CPU.
        images: that each is tried on: uint8, or float32 in [0, 1].
        formats: some of `FORMATS`.
        metadata: plain values, which go into the file.
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
        found[form] = content, difference(predict(images), expected)
    return found


def difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Return the greatest difference between outputs, in an output with numbers above 1 relative to the largest.

    More than 1e-5, another label, or other names, types and shapes are an AeprobeError.
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
    """Return the graph of a module's `predict_step`, for any number of images of a type.

    The lines of source that torch notes for every operation are removed: the file names no place on this machine.
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
    """Return the content of a .pt2 file."""
    file = io.BytesIO()
    with _as_one_line("torch.export cannot write its network"):
        torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})
    return file.getvalue()


def as_onnx(program: ExportedProgram, outputs: Sequence[str], metadata: Metadata) -> bytes:
    """Return the content of an ONNX file; metadata that are no text become JSON."""
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
    """Load the content of a .pt2 file as a function of images."""
    with _as_one_line("torch.export cannot read what it wrote"):
        graph = torch.export.load(io.BytesIO(content)).module()
    return torch.no_grad()(graph)


def run_onnx(content: bytes) -> Predict:
    """Load the content of an ONNX file as a function of images, computed by onnxruntime on the CPU."""
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


@contextmanager
def _as_one_line(what: str) -> Iterator[None]:
    """Silence torch's exporters, and make any failure one line."""
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
