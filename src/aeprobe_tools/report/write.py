"""One experiment, or several seeds of it, as one self-contained HTML page.

    aeprobe report RUN [RUN …] [--output FILE]

Reads metrics.json and figures/ alone: nothing is trained, and torch is imported for evaluations only.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from aeprobe.after import After
from aeprobe.config.schema import Config, Stage, trusted_in
from aeprobe.errors import AeprobeError
from aeprobe.paths import home, shortest
from aeprobe.runs.metrics import Metrics
from aeprobe_tools.output import command
from aeprobe_tools.pages import PLAYGROUND, require_own, template, write_page
from aeprobe_tools.report import overview
from aeprobe_tools.report.comparison import report
from aeprobe_tools.report.page import sections
from aeprobe_tools.report.sentences import commands
from aeprobe_tools.results.seeds import Runs, gather, require_seeds

OWN = "aeprobe</title>"


class Report(After):
    """The page of a run of both stages, or of one that was evaluated."""

    command = "report"

    def __call__(self, directory: Path, config: Config, metrics: Mapping[str, Metrics]) -> Path | None:
        """Write the page; as `After`."""
        if config.stage != Stage.all and not any(of_stage.get("evaluations") for of_stage in metrics.values()):
            return None
        return write_report([directory], plugins=trusted_in(config))


def write_report(runs: Sequence[Path], output: Path | None = None, plugins: Sequence[str] = ()) -> Path:
    """Write the page of some runs, by default `report.html` in the first directory, and return its path.

    Args:
        runs: directories of an autoencoder's run, a classifier's, or of `stage=all`; several seeds of one
            experiment give mean and standard deviation.
        output: the file.
        plugins: packages of your own that a run may name evaluations of.

    Raises:
        AeprobeError: one is no run, they do not belong together, or the file cannot be written; a page that is
            there already stays as it is.
    """
    if not runs:
        raise AeprobeError("no run directory given: expected one or more")
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    found = gather(runs)
    require_seeds(found)
    file = output or runs[0] / "report.html"
    beside = file.parent.resolve() == runs[0].resolve() and (runs[0] / PLAYGROUND).is_file()
    page = render(found, f"{shortest(runs[0].resolve())}{more}", PLAYGROUND if beside else None, plugins)
    require_own(file, OWN, "page of this project")
    write_page(file, page)
    return file


def render(runs: Runs, name: str, playground: str | None = None, plugins: Sequence[str] = ()) -> str:
    """Return the page as text, by the name for a browser's tab; `playground` is a page beside it."""
    return template("report.html.j2").render(
        name=name,
        playground=playground,
        runs=runs,
        overview=overview,
        report=report(),
        commands=commands(runs),
        sections=sections(runs, plugins),
        several=max(map(len, runs.values())),
    )


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="aeprobe report", description="Makes one page of one or more runs.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory; several: seeds of one experiment")
    parser.add_argument("--output", metavar="FILE", help="the page (default: report.html in the first RUN)")
    parser.add_argument(
        "--plugins", action="append", default=[], metavar="PACKAGE", help="whose evaluations the runs name"
    )
    given = parser.parse_args(arguments)
    runs = [Path(home(run)) for run in given.runs]
    output = Path(home(given.output)) if given.output else None
    print(shortest(write_report(runs, output, given.plugins).resolve()))
    return 0
