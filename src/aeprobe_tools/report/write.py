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
from aeprobe_tools.pages import PLAYGROUND, template, write_page
from aeprobe_tools.report import overview
from aeprobe_tools.report.comparison import report
from aeprobe_tools.report.page import sections
from aeprobe_tools.results.stage_run import gather


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
    stages, file = gather(runs), output or runs[0] / "report.html"
    beside = file.parent.resolve() == runs[0].resolve() and (runs[0] / PLAYGROUND).is_file()
    page = template("report.html.j2").render(
        name=f"{shortest(runs[0].resolve())}{f' and {len(runs) - 1} more' if len(runs) > 1 else ''}",
        playground=PLAYGROUND if beside else None,
        runs=stages,
        overview=overview,
        report=report(),
        sections=sections(stages, plugins),
        several=max(map(len, stages.values())),
    )
    write_page(file, page)
    return file


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
