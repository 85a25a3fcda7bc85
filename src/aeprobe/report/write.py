"""One experiment, or several seeds of it, as one self-contained HTML page.

    aeprobe report RUN [RUN …] [--output FILE]
    aeprobe report --ranges NAME RUN [RUN …]

Reads metrics.json and figures/ alone: nothing is trained, and no torch is imported.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from aeprobe.errors import AeprobeError, tell
from aeprobe.files import write_atomically
from aeprobe.output import printing
from aeprobe.paths import home, shortest
from aeprobe.report import overview, ranges
from aeprobe.report.comparison import report
from aeprobe.report.page import sections
from aeprobe.report.runs import Runs, gather, require_seeds


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
    page = render(found, f"{shortest(runs[0].resolve())}{more}")
    file = output or runs[0] / "report.html"
    _require_own(file)
    try:
        write_atomically(file, page.encode())
    except OSError as error:
        raise AeprobeError(f"{file} cannot be written ({error.strerror}): choose another --output") from error
    return file


def _require_own(file: Path) -> None:
    """Raises AeprobeError where the page would replace something else."""
    if file.is_dir() or not file.exists():  # a directory is told where it cannot be written
        return
    if not file.is_file() or (file.stat().st_size and "aeprobe</title>" not in file.read_text(errors="replace")):
        raise AeprobeError(f"{file} is there already, and no page of this project: choose another --output")


def render(runs: Runs, name: str) -> str:
    """The page as text; `name` tells it from others in a browser's tabs."""
    environment = Environment(
        loader=PackageLoader("aeprobe", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        name=name,
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


@printing()
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
    try:
        runs = [Path(home(run)) for run in given.runs]
        output = Path(home(given.output)) if given.output else None
        file = ranges.write(given.ranges, runs) if given.ranges else write_report(runs, output)
    except AeprobeError as error:
        tell(str(error))
        return 1
    print(shortest(file.resolve()))
    return 0
