"""The words in a figure."""

import aeprobe.runtime  # noqa: F401

from matplotlib.figure import Figure


def words(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]
