"""HTML pages: the blocks that stand on one, the templates that lay them out, and the file that they become."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from aeprobe.errors import AeprobeError
from aeprobe.files import write_atomically

BEYOND = "Beyond the report"
PLAYGROUND = "playground.html"  # that of `aeprobe playground`
MARK = "aeprobe</title>"  # of every page


@dataclass(frozen=True)
class Table:
    """Rows of text, each begun by its name; `marked` are the indices of those that differ from the report.

    Its caption begins with `label`, such as "Figure 9".
    """

    label: str
    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: set[int] = field(default_factory=set)
    numeric: bool = False


@dataclass(frozen=True)
class Text:
    """A sentence below a small heading."""

    heading: str
    sentence: str


Blocks = Iterator[Table | Text | str]  # of an evaluation: a string is the name of one of its figures


def template(name: str) -> Template:
    """Return a page's template by its path below assets/; it escapes what it is given, and must be given all."""
    environment = Environment(
        loader=PackageLoader("aeprobe_tools", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def write_page(file: Path, page: str) -> None:
    """Write a page, complete or not at all; a file that is no earlier page is not replaced."""
    try:
        if file.is_file() and file.stat().st_size and MARK not in file.read_text(errors="replace"):
            raise AeprobeError(f"{file} is there already, and no page of aeprobe: choose another --output")
        write_atomically(file, page.encode())
    except OSError as error:
        raise AeprobeError(f"{file} cannot be written ({error.strerror}): choose another --output") from error
