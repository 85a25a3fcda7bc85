"""Names of classes, in a figure and in a sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from aeprobe.data.sources import NO_LABEL

MOST_WORDS = 20  # classes of which each has its number written beside it
LONGEST = 18  # characters of a class's name, in a figure


@dataclass(frozen=True)
class Classes:
    r"""Names of the classes, in figures and sentences.

    Args:
        noun: what a class is: "digit" for MNIST's.
        names: of the labels 0, 1, …; without any, a class is called by its number.

    >>> Classes()(7), Classes().short(7), Classes("class", ["cat", "pounds of $"])(1), Classes().pick([3, 5])
    ('digit 7', '7', 'pounds of $', '3, 5')
    """

    noun: str = "digit"
    names: Sequence[str] = ()

    def __call__(self, label: int) -> str:
        """Name a class in a sentence."""
        if label == NO_LABEL:
            return "an image without a label"
        return self.names[label] if self.names else f"{self.noun} {label}"

    def short(self, label: int) -> str:
        """Name a class where it is clear that it is one; nothing for an image without a label."""
        if label == NO_LABEL:
            return ""
        return self.names[label] if self.names else str(label)

    def drawn(self, label: int) -> str:
        """Shorten the same for a figure, and escape $, which begins a formula in matplotlib."""
        name = self.short(label)
        return (name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…").replace("$", r"\$")

    def pick(self, labels: Iterable[int]) -> str:
        """Name several classes in a sentence."""
        return ", ".join(map(self.short, labels))


DIGITS = Classes()


def name_ticks(axes: Axes, names: Classes, classes: int, both: bool = False) -> None:
    """Name the classes at the lower axis, or at both; long names stand aslant, and get more room."""
    places = _thinned(np.arange(classes))
    words = [names.drawn(int(label)) for label in places]
    length = max(map(len, words))
    aslant = length > 3 and length * len(words) > 60
    axes.set_xticks(places, words, rotation=55 if aslant else 0, ha="right" if aslant else "center")
    if both:
        axes.set_yticks(places, words)
    if not names.names:
        return
    box = axes.get_position()
    extent = axes.get_window_extent()
    width, height = extent.width / box.width / 100, extent.height / box.height / 100  # inches, at 100 dots
    left = box.x0 + length * (0.08 if both else 0.03 if aslant else 0) / width  # of inches that a letter takes
    bottom = box.y0 + (0.075 * length / height if aslant else 0)
    axes.set_position((left, bottom, box.x1 - left, box.y1 - bottom))


def _thinned(places: NDArray[Any]) -> NDArray[Any]:
    """Choose at most 20 of the places, so that their names do not cover one another."""
    return places[:: -(-len(places) // MOST_WORDS)]
