"""The page's first screen: what was trained, how good it is, how long it took, how to repeat it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from aeprobe.config.overrides import OF_A_MULTIRUN
from aeprobe.paths import TRAIN
from aeprobe_tools.report.comparison import Comparison, compare, final, of_the_report, range_of
from aeprobe_tools.report.tables import interval
from aeprobe_tools.results.stage_run import FINISHED, Runs, StageRun, spread
from aeprobe_tools.wording import NONE

LIMITS = [f"trainer.limit_{what}" for what in ("train_batches", "val_batches", "test_batches", "epochs")]


@dataclass(frozen=True)
class Card:
    """Headline of one stage: a large number, its name, and the rows below it."""

    title: str
    value: str
    unit: str
    detail: str
    comparisons: list[Comparison]


def every(runs: Runs) -> list[StageRun]:
    """Return the runs of all stages, in their order."""
    return [run for of_stage in runs.values() for run in of_stage]


def title(runs: Runs) -> str:
    """Return the page's heading."""
    first, both = every(runs)[0], ", and a small classifier on its code" if runs["classifier"] else ""
    what = {
        "autoencoder": f"An autoencoder{both}",
        "classifier": "A small classifier on an encoder's code",
        "test": "A finished run, measured again",
        "probe": "Simple classifiers on an encoder's codes",
    }
    return f"{what[first.stage]}: {'MNIST' if of_the_report(first) else first.dataset}"


def warnings(runs: Runs) -> list[str]:
    """Return what a reader of the page must know before any number."""
    beside = "The report is about MNIST, these are other images: its settings stand here, not its results"
    return unfinished(runs) + ([] if all(map(of_the_report, every(runs))) else [beside])


def unfinished(runs: Runs) -> list[str]:
    """Return a sentence, without its point, for each run that is unfinished, absent or cut short."""
    sentences = []
    for run in every(runs):
        status, subject = run.metrics["status"], f"The {run.stage} in {run.path}"
        limits = [f"{key}={value}" for key in LIMITS if (value := run.setting(key))]
        if status != "completed":
            epochs = f"; epochs: {len(run.metrics['epochs'])} of {run.setting(f'{run.stage}.max_epochs')}"
            why = f": {run.metrics['error']}" if status == "failed" else ""
            sentences.append(f"{subject} is not finished ({status}{'' if run.stage in FINISHED else epochs}){why}")
        elif (lacks := run.metrics.get("not_drawn", {})) is None:
            sentences.append(f"{subject} has no figures yet: resume= draws them")
        elif lacks:
            names = ", ".join(f"{name.replace('_', ' ')} ({why})" for name, why in lacks.items())
            sentences.append(f"{subject} lacks what could not be drawn: {names}")
        if limits and not range_of(run, "val/loss"):  # of a measured preset they are its recipe
            purpose = "a look at the whole path, not a result to compare"
            sentences.append(f"{subject} was cut short by {', '.join(limits)}: {purpose}")
    of_both = {run.path.parent for run in runs["autoencoder"] if run.setting("stage") == "all"}
    absent = [path for path in sorted(of_both) if not (path / "classifier" / "metrics.json").exists()]
    return sentences + [f"The classifier of {path} is not there" for path in absent]


def commands(runs: Runs) -> list[str]:
    """Return the commands that make these runs again."""
    typed = ([str(o) for o in run.metrics["overrides"] if not o.startswith(OF_A_MULTIRUN)] for run in every(runs))
    return list(dict.fromkeys(f"{TRAIN} {shlex.join(overrides)}" for overrides in typed))


def trained(runs: Runs) -> list[str]:
    """Return one sentence for each stage."""
    sentences = []
    for run in (of_stage[0] for of_stage in runs.values() if of_stage):
        labels = f" with {few:,} labels" if (few := run.setting("data.labels")) else ""
        head = f"A classifier {run.layers('head')} on the code of an encoder that is {run.encoder}"
        sentence = {
            "autoencoder": f"An autoencoder {run.layers('encoder')}, trained for {run.length}.",
            "classifier": f"{head}, trained for {run.length}{labels}.",
        }
        sentences.append(sentence.get(run.stage, f"The {run.stage} of {run.metrics.get('ckpt')}."))
    return sentences


def cards(runs: Runs) -> list[Card]:
    """Return the headline of each stage that there is."""
    headlines = []
    for stage, title, name, unit, keys in (
        ("autoencoder", "Reconstruction", "mse", "MSE per pixel", ("val/mse", "test/mse")),
        ("classifier", "Classification", "accuracy", "accuracy", ("test/accuracy",)),
    ):
        if of_stage := runs[stage] or [run for run in runs["test"] if f"test/{name}" in run.metrics["final"]]:
            # The report, and the ranges, are of trained runs.
            comparisons = [row for key in keys if runs[stage] and (row := compare(of_stage, key))]
            headlines.append(Card(title, *_measured(of_stage, name, unit), comparisons))
    return headlines + _probed(runs["probe"])


def _measured(runs: Sequence[StageRun], name: str, unit: str) -> tuple[str, str, str]:
    """Return the best number there is, its name, and a remark: of the test set, or else of the last epoch."""
    for split, words in (("test", "test"), ("val", "validation"), ("train", "training")):
        if mean := spread(run.last(f"{split}/{name}") for run in runs):
            images, remark = runs[0].tested, "" if split == "test" else "The test set was not measured"
            if name == "accuracy" and split == "test" and images:
                remark = f"95\u00a0% Wilson interval {interval(mean.mean, images)}, on {images:,} test images"
            several = f", mean of {mean.n} runs" if len(runs) > 1 else ""
            return final(runs, f"{split}/{name}"), f"{words} {unit}{several}", remark
    return NONE, unit, "No epoch was finished"


def _probed(runs: Sequence[StageRun]) -> list[Card]:
    """Return the probe's headlines: accuracies with the most labels, and with fewer in the detail."""
    cards = []
    for title, name in (("Nearest neighbours", "knn"), ("Logistic regression", "logistic")):
        known = runs[0].metrics["final"] if runs else {}
        keys = {key.rpartition("accuracy")[2].strip("_") or "all": key for key in known if f"test/{name}" in key}
        accuracies = {f"{labels} labels": final(runs, key) for labels, key in keys.items()}
        if accuracies:
            labels, value = accuracies.popitem()
            fewer = ", ".join(f"{accuracy} with {count}" for count, accuracy in accuracies.items())
            cards.append(Card(f"{title} on the codes", value, f"test accuracy, {labels}", fewer, []))
    return cards


def facts(runs: Runs) -> list[tuple[str, str]]:
    """Return times, seeds and machine."""
    taken = {name: spread(r.metrics["seconds"].get("total") for r in of_stage) for name, of_stage in runs.items()}
    seconds = {stage: round(total.mean) for stage, total in taken.items() if total}
    if len(seconds) > 1:
        seconds = {"in all": sum(seconds.values())} | seconds
    rows = [(f"Time, {stage}", str(timedelta(seconds=total))) for stage, total in seconds.items()]
    rows.append(("Seeds", ", ".join(dict.fromkeys(str(run.metrics["seed"]) for run in every(runs)))))
    places = (f"{run.metrics.get('device')}, threads: {run.metrics.get('threads')}" for run in every(runs))
    return [*rows, ("Computed on", "; ".join(dict.fromkeys(places)))]


def versions(runs: Runs) -> list[tuple[str, str]]:
    """Return the packages that the runs were made with, each with its version; several if the runs differ."""
    pairs = (pair for run in every(runs) for pair in run.metrics["versions"].items())
    return [(name, str(version)) for name, version in dict.fromkeys(pairs)]


def origins(runs: Runs) -> list[list[str]]:
    """Return a row for each stage of each run: directory, seed, status and seconds."""
    rows = []
    for run in every(runs):
        seconds, epoch = run.metrics["seconds"], spread(run.series("seconds"))
        times = [seconds.get("total"), seconds.get("fit"), epoch and epoch.mean, seconds.get("figures")]
        words = [NONE if time is None else f"{time:.1f}" for time in times]
        rows.append([str(run.path), str(run.metrics["seed"]), str(run.metrics["status"]), *words])
    return rows
