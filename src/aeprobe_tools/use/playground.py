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

from aeprobe.after import After
from aeprobe.config.choices import Stage
from aeprobe.config.schema import Config
from aeprobe.config.trust import trusted_in
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.paths import home, shortest
from aeprobe.runs.metrics import Metrics
from aeprobe_tools.output import command
from aeprobe_tools.pages import PLAYGROUND, require_own, template, write_page
from aeprobe_tools.report import sentences
from aeprobe_tools.results.seeds import Runs, gather
from aeprobe_tools.use import playground_data, playground_words
from aeprobe_tools.use.images import images_of
from aeprobe_tools.use.module import run_parser, usable_checkpoint

MOST_BYTES = 4_000_000  # of the page
SCRIPTS = ("network.js", "pictures.js", "prepare.js", "drawing.js", "page.js", "input.js", "sections.js")
OWN = "playground · aeprobe</title>"


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

    Raises:
        AeprobeError: it is no such run, its networks have layers that the page cannot compute, its images are not
            there, the page would be too large, or the file cannot be written.
    """
    if run.is_file():
        raise AeprobeError(f"{run} is a file: a playground is of a run directory, with its numbers; give that")
    file = output or run / PLAYGROUND
    runs = gather([run])
    if not runs["autoencoder"]:
        found = next(stage for stage, of_stage in runs.items() if of_stage)
        raise AeprobeError(f"{run} is a run of stage={found}, which decodes nothing: give one of stage=all")
    require_own(file, OWN, "playground")
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
    path = usable_checkpoint(run.path, "autoencoder")
    checkpoint = checkpoints.read(path)
    module = checkpoints.restore(checkpoint, path, plugins)
    if not isinstance(module, Autoencoder):
        raise AeprobeError(f"ckpt={path}: is a classifier's, in an autoencoder's run")
    classifier, without = _classifier(runs, module, plugins)
    train, test = (images_of(checkpoint, path, split, plugins) for split in ("train", "test"))
    content: dict[str, Any] = playground_data.networks(module, classifier)
    content |= playground_data.ranges(module, train.images)
    content |= playground_data.pictures(test, int(run.metrics["seed"]))
    count = classifier.classes if classifier else 1 + int(test.labels.max())
    content["names"] = [run.class_name(label) for label in range(count)]
    content["digits"] = checkpoint["datamodule_hyper_parameters"]["handwritten"]
    content["answers"] = classifier and playground_data.answers(
        runs["classifier"][0].metrics.get("confusion_matrix")
    )
    script, style = _asset(*SCRIPTS), _asset("playground.css")
    return template("playground/playground.html.j2").render(
        name=name,
        words=playground_words.words(runs, module, classifier, without),
        warnings=playground_words.warnings(runs),
        commands=sentences.commands(runs),
        content=content,
        script=script,
        style=style,
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}",
    )


def _classifier(runs: Runs, autoencoder: Autoencoder, plugins: Sequence[str]) -> tuple[Classifier | None, str]:
    """Return the run's classifier if it reads the autoencoder's codes, or None and a sentence that says why."""
    if not runs["classifier"]:
        return None, "The run has no classifier."
    (run,) = runs["classifier"]
    try:
        path = usable_checkpoint(run.path, "classifier")
    except AeprobeError:
        return None, "Its classifier is not trained yet."
    module = checkpoints.restore(checkpoints.read(path), path, plugins)
    if not isinstance(module, Classifier):
        raise AeprobeError(f"ckpt={path}: is an autoencoder's, in a classifier's run")
    ours, theirs = autoencoder.encoder.state_dict(), module.encoder.state_dict()
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[key], theirs[key]) for key in ours):
        return None, "Its classifier has an encoder of its own, and does not read the autoencoder's numbers."
    return module, ""


def _asset(*names: str) -> str:
    folder = files("aeprobe_tools") / "assets" / "playground"
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    """Return the hash of the one script or style for the page's Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = run_parser("playground", "Makes a page to play with a run.")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the page (default: playground.html in the directory)"
    )
    given = parser.parse_args(arguments)
    output = Path(home(given.output)) if given.output else None
    file = write_playground(Path(home(given.run)), output, given.plugins)
    size = file.stat().st_size
    print(f"{shortest(file.resolve())}: {size / 1e6:.1f} MB")
    report = file.with_name("report.html")
    if file.name == PLAYGROUND and report.is_file() and f'href="{PLAYGROUND}"' not in report.read_text():
        print(f"{shortest(report.resolve())} does not link to it yet: type aeprobe report {given.run}")
    return 0
