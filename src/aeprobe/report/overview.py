"""The page's first screen: what was trained, how good it is, how long it took, how to repeat it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from aeprobe.config.overrides import OF_A_MULTIRUN
from aeprobe.paths import TRAIN
from aeprobe.report import ranges
from aeprobe.report.comparison import Comparison, compare, form_of, of_the_report, shown
from aeprobe.report.runs import FINISHED, Runs, spread
from aeprobe.report.scores import interval, tested
from aeprobe.runs.stage_run import StageRun
from aeprobe.wording import NONE, epochs, of_labels, percent

LIMITS = [f"trainer.limit_{what}" for what in ("train_batches", "val_batches", "test_batches", "epochs")]
UNFINISHED = {
    "running": "is not finished: it is still running, or its process was ended",
    "failed": "failed",
    "interrupted": "was interrupted",
}


@dataclass(frozen=True)
class Card:
    """One stage's headline: a large number with what it is, and what stands beside it."""

    title: str
    value: str
    unit: str
    detail: str
    comparisons: list[Comparison]


def warnings(runs: Runs) -> list[str]:
    """What a reader of the page must know before any number."""
    if all(map(of_the_report, _every(runs))):
        return unfinished(runs)
    beside = "The report is about MNIST, these are other images: its settings stand here, not its results"
    return [*unfinished(runs), beside]


def unfinished(runs: Runs) -> list[str]:
    """Runs that are not finished or absent, or were cut short on purpose, each as a sentence without its point."""
    sentences = []
    for run in _every(runs):
        status, subject = str(run.metrics["status"]), f"The {run.stage} in {run.path}"
        if status != "completed":
            wanted = run.setting(f"{run.stage}.max_epochs")
            done = f"{len(run.epochs)} of {wanted} epochs are here" if run.epochs else "no epoch was finished"
            done = "it has no results" if run.stage in FINISHED else done
            error = run.metrics.get("error")
            why = f": {error}" if error and status == "failed" else ""
            sentences.append(f"{subject} {UNFINISHED.get(status, status)}; {done}{why}")
        elif run.metrics.get("not_drawn", {}) is None:
            still = "it is still drawing, or was ended; resume= draws them"
            sentences.append(f"{subject} has no figures yet: {still}")
        limits = [f"{key}={value}" for key in LIMITS if (value := run.setting(key))]
        if limits and not ranges.find(run, "val/loss"):  # of a measured preset they are its recipe
            purpose = "a look at the whole path, not a result to compare"
            sentences.append(f"{subject} was cut short by {', '.join(limits)}: {purpose}")
    halves = [run for run in runs["autoencoder"] if run.setting("stage") == "all"]
    there = {run.path.parent for run in runs["classifier"]}
    if there:
        absent = [run.path.parent for run in halves if run.path.parent not in there]
        sentences += [f"The classifier of {path} is not there" for path in absent]
    elif any(not (run.path.parent / "classifier" / "metrics.json").exists() for run in halves):
        sentences.append("Both stages were to be trained, but the classifier is not there")
    return sentences


def title(runs: Runs) -> str:
    """The page's heading."""
    first = _every(runs)[0]
    images = "MNIST" if of_the_report(first) else f"the images of {first.called}"
    if first.stage == "probe":
        return f"What an encoder's codes tell of the classes, on {images}"
    if first.stage in FINISHED:
        return f"A finished run, looked at again on {images}"
    if not runs["classifier"]:
        return f"An autoencoder on {images}"
    if not runs["autoencoder"] and not first.metrics.get("ckpt"):
        return f"A classifier with an encoder of new weights, on {images}"
    if not runs["autoencoder"]:
        return f"A small classifier on an autoencoder's code of {images}"
    return f"An autoencoder on {images}, and what a small classifier reads from its code"


def trained(runs: Runs) -> list[str]:
    """One sentence for each stage."""
    sentences = []
    for run in (of_stage[0] for of_stage in runs.values() if of_stage):
        if run.stage == "probe":
            sentences.append(f"Simple classifiers on the codes of the encoder in {run.metrics.get('ckpt')}.")
            continue
        if run.stage in FINISHED:
            sentences.append(f"The {run.stage} of {run.metrics.get('ckpt')}.")
            continue
        network = "encoder" if run.stage == "autoencoder" else "head"
        layers, sizes = run.layers(network) or "of unknown layers", run.sizes(network)
        length = epochs(max(len(r.epochs) for r in runs[run.stage]), run.setting("trainer.limit_train_batches"))
        if run.stage == "autoencoder":
            code = f" to a code of {sizes[-1]} numbers and back" if sizes else ""
            sentences.append(f"An autoencoder {layers}{code}, trained for {length}.")
        else:
            few = run.setting("data.labels")
            labels = f", with the labels of {few:,} images" if isinstance(few, int) else ""
            on = "the code of a frozen encoder" if run.encoder == "frozen" else f"an encoder, {run.encoder}"
            sentences.append(f"A classifier {layers} on {on}, trained for {length}{labels}.")
    return sentences


def cards(runs: Runs) -> list[Card]:
    """The headline of each stage that there is."""
    found = []
    for stage, title, name, unit, keys in (
        ("autoencoder", "Reconstruction", "mse", "MSE per pixel", ("val/mse", "test/mse")),
        ("classifier", "Classification", "accuracy", "accuracy", ("test/accuracy",)),
    ):
        if of_stage := runs[stage] or [run for run in runs["test"] if f"test/{name}" in run.metrics["final"]]:
            own = bool(runs[stage])  # the report, and the ranges, are of trained runs
            comparisons = [row for key in keys if own and (row := compare(of_stage, key))]
            value, what, detail = _measured(of_stage, name, unit)
            mean, images = spread(run.last("test/accuracy") for run in of_stage), tested(of_stage[0])
            if mean and images:
                wilsons = interval(mean.mean, images)
                detail = f"95\u00a0% Wilson interval {wilsons}, on {images:,} test images"
            found.append(Card(title, value, what, detail, comparisons))
    return found + _probed(runs["probe"])


def _probed(runs: Sequence[StageRun]) -> list[Card]:
    """What simple classifiers read from the codes, with as many labels as they were given at most."""
    cards = []
    for title, name in (("Nearest neighbours", "knn"), ("Logistic regression", "logistic")):
        prefix = f"test/{name}_accuracy"
        found = {
            of_labels(_count(key.removeprefix(f"{prefix}_"))): shown(values, percent, len(runs))
            for key in (runs[0].metrics["final"] if runs else ())
            if key.startswith(prefix) and (values := spread(run.last(key) for run in runs))
        }
        if found:
            labels, value = found.popitem()
            fewer = ", ".join(f"{of} with {count}" for count, of in found.items())
            cards.append(Card(f"{title} on the codes", value, f"test accuracy, {labels}", fewer, []))
    return cards


def _count(suffix: str) -> int | None:
    return int(suffix) if suffix.isdecimal() else None


def facts(runs: Runs) -> list[tuple[str, str]]:
    """How long it took, where, from which seeds."""
    every = _every(runs)
    rows, total = [], 0.0
    for stage, of_stage in runs.items():
        if taken := spread(run.metrics["seconds"].get("total") for run in of_stage):
            total += taken.mean
            rows.append((f"Time, {stage}", shown(taken, duration, len(of_stage))))
    if [term for term, _ in rows] == ["Time, autoencoder", "Time, classifier"]:
        rows.insert(0, ("Time, both stages", duration(total)))
    seeds = list(dict.fromkeys(str(run.metrics["seed"]) for run in every))
    rows.append(("Seed" if len(seeds) == 1 else "Seeds", ", ".join(seeds)))
    places = ((run.metrics.get("device"), run.metrics.get("threads")) for run in every)
    words = (f"{device}, {count} thread{'' if count == 1 else 's'}" for device, count in places)
    rows.append(("Computed on", "; ".join(dict.fromkeys(words))))
    return rows


def commands(runs: Runs) -> list[str]:
    """What to type to get these runs again; runs that differ in their seed alone make one command."""
    seeds: dict[tuple[str, ...], list[str]] = {}
    for run in _every(runs):
        typed = [str(o) for o in run.metrics["overrides"]]
        rest = tuple(o for o in typed if not o.startswith(("seed=", *OF_A_MULTIRUN)))
        of_command = seeds.setdefault(rest, [])
        seed = next((o.partition("=")[2] for o in typed if o.startswith("seed=")), "")
        if seed not in of_command:
            of_command.append(seed)
    return [_command(rest, of_command) for rest, of_command in seeds.items()]


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> [duration(s) for s in (0.42, 81.3, 1383.6, 7320)]
    ['0.4 s', '81 s', '23 min 4 s', '2 h 2 min']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _measured(runs: Sequence[StageRun], name: str, what: str) -> tuple[str, str, str]:
    """The best number there is, what it is, and a remark: of the test set, or else of the last epoch."""
    for split, words, remark in (
        ("test", "test", ""),
        ("val", "validation", "The test set was not measured"),
        ("train", "training", "Neither validation nor test set were measured"),
    ):
        if found := spread(run.last(f"{split}/{name}") for run in runs):
            several = f", mean of {found.n} runs" if len(runs) > 1 else ""
            return shown(found, form_of(name), len(runs)), f"{words} {what}{several}", remark
    return NONE, what, "No epoch was finished"


def _command(overrides: Sequence[str], seeds: Sequence[str]) -> str:
    """The seeds of a multirun in one command; "" stands for the seed of the configuration."""
    words = TRAIN.split()
    if len(seeds) > 1:
        return shlex.join([*words, "-m", f"seed={','.join(seed or '0' for seed in seeds)}", *overrides])
    return shlex.join([*words, *overrides, *([f"seed={seeds[0]}"] if seeds[0] else [])])


def _every(runs: Runs) -> list[StageRun]:
    return [run for of_stage in runs.values() for run in of_stage]


def versions(runs: Runs) -> list[tuple[str, str]]:
    """The packages that the runs were made with; several versions of one where the runs differ."""
    found: dict[str, dict[str, None]] = {}
    for run in _every(runs):
        for name, version in run.metrics["versions"].items():
            found.setdefault(str(name), {})[str(version)] = None
    return [(name, ", ".join(those)) for name, those in found.items()]


def origins(runs: Runs) -> list[list[str]]:
    """A row for each stage of each run: where it lies, its seed, how it ended, its seconds and checkpoint."""
    rows = []
    for run in _every(runs):
        metrics, seconds = run.metrics, run.metrics["seconds"]
        each = spread(run.series("seconds"))
        times = [seconds.get("total"), seconds.get("fit"), each.mean if each else None, seconds.get("figures")]
        shown_times = [NONE if t is None else f"{t:.1f}" for t in times]
        rows.append([str(run.path), str(metrics["seed"]), str(metrics["status"]), *shown_times])
    return rows
