"""Trained stages of a run, and what the commands that use them have in common."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aeprobe import nodes
from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.mnist import BUNDLE, MNIST, IdxFolder
from aeprobe.data.sources import Classes, Source, checked
from aeprobe.errors import AeprobeError, printable
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.nodes import require_trusted
from aeprobe.paths import shortest
from aeprobe.runs.metrics import Metrics, find_checkpoint, read_metrics


@dataclass(frozen=True, eq=False)
class Trained:
    """A stage that was trained."""

    path: Path  # of its checkpoint
    module: Autoencoder | Classifier  # in eval mode, on the CPU
    data: dict[str, Any]  # its data's settings, as the checkpoint holds them
    metrics: Metrics  # empty for a .ckpt file that lies alone
    plugins: Sequence[str]  # packages of which the checkpoint may name classes, too

    @property
    def classes(self) -> Classes:
        """The names of its classes."""
        return Classes(self.data["noun"], self.data.get("class_names", ()))

    def images(self, split: str) -> ImageDataset:
        """Read the images of a split: "test"; or "train", with those that were held out, in the source's order."""
        require_trusted([("data.source", self.data["source"])], self.plugins, f"ckpt={self.path}")
        root = self.data["root"]
        source = nodes.build(self.data["source"], "data.source", Source, root=root)  # type: ignore[type-abstract]
        missing = source.missing()
        if missing and isinstance(source, MNIST):
            source, missing = IdxFolder(str(BUNDLE)), None  # nothing is unpacked where a stored file says
        if missing:
            raise AeprobeError(
                f"the images of {self.path} are not there: {missing} is missing; type this where they are"
            )
        images, labels, _ = checked(source, split)
        if (shape := tuple(images.shape[1:])) != (expected := tuple(self.module.shape)):
            raise AeprobeError(
                f"the images in {root} are of {shape} now, and those of {self.path} are of {expected}"
            )
        return ImageDataset(images, labels)


def load_stage(run: Path, stage: str = "autoencoder", plugins: Sequence[str] = ()) -> Trained:
    """Load a stage of a run directory of `stage=all`; of another one, or a .ckpt file, the stage that it is of.

    A note says which checkpoint of an unfinished run is used.
    """
    path = find_checkpoint(run, stage)
    part = path.resolve().parent.parent
    metrics = read_metrics(part, missing_ok=True) if path.parent.name == "checkpoints" else {}
    if run.is_dir() and metrics["status"] != "completed":
        state = f"{shortest(part)} is {metrics['status']} after {len(metrics['epochs'])} epochs"
        note(f"{state}: its {path.stem} checkpoint is used")
    checkpoint = checkpoints.read(path)
    module = checkpoints.restore(checkpoint, path, plugins)
    return Trained(path, module, checkpoint["datamodule_hyper_parameters"], metrics, plugins)


def stages(run: Path) -> list[str]:
    """Return the stages of a `stage=all` run; of another run, or a .ckpt file, one, which may be either."""
    both = ("autoencoder", "classifier")
    return [stage for stage in both if (run / stage / "metrics.json").exists()] or ["autoencoder"]


def run_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command on a RUN, whose checkpoint may name classes of --plugins."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"aeprobe {name}", description=description, formatter_class=form)
    run = "a run directory, best of stage=all, or a .ckpt file"
    parser.add_argument("run", type=Path, metavar="RUN", help=run)
    classes = "whose classes RUN names"
    parser.add_argument("--plugins", action="append", default=[], metavar="PACKAGE", help=classes)
    return parser


def note(text: str) -> None:
    """Print a note for the person on standard error."""
    print(f"note: {printable(text)}", file=sys.stderr)


def require_new(path: Path) -> None:
    """Refuse a file that exists, and a directory with something in it."""
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise AeprobeError(f"{path} exists: give another path")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make a failure to write a file or a directory one line."""
    try:
        yield
    except OSError as error:
        raise AeprobeError(f"{path} cannot be written ({error.strerror}): give another path") from error
