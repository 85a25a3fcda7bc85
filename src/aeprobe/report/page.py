"""What stands on the page and in which order: tables, pictures and sentences, for the template to lay out."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aeprobe.report import scores, tables
from aeprobe.report.comparison import fitting, of_the_report, report
from aeprobe.report.runs import Runs
from aeprobe.report.tables import Block, Table, Text
from aeprobe.runs.stage_run import Picture, StageRun

BUDGET = 5_500_000  # characters of pictures, so that the page stays under 6 MB
BEYOND = "Beyond the report"


@dataclass(frozen=True)
class Shown(Block):
    """A picture with its caption; `source` is a data URI."""

    source: str
    alt: str
    seed: int | None = None  # of the run that it is of, where there are several
    kind: str = "picture"


@dataclass
class Section:
    """A heading, what stands below it, and the labels of the figures that were not drawn."""

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


# The figures of a stage: name, the report's number, and for curves over epochs what a band over seeds shows.
DATA = (("class_histogram", "Figure 2"), ("samples", "Figure 3"))
ARCHITECTURE = {"autoencoder": "Figures 4, 5 and 6", "classifier": "Figure 12"}
PER_EPOCH = {
    "autoencoder": ("loss_per_epoch", "Figure 8"),
    "classifier": ("loss_and_accuracy_per_epoch", "Figure 14"),
}
CURVES = {
    "autoencoder": (
        ("train_loss", "Figure 9", "train/loss", "Training loss, mean of each epoch"),
        ("val_loss", "Figure 10", "val/loss", "Validation loss"),
    ),
    "classifier": (
        ("train_loss", "Figure 15", "train/loss", "Training loss, mean of each epoch"),
        ("val_loss", "Figure 16", "val/loss", "Validation loss"),
        ("train_accuracy", "Figure 17", "train/accuracy", "Training accuracy, mean of each epoch"),
        ("val_accuracy", "Figure 18", "val/accuracy", "Validation accuracy"),
    ),
}
BEYOND_THE_REPORT = {
    "autoencoder": ("codes", "pca_baseline", "best_and_worst", "error_histogram"),
    "classifier": ("mistakes",),
}


def sections(runs: Runs) -> list[Section]:
    """The page below its first screen, in the order of the report's figures."""
    pictures = _Pictures()
    stages = {stage: of_stage for stage, of_stage in runs.items() if of_stage}
    found = [_data(next(iter(stages.values())), pictures)]
    if runs["autoencoder"]:
        found.append(_autoencoder(runs["autoencoder"], pictures))
    if runs["classifier"]:
        found.append(_classifier(runs["classifier"], pictures))
    beyond = Section("beyond", BEYOND)
    if runs["autoencoder"]:
        beyond.blocks += _present(tables.references(runs["autoencoder"]))
    for stage, of_stage in stages.items():
        for name in BEYOND_THE_REPORT[stage]:
            pictures.add(beyond, of_stage, name, BEYOND)
    elsewhere = [
        f"{name} of the {run.stage} ({why})"
        for of_stage in stages.values()
        for run in of_stage
        for name, why in run.not_drawn.items()
        if name not in pictures.names
    ]
    beyond.missing += elsewhere
    return [*found, beyond] if beyond.blocks or elsewhere else found


def _data(runs: Sequence[StageRun], pictures: "_Pictures") -> Section:
    section = Section("data", "The data", [tables.data(runs)])
    for name, label in DATA:
        pictures.add(section, runs, name, label)
    return section


def _autoencoder(runs: Sequence[StageRun], pictures: "_Pictures") -> Section:
    section = Section("autoencoder", "Stage 1: the autoencoder")
    pictures.add(section, runs, "architecture", ARCHITECTURE["autoencoder"])
    section.blocks += [tables.settings(runs, "Figure 7"), scores.loss(runs, "Figure 8")]
    reported = report()["autoencoder"]["loss"] if of_the_report(runs[0]) else ()
    bands = [("train/loss_last", "Loss of the last batch of each epoch", 1.0, reported)]
    pictures.per_epoch(section, runs, bands)
    pictures.curves(section, runs)
    pictures.add(section, runs, "reconstructions", "Figure 11")
    section.blocks.append(Text("Over- or underfitting", fitting(runs)))
    return section


def _classifier(runs: Sequence[StageRun], pictures: "_Pictures") -> Section:
    section = Section("classifier", "Stage 2: the classifier on the frozen encoder")
    reported = report()["classifier"]
    pictures.add(section, runs, "architecture", ARCHITECTURE["classifier"])
    section.blocks += [
        tables.settings(runs, "Figure 13"),
        scores.loss(runs, "Figure 14"),
        scores.accuracy(runs, "Figure 14"),
    ]
    bands = [
        (scores.softmax_key(runs), "Loss of the last batch of each epoch, ÷ 100", 0.01, reported["loss"]),
        ("train/accuracy_last", "Accuracy of the last batch of each epoch, in %", 100.0, reported["accuracy"]),
    ]
    if not of_the_report(runs[0]):
        loss = ("train/loss_last", "Loss of the last batch of each epoch", 1.0, ())
        bands = [loss, (*bands[1][:3], ())]
    pictures.per_epoch(section, runs, bands)
    pictures.curves(section, runs)
    section.blocks += _present(scores.headline(runs, "Figure 19"))
    pictures.add(section, runs, "batch_accuracy", "Figure 20")
    pictures.add(section, runs, "confusion_matrix", "Figure 21")
    section.blocks += _present(scores.classes(runs, "Figure 21"))
    section.blocks.append(Text("Over- or underfitting", fitting(runs)))
    return section


def _present(table: Table | None) -> list[Block]:
    return [table] if table else []


class _Pictures:
    """Puts pictures into sections, while they fit into the page."""

    def __init__(self) -> None:
        self.left = BUDGET
        self.names: set[str] = set()

    def add(self, section: Section, runs: Sequence[StageRun], name: str, label: str) -> None:
        """Adds a figure of the first run that has it, or notes that none has."""
        drawn = ((run, picture) for run in runs if (picture := run.picture(name)))
        run, picture = next(drawn, (None, None))
        several = run.metrics["seed"] if run and len(runs) > 1 else None
        why = next((found for run in runs if (found := run.not_drawn.get(name))), "")
        self._put(section, picture, label, name, several, why)

    def per_epoch(self, section: Section, runs: Sequence[StageRun], bands: Iterable[tuple[Any, ...]]) -> None:
        """Adds the figure that stands beside the report's numbers of each epoch; for several runs, bands."""
        name, label = PER_EPOCH[runs[0].stage]
        if len(runs) == 1:
            self.add(section, runs, name, label)
            return
        from aeprobe.report.bands import band  # matplotlib, only where something is drawn

        for key, title, scale, reported in bands:
            self._put(section, band(runs, key, title, scale, reported), label, name)

    def curves(self, section: Section, runs: Sequence[StageRun]) -> None:
        """Adds the curves of training and validation; for several runs, bands over the epochs."""
        for name, label, key, title in CURVES[runs[0].stage]:
            if len(runs) == 1:
                self.add(section, runs, name, label)
                continue
            from aeprobe.report.bands import band

            self._put(section, band(runs, key, title), label, name)

    def _put(
        self,
        section: Section,
        picture: Picture | None,
        label: str,
        name: str,
        seed: int | None = None,
        why: str = "",
    ) -> None:
        self.names.add(name)
        what = name.replace("_", " ")
        if picture is None:
            section.missing.append(f"{label} ({what}{f': {why}' if why else ''})")
            return
        source = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
        if len(source) > self.left:
            section.missing.append(f"{label} ({what}: too large for this page, see figures/{name}.png)")
            return
        self.left -= len(source)
        section.blocks.append(Shown(label, picture.title, source=source, alt=picture.alt, seed=seed))
