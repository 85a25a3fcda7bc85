"""One experiment, or several seeds of it, as one self-contained HTML page.

    aeprobe report RUN [RUN …] [--output FILE]

Reads metrics.json and figures/ alone: nothing is trained, and torch is imported for evaluations only.
"""

import argparse
import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aeprobe import nodes
from aeprobe.after import After
from aeprobe.config.schema import Config, Stage, trusted_in
from aeprobe.paths import home, shortest
from aeprobe.runs.metrics import Metrics
from aeprobe_tools.output import command
from aeprobe_tools.pages import BEYOND, PLAYGROUND, Table, Text, template, write_page
from aeprobe_tools.report import overview, tables
from aeprobe_tools.report.comparison import fitting, loss_of_the_report, of_the_report, report
from aeprobe_tools.results.stage_run import FINISHED, Picture, Runs, StageRun, across, gather

BEYOND_THE_REPORT = {
    "autoencoder": ("codes", "pca_baseline", "best_and_worst", "error_histogram"),
    "classifier": ("mistakes",),
}


@dataclass(frozen=True)
class Figure:
    """A picture with its caption, which begins with `label`; None where none was drawn."""

    label: str
    name: str
    picture: Picture | None
    seed: int | None = None  # of the run that it is of, where there are several

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.picture.png).decode()}" if self.picture else ""


Blocks = Iterator[Table | Text | Figure | None]


@dataclass(frozen=True)
class Section:
    """A heading, the blocks below it, and the labels of the figures that were not drawn."""

    id: str
    title: str
    blocks: list[Table | Text | Figure]
    missing: list[str]


def sections(runs: Runs, plugins: Sequence[str] = ()) -> list[Section]:
    """Return the page below its first screen, in the order of the report's figures."""
    encoder = f" (encoder: {runs['classifier'][0].encoder})" if runs["classifier"] else ""
    parts = (
        ("data", "The data", _data(runs[overview.every(runs)[0].stage])),
        ("autoencoder", "Stage 1: the autoencoder", _autoencoder(runs["autoencoder"])),
        ("classifier", f"Stage 2: the classifier{encoder}", _classifier(runs["classifier"])),
        ("test", "Measured again", _again(runs["test"], plugins)),
        ("probe", "Simple classifiers on the codes", _again(runs["probe"], plugins)),
        ("beyond", BEYOND, _beyond(runs, plugins)),
    )
    every_section = []
    for name, title, blocks in parts:
        section = Section(name, title, [], [])
        for block in blocks:
            if isinstance(block, Figure) and block.picture is None:
                section.missing.append(f"{block.label} ({block.name.replace('_', ' ')})")
            elif block:
                section.blocks.append(block)
        every_section += [section] if section.blocks or section.missing else []
    return every_section


def _data(runs: Sequence[StageRun]) -> Blocks:
    yield tables.data(runs)
    if runs[0].stage not in FINISHED:  # which draw them no second time
        yield _figure(runs, "class_histogram", "Figure 2")
        yield _figure(runs, "samples", "Figure 3")


def _autoencoder(runs: Sequence[StageRun]) -> Blocks:
    if not runs:
        return
    yield _figure(runs, "architecture", "Figures 4, 5 and 6")
    yield tables.settings(runs)
    yield tables.loss(runs)
    yield _curves(runs, "loss_per_epoch", "Figure 8", "train/loss_last", _reported(runs, "loss"))
    yield _curves(runs, "train_loss", "Figure 9")
    yield _curves(runs, "val_loss", "Figure 10")
    yield _figure(runs, "reconstructions", "Figure 11")
    yield Text("Over- or underfitting", fitting(runs))


def _classifier(runs: Sequence[StageRun]) -> Blocks:
    if not runs:
        return
    yield _figure(runs, "architecture", "Figure 12")
    yield tables.settings(runs)
    yield tables.loss(runs)
    yield tables.accuracy(runs)
    if len(runs) == 1:
        yield _figure(runs, "loss_and_accuracy_per_epoch", "Figure 14")
    else:
        losses = _reported(runs, "loss", 100)
        key = tables.softmax_key(runs) if losses else "train/loss_last"
        yield _curves(runs, "loss_per_epoch", "Figure 14", key, losses)
        accuracies = _reported(runs, "accuracy", 0.01)
        yield _curves(runs, "accuracy_per_epoch", "Figure 14", "train/accuracy_last", accuracies)
    for number, name in enumerate(("train_loss", "val_loss", "train_accuracy", "val_accuracy"), start=15):
        yield _curves(runs, name, f"Figure {number}")
    yield tables.headline(runs)
    yield _figure(runs, "batch_accuracy", "Figure 20")
    yield _figure(runs, "confusion_matrix", "Figure 21")
    yield tables.classes(runs)
    yield Text("Over- or underfitting", fitting(runs))


def _again(runs: Sequence[StageRun], plugins: Sequence[str]) -> Blocks:
    """Yield the figures and evaluations of a finished run that was measured again."""
    for name in ("batch_accuracy", "confusion_matrix", "mistakes", *BEYOND_THE_REPORT["autoencoder"]):
        if any(run.picture(name) for run in runs):
            yield _figure(runs, name, BEYOND)
    if runs:
        yield tables.parts(runs)
        yield from _evaluations(runs, plugins)


def _evaluations(runs: Sequence[StageRun], plugins: Sequence[str]) -> Blocks:
    """Yield the blocks of the first run's evaluations; the numbers of the others are in their metrics.json."""
    run = runs[0]
    for name, numbers in (run.metrics.get("evaluations") or {}).items():
        key = "probe" if run.stage == "probe" else f"autoencoder.evaluations.{name}"
        from aeprobe.evaluation import Evaluation  # torch, only for runs that have one

        try:
            node = run.setting(key)
            nodes.require_trusted([(key, node)], plugins, run.path)
            kind = nodes.bound(node, key, Evaluation).func  # type: ignore[type-abstract]
            for block in kind.page(numbers):  # type: ignore[attr-defined]
                yield _figure(runs, block, BEYOND) if isinstance(block, str) else block
        except Exception as error:  # whatever a person's own class ends in, or numbers of another version of it
            why = f"{type(error).__name__}: {error}".removeprefix("AeprobeError: ").partition("\n")[0]
            yield Text(name, f"metrics.json has its numbers, but they cannot be shown here ({why}).")


def _beyond(runs: Runs, plugins: Sequence[str]) -> Blocks:
    if runs["autoencoder"]:
        yield tables.references(runs["autoencoder"])
    for stage, names in BEYOND_THE_REPORT.items():
        if runs[stage]:
            yield tables.metrics(runs[stage])
            yield tables.parts(runs[stage])
            yield from (_figure(runs[stage], name, BEYOND) for name in names)
    if any(run.picture("sampled") for run in runs["autoencoder"]):  # of a module that can
        yield _figure(runs["autoencoder"], "sampled", BEYOND)
    if runs["autoencoder"]:
        yield from _evaluations(runs["autoencoder"], plugins)


def _figure(runs: Sequence[StageRun], name: str, label: str) -> Figure:
    """Return a figure of the first run that has it."""
    for run in runs:
        if picture := run.picture(name):
            return Figure(label, name, picture, run.metrics["seed"] if len(runs) > 1 else None)
    return Figure(label, name, None)


def _reported(runs: Sequence[StageRun], name: str, scale: float = 1) -> list[float]:
    """Return the report's numbers of each epoch on our scale; none where ours do not stand beside them."""
    beside = of_the_report(runs[0]) and loss_of_the_report(runs[0])
    return [scale * value for value in report()[runs[0].stage][name]] if beside else []


def _curves(
    runs: Sequence[StageRun], name: str, label: str, key: str = "", reported: Sequence[float] = ()
) -> Figure:
    """Return a figure of one run's curves; for several runs, of one of their numbers in each epoch."""
    if len(runs) == 1:
        return _figure(runs, name, label)
    return Figure(label, name, _band(runs, key or name.replace("_", "/"), reported))


def _band(runs: Sequence[StageRun], key: str, reported: Sequence[float]) -> Picture:
    """Draw a number of each epoch over runs: its mean, one standard deviation, and the report's points."""
    from aeprobe_tools.figures.charts import DARK, ORANGE, new_axes, whole_numbers  # matplotlib

    known = {epoch: point for epoch, point in enumerate(across(runs, key), start=1) if point}
    mean, sd = ([getattr(point, name) for point in known.values()] for name in ("mean", "sd"))
    title = f"{key} in each epoch"
    figure, axes = new_axes(title, "epoch", "")
    label = f"mean of {len(runs)} runs ± 1 standard deviation"
    axes.errorbar([*known], mean, sd, fmt="o-", color=DARK, ms=4, capsize=3, label=label)
    if reported:
        axes.plot(range(1, len(reported) + 1), reported, "s--", color=ORANGE, ms=4, label="the report")
    axes.xaxis.set_major_locator(whole_numbers())
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    points = [f"{m:.4g} ± {d:.2g} in epoch {epoch}" for epoch, m, d in zip(known, mean, sd, strict=True)]
    ends = " and ".join(dict.fromkeys([*points[:1], *points[-1:]])) or "nothing yet"
    alt = f"Mean and standard deviation over {len(runs)} runs: {ends}."
    return Picture(content.getvalue(), title, alt)


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

    Several seeds of one experiment give mean and standard deviation; `plugins` are packages that they may name
    evaluations of. Raises AeprobeError, and leaves an earlier page, where they do not belong together.
    """
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
