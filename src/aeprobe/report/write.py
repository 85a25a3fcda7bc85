"""One experiment, or several seeds of it, as one self-contained HTML page.

    aeprobe report RUN [RUN …] [--output FILE]
    aeprobe report --ranges NAME RUN [RUN …]

Reads metrics.json and figures/ alone: nothing is trained, and no torch is imported.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from aeprobe.errors import AeprobeError
from aeprobe.files import write_atomically
from aeprobe.output import command
from aeprobe.paths import home, shortest
from aeprobe.report import overview, ranges
from aeprobe.report.comparison import report
from aeprobe.report.page import sections
from aeprobe.report.runs import Runs, gather, require_seeds

OWN = "aeprobe</title>"
PLAYGROUND = "playground.html"  # that of `aeprobe playground`


def write_report(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Writes the page of some runs and returns its path.

    Args:
        runs: directories of an autoencoder's run, a classifier's, or of `stage=all`; several seeds of one
            experiment give mean and standard deviation.
        output: the file; `report.html` in the first directory by default.

    Raises:
        AeprobeError: one is no run, they do not belong together, two have the same seed, or the file cannot be
            written. A page that is there already stays as it is.
    """
    if not runs:
        raise AeprobeError("no run directory given: expected one or more")
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    found = gather(runs)
    require_seeds(found)
    file = output or runs[0] / "report.html"
    beside = file.parent.resolve() == runs[0].resolve() and (runs[0] / PLAYGROUND).is_file()
    page = render(found, f"{shortest(runs[0].resolve())}{more}", PLAYGROUND if beside else None)
    require_own(file, OWN, "page of this project")
    write_page(file, page)
    return file


def require_own(file: Path, mark: str, what: str) -> None:
    """Raises AeprobeError where a page would replace something else than an earlier one, which has the mark."""
    if file.is_dir() or not file.exists():  # a directory is told where it cannot be written
        return
    if not file.is_file() or (file.stat().st_size and mark not in file.read_text(errors="replace")):
        raise AeprobeError(f"{file} is there already, and no {what}: choose another --output")


def write_page(file: Path, page: str) -> None:
    """Writes a page, complete or not at all; raises AeprobeError where it cannot be written."""
    try:
        write_atomically(file, page.encode())
    except OSError as error:
        raise AeprobeError(f"{file} cannot be written ({error.strerror}): choose another --output") from error


def template(name: str) -> Template:
    """A page's template, by its path below assets/: what it is given is escaped, and must all be given."""
    environment = Environment(
        loader=PackageLoader("aeprobe", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(runs: Runs, name: str, playground: str | None = None) -> str:
    """The page as text; `name` tells it from others in a browser's tabs, `playground` is a page beside it."""
    return template("report.html.j2").render(
        name=name,
        playground=playground,
        title=overview.title(runs),
        report=report(),
        warnings=overview.warnings(runs),
        trained=overview.trained(runs),
        cards=overview.cards(runs),
        facts=overview.facts(runs),
        commands=overview.commands(runs),
        sections=sections(runs),
        origins=overview.origins(runs),
        versions=overview.versions(runs),
        several=max(map(len, runs.values())),
    )


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="aeprobe report", description="Makes one page of one or more runs.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory; several: seeds of one experiment")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--output", metavar="FILE", help="the page (default: report.html in the first RUN)")
    group.add_argument(
        "--ranges", metavar="NAME", help="instead of a page, put the runs' ranges on file under NAME"
    )
    given = parser.parse_args(arguments)
    runs = [Path(home(run)) for run in given.runs]
    output = Path(home(given.output)) if given.output else None
    file = ranges.write(given.ranges, runs) if given.ranges else write_report(runs, output)
    print(shortest(file.resolve()))
    return 0
