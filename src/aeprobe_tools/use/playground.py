"""A trained run as one page to play with, in any browser and without a connection.

    aeprobe playground RUN [-o FILE]

On it one draws a digit, moves the numbers of its code, and sees what the networks make of that. The networks are
in the file, as 16-bit floats; what they compute is computed by the page.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aeprobe.after import After
from aeprobe.config.schema import Config, Stage, trusted_in
from aeprobe.data.datamodule import PART, ImageDataset
from aeprobe.data.sampler import shuffled_by_class
from aeprobe.errors import AeprobeError
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.paths import shortest
from aeprobe.runs.metrics import Metrics
from aeprobe_tools.output import command
from aeprobe_tools.pages import PLAYGROUND, template, write_page
from aeprobe_tools.report import overview
from aeprobe_tools.results.stage_run import Runs, StageRun, gather
from aeprobe_tools.use.plain_layers import packed, plain
from aeprobe_tools.use.trained import load_stage, run_parser, typed_path
from aeprobe_tools.wording import counted, number, percent

MOST_BYTES = 4_000_000  # of the page
MOST_IMAGES = 100
MOST_IMAGE_BYTES = 400_000  # of all of them
MOST_CODES = 2_000  # training images whose codes give the ranges
SCRIPTS = ("network.js", "pictures.js", "prepare.js", "drawing.js", "page.js", "input.js", "sections.js")


class Playground(After):
    """The playground of a run of both stages."""

    command = "playground"

    def __call__(self, directory: Path, config: Config, metrics: Mapping[str, Metrics]) -> Path | None:
        """Write the page; as `After`."""
        return write_playground(directory, plugins=trusted_in(config)) if config.stage == Stage.all else None


def write_playground(run: Path, output: Path | None = None, plugins: Sequence[str] = ()) -> Path:
    """Write the page of a run, complete or not at all, and return its path.

    Args:
        run: the directory of a run of `stage=all`, or of an autoencoder's, whose page names no digit.
        output: the file; `playground.html` in the run's directory by default.
        plugins: packages of your own that a checkpoint may name classes of.
    """
    if run.is_file():
        raise AeprobeError(f"{run} is a file: a playground is of a run directory, with its numbers; give that")
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
    if not isinstance(module, Autoencoder):
        raise AeprobeError(f"ckpt={trained.path}: is a classifier's, in an autoencoder's run")
    classifier, without = _classifier(runs, module, plugins)
    test = trained.images("test")
    count = classifier.classes if classifier else 1 + int(test.labels.max())
    matrix = runs["classifier"][0].metrics.get("confusion_matrix") if classifier else None
    content: dict[str, Any] = {
        **_networks(module, classifier),
        **_ranges(module, trained.images("train").images),
        **pictures(test, int(run.metrics["seed"])),
        "names": [run.class_name(label) for label in range(count)],
        "digits": trained.data["handwritten"],
        "answers": answers(matrix) if matrix else None,
    }
    unfinished = [
        f"The {run.stage} computes here as it was in its {run.metrics.get('checkpoint')} checkpoint"
        for run in overview.every(runs)
        if run.metrics["status"] != "completed"
    ]
    folder = files("aeprobe_tools") / "assets" / "playground"
    style = folder.joinpath("playground.css").read_text(encoding="utf-8")
    script = "\n".join(folder.joinpath(file).read_text(encoding="utf-8") for file in SCRIPTS)
    return template("playground/playground.html.j2").render(
        name=name,
        words=_words(runs, module, classifier, without),
        warnings=overview.unfinished(runs) + unfinished,
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
    if not runs["classifier"]:
        return None, "The run has no classifier."
    path = runs["classifier"][0].path
    if not any((path / "checkpoints").glob("*.ckpt")):
        return None, "Its classifier is not trained yet."
    module = load_stage(path, "classifier", plugins).module
    if not isinstance(module, Classifier):
        raise AeprobeError(f"{path}: its checkpoint is an autoencoder's, in a classifier's run")
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
        "shape": [*shape],
        "encoder": before + plain(autoencoder.encoder, shape, "encoder"),
        "decoder": plain(autoencoder.decoder, code, "decoder"),
        "head": None if classifier is None else plain(classifier.head, code, "head"),
    }


@torch.no_grad()
def _ranges(autoencoder: Autoencoder, train: Tensor) -> dict[str, str]:
    """Return each code number's least and largest value over at most `MOST_CODES` images, evenly spaced."""
    step = -(-len(train) // MOST_CODES)
    codes = torch.cat([autoencoder.encode(part) for part in train[::step].split(PART)])
    low, high = codes.aminmax(dim=0)
    if not codes.isfinite().all():
        raise AeprobeError("the codes of its training images are not finite: there is nothing to play with")
    return {"low": packed(low), "high": packed(high)}


def pictures(test: ImageDataset, seed: int) -> dict[str, Any]:
    """Choose test images, uint8, with labels, sorted by these: as many of each class as there can be."""
    most = max(1, min(MOST_IMAGES, MOST_IMAGE_BYTES // test.images[0].numel()))
    by_class, place = shuffled_by_class(test.labels, seed)
    chosen = by_class[place.argsort(stable=True)[:most].sort().values]
    return {"images": packed(test.images[chosen]), "labels": test.labels[chosen].tolist()}


def answers(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Count for each predicted class how often that was wrong in the test.

    Args:
        matrix: counts of test images by their class and by the predicted class.

    Returns:
        For each class: how many images were predicted so, how many of them wrongly, which class these were most
        often, and how many were of that one, 0 where several classes are equally frequent.

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
    size = " × ".join(map(str, autoencoder.shape[1:]))
    numbers, keep = f"{autoencoder.code_size:,} numbers", "keep"
    if autoencoder.code_size == 1:
        numbers, keep = "1 number", "keeps"
    lead = f"A network turns every image of {size} pixels into {numbers}, and draws it again from them"
    second = f"; a second, small one sees these numbers alone, and predicts the {noun}."
    return {
        "thing": thing,
        "noun": noun,
        "title": f"What {numbers} {keep} of {'a digit' if thing == 'digit' else 'an image'}",
        "lead": lead + ("." if classifier is None else second),
        "numbers": numbers,
        "without": without,
        "sentences": [
            _learned(run, size),
            _tested(run),
            _predicted(*runs["classifier"]) if classifier else without,
            "All that you see is computed here, by your browser, with weights rounded to 16-bit floats: nothing "
            "that you draw leaves this page.",
        ],
    }


def _learned(run: StageRun, size: str) -> str:
    layers = run.layers("encoder")
    through = f", through layers of {layers} numbers and back" if layers else ""
    images = "MNIST" if run.dataset == "mnist" else run.dataset
    return (
        f"In {run.length} over the training images of {images}, the autoencoder learned to make a code of each "
        f"image of {size} pixels and the image again of the code{through} (seed {run.metrics['seed']})."
    )


def _tested(run: StageRun) -> str:
    error = run.last("test/mse")
    if error is None:
        return "It was not measured on test images."
    return (
        f"On {_test_images(run)}, which it had not seen, its pixels are off by a mean squared error of "
        f"{number(error)}, where black is 0 and white is 1."
    )


def _predicted(run: StageRun) -> str:
    accuracy = run.last("test/accuracy")
    right = "" if accuracy is None else f", and it is right for {percent(accuracy)} of {_test_images(run)}"
    return (
        f"The classifier ({run.layers('head')}) learned in {run.length} from these codes alone, and the "
        f"encoder was {run.encoder}{right}."
    )


def _test_images(run: StageRun) -> str:
    """Name the test images that it was measured on, with their number if it is known."""
    images = run.data.get("images")
    count = images.get("test") if isinstance(images, dict) else None
    if run.setting("trainer.limit_test_batches"):
        count = run.tested or None
    return counted(count, "test image") if isinstance(count, int) else "test images"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("playground", "Makes a page to play with a run.")
    page = "the page (default: playground.html in the directory)"
    parser.add_argument("-o", "--output", type=typed_path, metavar="FILE", help=page)
    given = parser.parse_args(arguments)
    file = write_playground(given.run, given.output, given.plugins)
    size = file.stat().st_size
    print(f"{shortest(file.resolve())}: {size / 1e6:.1f} MB")
    report = file.with_name("report.html")
    if file.name == PLAYGROUND and report.is_file() and f'href="{PLAYGROUND}"' not in report.read_text():
        print(f"{shortest(report.resolve())} does not link to it yet: type aeprobe report {given.run}")
    return 0
