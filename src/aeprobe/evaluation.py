"""A question that is asked of a finished module, once: the base class of all evaluations."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.sources import DIGITS, Classes, Source
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier

Figures = Iterable[tuple[str, Callable[[], Any]]]  # each one's name, and the function that draws it: a Drawing


@dataclass(frozen=True)
class Subject:
    """The module that an evaluation looks at, and its images."""

    module: Autoencoder | Classifier  # trained, in eval mode, on the CPU
    splits: Mapping[str, ImageDataset]  # "train", "val" and "test", images as uint8 (N, channels, height, width)
    seed: int  # of the run
    names: Classes = DIGITS  # of the classes
    progress: bool = False  # whether to show a bar
    ckpt: Path | None = None  # the file that the module was loaded from; None for one that was trained just now
    source: Source | None = None  # of the images, with the parts of the test images that are measured apart too


@dataclass(frozen=True)
class Findings:
    """The answer of an evaluation."""

    numbers: dict[str, Any]  # plain values; metrics.json has them below `evaluations`, by the evaluation's name
    final: Mapping[str, float] = field(default_factory=dict)  # those that a table of runs shows: "test/accuracy"
    higher_is_better: bool = True  # of all of these
    images: Mapping[str, Any] = field(default_factory=dict)  # for its figures alone, by name


class Evaluation(ABC):
    """A question with all that is made of its answer: numbers, figures, and the blocks of the page.

    Its arguments are the keys of its node, and the page finds it by that node: one class and one YAML are enough.
    """

    # What it needs to be installed, as it is imported, with the extra that brings it; empty: nothing.
    package: ClassVar[tuple[str, str] | tuple[()]] = ()

    def require(self, subject: Subject) -> None:  # noqa: B027 - most can be asked of any
        """Raise AeprobeError if it cannot be asked; called before anything is written."""

    @abstractmethod
    def __call__(self, subject: Subject) -> Findings:
        """Measure."""

    def figures(self, found: Findings) -> Figures:
        """Yield the figures of what was found; each is drawn into figures/ and TensorBoard by its name."""
        return ()

    @classmethod
    def page(cls, numbers: Mapping[str, Any]) -> Iterable[Any]:  # noqa: ARG003
        """Yield what stands on the page, in its order, made of the numbers in metrics.json.

        A `Table`, a `Text`, or the name of a figure.
        """
        yield from ()
