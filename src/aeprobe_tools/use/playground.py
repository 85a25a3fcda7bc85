"""A trained run as one page to play with, in any browser and without a connection.

    aeprobe playground RUN [-o FILE]

On it one draws a digit, moves the numbers of its code, and sees what the networks make of that. The networks are
in the file, as 16-bit floats; what they compute is computed by the page.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aeprobe.after import After
from aeprobe.config.schema import Config, Stage, trusted_in
from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.sampler import shuffled_by_class
from aeprobe.errors import AeprobeError
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.networks import MLP, GaussianNoise, Normalize, Standardize
from aeprobe.paths import shortest
from aeprobe.runs.metrics import Metrics
from aeprobe_tools.output import command
from aeprobe_tools.pages import PLAYGROUND, template, write_page
from aeprobe_tools.report import overview
from aeprobe_tools.results.stage_run import Runs, StageRun, gather
from aeprobe_tools.use.trained import load_stage, run_parser
from aeprobe_tools.wording import number, percent

MOST_BYTES = 4_000_000  # of the page
MOST_IMAGES = 100
MOST_IMAGE_BYTES = 400_000  # of all of them
MOST_CODES = 2_000  # training images whose codes give the ranges
SCRIPTS = "network pictures prepare strokes drawing page input sections"  # of the page, in this order
Plain = dict[str, Any]
SILENT = (nn.Identity, nn.Dropout, GaussianNoise, nn.Flatten, nn.Unflatten)  # once a network is trained
ACTIVATIONS: dict[type[nn.Module], tuple[str, ...]] = {  # with their settings
    **dict.fromkeys((nn.ReLU, nn.SELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid), ()),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.GELU: ("approximate",),
}
OTHERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d, Normalize, Standardize)
LARGEST_WEIGHT = torch.finfo(torch.float16).max


class Playground(After):
    """The playground of a run of both stages."""

    command = "playground"

    def __call__(self, directory: Path, config: Config, metrics: Mapping[str, Metrics]) -> Path | None:
        """Write the page; as `After`."""
        return write_playground(directory, plugins=trusted_in(config)) if config.stage == Stage.all else None


def write_playground(run: Path, output: Path | None = None, plugins: Sequence[str] = ()) -> Path:
    """Write the page of a run of `stage=all`, or of an autoencoder's, which names no digit; return its path."""
    if run.is_file():
        raise AeprobeError(f"{run} is a file: a playground is of a run directory")
    file = output or run / PLAYGROUND
    runs = gather([run])
    if not runs["autoencoder"]:
        stage = next(stage for stage, of_stage in runs.items() if of_stage)
        raise AeprobeError(f"{run} is a run of stage={stage}, which decodes nothing: give one of stage=all")
    page = _page(runs, str(shortest(run.resolve())), plugins)
    if (size := len(page.encode())) > MOST_BYTES:
        raise AeprobeError(
            f"{run}: its networks make a page of {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}: "
            "a playground is of smaller ones"
        )
    write_page(file, page)
    return file


def _page(runs: Runs, name: str, plugins: Sequence[str]) -> str:
    """Return the page as text; `name` tells it from others in a browser's tabs."""
    (run,) = runs["autoencoder"]
    trained = load_stage(run.path, "autoencoder", plugins)
    module = trained.module
    assert isinstance(module, Autoencoder)
    classifier, without = _classifier(runs, module, plugins)
    test, train = trained.images("test"), trained.images("train").images
    low, high = module.predict(train[:: -(-len(train) // MOST_CODES)])["code"].aminmax(dim=0)
    count = classifier.classes if classifier else 1 + int(test.labels.max())
    matrix = runs["classifier"][0].metrics.get("confusion_matrix") if classifier else None
    content: dict[str, Any] = {
        "shape": [*module.shape],
        **_networks(module, classifier),
        "low": packed(low),
        "high": packed(high),
        **pictures(test, int(run.metrics["seed"])),
        "names": [run.class_name(label) for label in range(count)],
        "digits": trained.data["handwritten"],
        "answers": answers(matrix) if matrix else None,
    }
    folder = files("aeprobe_tools") / "assets" / "playground"
    style = folder.joinpath("playground.css").read_text(encoding="utf-8")
    script = "\n".join(folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS.split())
    return template("playground/playground.html.j2").render(
        name=name,
        words=_words(runs, module, classifier, without),
        warnings=overview.unfinished(runs),
        commands=overview.commands(runs),
        content=content,
        script=script,
        style=style,
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}",
    )


def _hash(text: str) -> str:
    """Return the hash of the one script or style for the page's Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _classifier(runs: Runs, autoencoder: Autoencoder, plugins: Sequence[str]) -> tuple[Classifier | None, str]:
    """Return the run's classifier if it reads the autoencoder's codes, or None and a sentence that says why."""
    if not any(run.path.glob("checkpoints/*.ckpt") for run in runs["classifier"]):
        return None, "The run has no classifier."
    module = load_stage(runs["classifier"][0].path, "classifier", plugins).module
    assert isinstance(module, Classifier)
    ours, theirs = autoencoder.encoder.state_dict(), module.encoder.state_dict()
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[key], theirs[key]) for key in ours):
        return None, "Its classifier has an encoder of its own, and does not read the autoencoder's numbers."
    return module, ""


def _networks(autoencoder: Autoencoder, classifier: Classifier | None) -> dict[str, Any]:
    """Return the networks as plain layers: "encoder", with its preprocessing, "decoder", and "head" or None."""
    shape, code = autoencoder.shape, (autoencoder.code_size,)
    if shape[0] not in (1, 3):
        raise AeprobeError(f"the run is of images with {shape[0]} channels: the playground shows one or three")
    before = plain(autoencoder.normalize, shape, "normalize") if autoencoder.normalize.changes else []
    return {
        "encoder": before + plain(autoencoder.encoder, shape, "encoder"),
        "decoder": plain(autoencoder.decoder, code, "decoder"),
        "head": None if classifier is None else plain(classifier.head, code, "head"),
    }


def pictures(test: ImageDataset, seed: int) -> dict[str, Any]:
    """Choose test images, uint8, with labels, sorted by these: as many of each class as there can be."""
    most = max(1, min(MOST_IMAGES, MOST_IMAGE_BYTES // test.images[0].numel()))
    by_class, place = shuffled_by_class(test.labels, seed)
    chosen = by_class[place.argsort(stable=True)[:most].sort().values]
    return {"images": packed(test.images[chosen]), "labels": test.labels[chosen].tolist()}


def answers(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Count for each predicted class of a confusion matrix its images, and how many of them were of another class.

    With it, the class that these were most often, and how many of that one, 0 where several are equally frequent.

    >>> answers([[8, 1, 1], [1, 9, 2], [0, 1, 7]])
    [[9, 1, 1, 1], [11, 2, 0, 0], [10, 3, 1, 2]]
    """
    counts = []
    for answer, column in enumerate(zip(*matrix, strict=True)):
        wrong = [0 if true == answer else count for true, count in enumerate(column)]
        most = max(wrong)
        counts.append([sum(column), sum(wrong), wrong.index(most), most if wrong.count(most) == 1 else 0])
    return counts


def _words(
    runs: Runs, autoencoder: Autoencoder, classifier: Classifier | None, without: str
) -> Mapping[str, object]:
    """Return the page's texts by their names, plain and unescaped; `without` says why there is no classifier."""
    (run,) = runs["autoencoder"]
    noun = str(run.data.get("noun", "digit"))
    thing = "digit" if noun == "digit" else "image"
    size, numbers = " × ".join(map(str, autoencoder.shape[1:])), f"{autoencoder.code_size:,} numbers"
    lead = f"A network turns every image of {size} pixels into {numbers}, and draws it again from them"
    second = f"; a second, small one sees these numbers alone, and predicts the {noun}" if classifier else ""
    return {
        "thing": thing,
        "noun": noun,
        "title": f"What {numbers} keep of {'a digit' if thing == 'digit' else 'an image'}",
        "lead": f"{lead}{second}.",
        "numbers": numbers,
        "without": without,
        "sentences": [
            *_learned(run, size),
            _predicted(*runs["classifier"]) if classifier else without,
            "All that you see is computed here, by your browser, with weights rounded to 16-bit floats: nothing "
            "that you draw leaves this page.",
        ],
    }


def _learned(run: StageRun, size: str) -> Iterator[str]:
    layers = run.layers("encoder")
    through = f", through layers of {layers} numbers and back" if layers else ""
    images = "MNIST" if run.dataset == "mnist" else run.dataset
    yield (
        f"In {run.length} over the training images of {images}, the autoencoder learned to make a code of each "
        f"image of {size} pixels and the image again of the code{through} (seed {run.metrics['seed']})."
    )
    if (error := run.last("test/mse")) is not None:
        yield (
            "On test images, which it had not seen, its pixels are off by a mean squared error of "
            f"{number(error)}, where black is 0 and white is 1."
        )


def _predicted(run: StageRun) -> str:
    accuracy = run.last("test/accuracy")
    right = "" if accuracy is None else f", and it is right for {percent(accuracy)} of the test images"
    return (
        f"The classifier ({run.layers('head')}) learned in {run.length} from these codes alone, and the "
        f"encoder was {run.encoder}{right}."
    )


@torch.no_grad()
def plain(network: nn.Module, shape: tuple[int, ...], name: str) -> list[Plain]:
    """Return the layers of a network in the order of their computation: each one's "kind" and numbers.

    "from" and "to" are the shapes of its input and its output; numbers are in torch's order, so none is reshaped.
    Weights of linear layers and convolutions are 16-bit floats, all other numbers 32-bit ones, little-endian, in
    base64. Batch normalisation, and each other step that scales and shifts, is "affine": one scale and one shift
    for each channel. The network is in eval mode, on the CPU; `shape` is that of one sample, such as (1, 28, 28).
    """
    layers, sample = [], torch.zeros(1, *shape)
    for module in _flat(network):
        before, sample = sample, module(sample)
        try:
            layer = _layer(module)
            if isinstance(module, nn.Linear) and before.ndim != 2:
                raise ValueError("its input is no row of numbers")
        except ValueError as error:
            called = type(module).__name__ if [*module.children()] else f"{module!s:.80}"
            raise AeprobeError(f"{name}: the playground cannot compute {called}: {error}") from None
        if layer is not None:
            layers.append(layer | {"from": [*before.shape[1:]], "to": [*sample.shape[1:]]})
    return layers


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that are no plain sequence of others."""
    if type(module) not in (nn.Sequential, MLP):
        yield module
        return
    if type(module) is MLP:  # takes inputs of any shape
        yield nn.Flatten()
    for child in module.children():
        yield from _flat(child)


def _layer(module: nn.Module) -> Plain | None:
    """Return one layer, None for one that changes no number; raise ValueError for an unknown one."""
    kind = type(module)
    if kind in SILENT:
        return None
    if kind in ACTIVATIONS:
        return {"kind": kind.__name__} | {name: getattr(module, name) for name in ACTIVATIONS[kind]}
    if kind not in OTHERS:  # nor a subclass, which may compute anything
        raise ValueError("it has no such layer")
    if isinstance(module, nn.Linear):
        return {"kind": "linear", **_weights(module, module.out_features)}
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return _convolution(module)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return _normalisation(module)
    assert isinstance(module, Normalize | Standardize)
    return _affine(1 / module.std.flatten(), (-module.mean / module.std).flatten())


def _convolution(module: nn.Conv2d | nn.ConvTranspose2d) -> Plain:
    for key, usual in (("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros")):
        if (value := getattr(module, key)) != usual:
            raise ValueError(f"{key}={value} is not supported")
    if isinstance(module.padding, str):
        raise ValueError(f"padding={module.padding!r} is not supported, only numbers")
    return {
        "kind": "convolution" if isinstance(module, nn.Conv2d) else "transposedConvolution",
        **{"kernel": [*module.kernel_size], "stride": [*module.stride], "padding": [*module.padding]},
        **_weights(module, module.out_channels),
    }


def _weights(module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, outputs: int) -> Plain:
    if not (module.weight.abs() <= LARGEST_WEIGHT).all():
        raise ValueError(f"a weight is {module.weight.abs().max().item():.3g}, which no 16-bit float is")
    bias = torch.zeros(outputs) if module.bias is None else module.bias
    return {"weight": packed(module.weight.half()), "bias": packed(bias.float())}


def _normalisation(module: nn.BatchNorm1d | nn.BatchNorm2d) -> Plain:
    if module.running_mean is None or module.running_var is None:
        raise ValueError("it normalises by its batch, and here every image comes alone")
    scale = 1 / (module.running_var + module.eps).sqrt()
    scale = scale if module.weight is None else scale * module.weight
    shift = -module.running_mean * scale
    return _affine(scale, shift if module.bias is None else shift + module.bias)


def _affine(scale: Tensor, shift: Tensor) -> Plain:
    return {"kind": "affine", "scale": packed(scale.float()), "shift": packed(shift.float())}


def packed(values: Tensor) -> str:
    """Return the numbers of a tensor, little-endian, in base64."""
    array = values.contiguous().numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("playground", "Makes a page to play with a run.")
    page = "the page (default: playground.html in the directory)"
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=page)
    given = parser.parse_args(arguments)
    file = write_playground(given.run, given.output, given.plugins)
    print(f"{shortest(file.resolve())}: {file.stat().st_size / 1e6:.1f} MB")
    return 0
