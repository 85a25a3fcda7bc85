"""A question that is asked of a finished module, once: the base class of all evaluations."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import aeprobe.runtime  # noqa: F401

from torch import Tensor

from aeprobe.data.classes import DIGITS, Classes
from aeprobe.data.datamodule import PART, ImageDataset
from aeprobe.data.sources import Source
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier

Figures = Iterable[tuple[str, Callable[[], Any]]]  # each one's name, and the function that draws it: a Drawing


@dataclass(frozen=True)
class Subject:
    """The module that an evaluation looks at, and its images.

    Attributes:
        module: trained, in eval mode, on the CPU.
        splits: "train", "val" and "test", images as uint8 (N, channels, height, width).
        seed: of the run.
        names: what the classes are called.
        progress: whether to show a bar.
        ckpt: the file that the module was loaded from; None for one that was trained just now.
        source: of the images, with the parts of the test images that are measured apart too.
    """

    module: Autoencoder | Classifier
    splits: Mapping[str, ImageDataset]
    seed: int
    names: Classes = DIGITS
    progress: bool = False
    ckpt: Path | None = None
    source: Source | None = None


@dataclass(frozen=True)
class Findings:
    """The answer of an evaluation.

    Attributes:
        numbers: plain values; what metrics.json says below `evaluations`, by the evaluation's name.
        final: the numbers among them that a table of runs shows, by their names, such as "test/accuracy".
        higher_is_better: of all of these.
        images: for its figures alone, by name.
    """

    numbers: dict[str, Any]
    final: Mapping[str, float] = field(default_factory=dict)
    higher_is_better: bool = True
    images: Mapping[str, Any] = field(default_factory=dict)


class Evaluation(ABC):
    """A question with all that is made of its answer: numbers, figures, and the blocks of the page.

    Its arguments are the keys of its node, and the page finds it by that node: one class and one YAML are enough.

    Attributes:
        package: what it needs to be installed, as it is imported, with the extra that brings it; empty: nothing.
    """

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


def in_parts(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return `function(images)`, computed some images at a time, (N, …); at least one image.

    Written into one tensor: small new ones between large ones would keep half a gigabyte from being used again.
    """
    first = function(images[:1])
    whole = first.new_empty(len(images), *first.shape[1:])
    for part, target in zip(images.split(PART), whole.split(PART), strict=True):
        target.copy_(function(part))
    return whole
