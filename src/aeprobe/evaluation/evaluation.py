"""What an evaluation is: a question that is asked of a finished module, once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from aeprobe.data.datamodule import PART, ImageDataset
from aeprobe.data.sources import Source
from aeprobe.figures.charts import Drawing
from aeprobe.figures.classes import DIGITS, Classes
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier


@dataclass(frozen=True)
class Subject:
    """What an evaluation looks at.

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
    """What an evaluation found.

    Attributes:
        numbers: plain values; what metrics.json says below `evaluations`, by the evaluation's name.
        figures: each one's name, and what draws it.
        final: the numbers among them that a table of runs shows, by their names, such as "test/accuracy".
        higher_is_better: of all of these.
    """

    numbers: dict[str, Any]
    figures: Sequence[tuple[str, Callable[[], Drawing]]] = ()
    final: Mapping[str, float] = field(default_factory=dict)
    higher_is_better: bool = True


class Evaluation(ABC):
    """A question; its arguments are the keys of its node.

    Attributes:
        package: what it needs to be installed, as it is imported, with the extra that brings it; empty: nothing.
    """

    package: ClassVar[tuple[str, str] | tuple[()]] = ()

    def require(self, subject: Subject) -> None:  # noqa: B027 - most can be asked of any
        """Raises AeprobeError where it cannot be asked, before anything is written."""

    @abstractmethod
    def __call__(self, subject: Subject) -> Findings:
        """Asks it."""


def in_parts(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """`function(images)`, some images at a time, (N, …); at least one image.

    Written into one tensor: small new ones between large ones would keep half a gigabyte from being used again.
    """
    first = function(images[:1])
    whole = first.new_empty(len(images), *first.shape[1:])
    for part, target in zip(images.split(PART), whole.split(PART), strict=True):
        target.copy_(function(part))
    return whole
