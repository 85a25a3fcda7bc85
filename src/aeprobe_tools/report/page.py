"""Sections of the page, in their order: tables, pictures and sentences, for the template to lay out."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aeprobe import nodes
from aeprobe.nodes import require_trusted
from aeprobe_tools.pages import BEYOND, Table, Text
from aeprobe_tools.report import tables
from aeprobe_tools.report.comparison import fitting, loss_of_the_report, of_the_report, report
from aeprobe_tools.report.overview import every
from aeprobe_tools.results.stage_run import FINISHED, Picture, Runs, StageRun, across

LAST = "of the last batch of each epoch"
CURVES = {"train": "Training {}, mean of each epoch", "val": "Validation {}"}
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
        ("data", "The data", _data(runs[every(runs)[0].stage])),
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
    reported = report()["autoencoder"]["loss"] if of_the_report(runs[0]) and loss_of_the_report(runs[0]) else ()
    yield _figure(runs, "architecture", "Figures 4, 5 and 6")
    yield tables.settings(runs)
    yield tables.loss(runs)
    yield from _curves(runs, "loss_per_epoch", "Figure 8", ("train/loss_last", f"Loss {LAST}", 1.0, reported))
    yield from _curves(runs, "train_loss", "Figure 9")
    yield from _curves(runs, "val_loss", "Figure 10")
    yield _figure(runs, "reconstructions", "Figure 11")
    yield Text("Over- or underfitting", fitting(runs))


def _classifier(runs: Sequence[StageRun]) -> Blocks:
    if not runs:
        return
    reported, alike = report()["classifier"], of_the_report(runs[0])
    loss = ("train/loss_last", f"Loss {LAST}", 1.0, ())
    if alike and loss_of_the_report(runs[0]):
        loss = (tables.softmax_key(runs), f"Loss {LAST}, ÷ 100", 0.01, reported["loss"])
    accuracy = ("train/accuracy_last", f"Accuracy {LAST}, in %", 100, reported["accuracy"] if alike else ())
    yield _figure(runs, "architecture", "Figure 12")
    yield tables.settings(runs)
    yield tables.loss(runs)
    yield tables.accuracy(runs)
    yield from _curves(runs, "loss_and_accuracy_per_epoch", "Figure 14", loss, accuracy)
    for number, name in enumerate(("train_loss", "val_loss", "train_accuracy", "val_accuracy"), start=15):
        yield from _curves(runs, name, f"Figure {number}")
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
    from aeprobe.evaluation import Evaluation  # torch, only for runs that have one

    run = runs[0]
    for name, numbers in (run.metrics.get("evaluations") or {}).items():
        key = "probe" if run.stage == "probe" else f"autoencoder.evaluations.{name}"
        try:
            node = run.setting(key)
            require_trusted([(key, node)], plugins, run.path)
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


def _curves(runs: Sequence[StageRun], name: str, label: str, *bands: Sequence[Any]) -> Iterator[Figure]:
    """Yield a figure of one run's curves; for several runs, the bands over the epochs."""
    if len(runs) == 1:
        yield _figure(runs, name, label)
        return
    split, _, metric = name.partition("_")
    for arguments in bands or [(f"{split}/{metric}", CURVES[split].format(metric))]:
        yield Figure(label, name, _band(runs, *arguments))


def _band(
    runs: Sequence[StageRun], key: str, title: str, scale: float = 1, report: Sequence[float] = ()
) -> Picture:
    """Draw a number of each epoch over runs: its mean, one standard deviation, and the report's points.

    The scale multiplies ours, so that they stand beside the report's.
    """
    from aeprobe_tools.figures.charts import DARK, ORANGE, new_axes, whole_numbers  # matplotlib

    known = {epoch: point for epoch, point in enumerate(across(runs, key), start=1) if point}
    mean, sd = ([scale * getattr(point, name) for point in known.values()] for name in ("mean", "sd"))
    figure, axes = new_axes(title, "epoch", "")
    label = f"mean of {len(runs)} runs ± 1 standard deviation"
    axes.errorbar([*known], mean, sd, fmt="o-", color=DARK, ms=4, capsize=3, label=label)
    if report:
        axes.plot(range(1, len(report) + 1), report, "s--", color=ORANGE, ms=4, label="the report")
    axes.xaxis.set_major_locator(whole_numbers())
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    points = [f"{m:.4g} ± {d:.2g} in epoch {epoch}" for epoch, m, d in zip(known, mean, sd, strict=True)]
    ends = " and ".join(dict.fromkeys([*points[:1], *points[-1:]])) or "nothing yet"
    alt = f"Mean and standard deviation over {len(runs)} runs: {ends}."
    return Picture(content.getvalue(), title, alt, {})
