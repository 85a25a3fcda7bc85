"""Names of classes, in a figure and in a sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aeprobe.data.sources import NO_LABEL

LONGEST = 18  # characters of a class's name, in a figure


@dataclass(frozen=True)
class Classes:
    r"""Names of the classes, in figures and sentences.

    Args:
        noun: the word for a class, such as "digit".
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
