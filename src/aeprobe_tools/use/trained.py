"""Trained stages of a run, for the commands: checkpoint, module, data and images."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aeprobe import nodes
from aeprobe.data.classes import Classes
from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.idx_files import BUNDLE
from aeprobe.data.mnist import MNIST, IdxFolder
from aeprobe.data.sources import Source, checked
from aeprobe.errors import AeprobeError, printable
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.nodes import require_trusted
from aeprobe.paths import home, shortest
from aeprobe.runs.metrics import find_checkpoint, read_metrics


@dataclass(frozen=True, eq=False)
class Trained:
    """A stage that was trained.

    Attributes:
        path: of its checkpoint.
        module: in eval mode, on the CPU.
        data: its data's settings, as the checkpoint holds them.
        plugins: packages of which the checkpoint may name classes, too.
    """

    path: Path
    module: Autoencoder | Classifier
    data: dict[str, Any]
    plugins: Sequence[str]

    @property
    def classes(self) -> Classes:
        """The names of its classes."""
        return Classes(self.data["noun"], self.data.get("class_names", ()))

    def images(self, split: str) -> ImageDataset:
        """Read the images of a split: "test"; or "train", with those that were held out, in the source's order."""
        root = Path(self.data["root"])
        source, log = self._source(root), logging.getLogger("aeprobe")
        level = log.level
        log.setLevel(logging.ERROR)  # training has said which pictures are left out
        try:
            images, labels, _ = checked(source, split)
        except AeprobeError as error:
            raise error if root.exists() else self._absent(root) from None
        finally:
            log.setLevel(level)
        if (shape := tuple(images.shape[1:])) != (expected := tuple(self.module.shape)):
            raise AeprobeError(
                f"the images in {root} are of {shape} now, and those of {self.path} are of {expected}"
            )
        return ImageDataset(images, labels)

    def _source(self, root: Path) -> Source:
        """Build the source of the images, without unpacking: absent MNIST files are read from the bundle."""
        require_trusted([("data.source", self.data["source"])], self.plugins, f"ckpt={self.path}")
        source = nodes.build_or_none(self.data["source"], "data.source", Source, root=str(root))  # type: ignore[type-abstract]
        if source is None:
            raise AeprobeError(f"ckpt={self.path}: names no source of its images")
        missing = source.missing()
        if missing and isinstance(source, MNIST) and BUNDLE.is_dir():
            return IdxFolder(str(BUNDLE))
        if missing:
            raise self._absent(missing)
        return source

    def _absent(self, missing: Path) -> AeprobeError:
        return AeprobeError(
            f"the images of {self.path} are not there: {missing} is missing; type this where they are"
        )


def load_stage(run: Path, stage: str = "autoencoder", plugins: Sequence[str] = ()) -> Trained:
    """Load a stage of a run directory of `stage=all`; of another one, or a .ckpt file, the stage that it is of."""
    path = _usable_checkpoint(run, stage)
    checkpoint = checkpoints.read(path)
    module = checkpoints.restore(checkpoint, path, plugins)
    return Trained(path, module, checkpoint["datamodule_hyper_parameters"], plugins)


def stages(run: Path) -> list[str]:
    """Return the stages of a `stage=all` run; of another run, or a .ckpt file, one, which may be either."""
    both = ("autoencoder", "classifier")
    return [stage for stage in both if (run / stage / "metrics.json").exists()] or ["autoencoder"]


def _usable_checkpoint(run: Path, stage: str) -> Path:
    """Find a stage's checkpoint; of an unfinished run its best or last one, and say so."""
    part = run / stage if (run / stage / "metrics.json").exists() else run
    metrics = read_metrics(part, missing_ok=True) if part.is_dir() else {}
    saved = [file for name in ("best", "last") if (file := part / "checkpoints" / f"{name}.ckpt").is_file()]
    if not saved or metrics.get("status", "completed") == "completed":
        return find_checkpoint(run, stage)
    state = f"{shortest(part)} is {metrics['status']} after {len(metrics['epochs'])} epochs"
    note(f"{state}: its {saved[0].stem} checkpoint is used")
    return saved[0]


def run_parser(name: str, description: str | None, **more: Any) -> argparse.ArgumentParser:
    """Return the parser of a command on a RUN, whose checkpoint may name classes of --plugins."""
    parser = argparse.ArgumentParser(f"aeprobe {name}", description=description, **more)
    run = "a run directory, best of stage=all, or a .ckpt file"
    parser.add_argument("run", type=typed_path, metavar="RUN", help=run)
    parser.add_argument(
        "--plugins", action="append", default=[], metavar="PACKAGE", help="whose classes RUN names"
    )
    return parser


def typed_path(text: str) -> Path:
    """Return a path that was typed, with the home directory for its `~`."""
    return Path(home(text))


def note(text: str) -> None:
    """Print a note for the person on standard error."""
    print(f"note: {printable(text)}", file=sys.stderr)
