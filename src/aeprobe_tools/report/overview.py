"""The page's first screen: what was trained, how good it is, how long it took, how to repeat it."""

from collections.abc import Sequence
from dataclasses import dataclass

from aeprobe_tools.report.comparison import Comparison, compare, form_of, of_the_report, shown
from aeprobe_tools.report.scores import interval
from aeprobe_tools.report.sentences import every, unfinished
from aeprobe_tools.results.seeds import FINISHED, Runs, spread
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.wording import NONE, epochs, of_labels, percent


@dataclass(frozen=True)
class Card:
    """One stage's headline: a large number with what it is, and what stands beside it."""

    title: str
    value: str
    unit: str
    detail: str
    comparisons: list[Comparison]


def warnings(runs: Runs) -> list[str]:
    """Return what a reader of the page must know before any number."""
    if all(map(of_the_report, every(runs))):
        return unfinished(runs)
    beside = "The report is about MNIST, these are other images: its settings stand here, not its results"
    return [*unfinished(runs), beside]


def title(runs: Runs) -> str:
    """Return the page's heading."""
    first = every(runs)[0]
    images = "MNIST" if of_the_report(first) else f"the images of {first.called}"
    if first.stage == "probe":
        return f"Simple classifiers on an encoder's codes of {images}"
    if first.stage in FINISHED:
        return f"A finished run, looked at again on {images}"
    if not runs["classifier"]:
        return f"An autoencoder on {images}"
    if not runs["autoencoder"] and not first.metrics.get("ckpt"):
        return f"A classifier with an encoder of new weights, on {images}"
    if not runs["autoencoder"]:
        return f"A small classifier on an autoencoder's code of {images}"
    return f"An autoencoder on {images}, and a small classifier on its code"


def trained(runs: Runs) -> list[str]:
    """Return one sentence for each stage."""
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
    """Return the headline of each stage that there is."""
    found = []
    for stage, title, name, unit, keys in (
        ("autoencoder", "Reconstruction", "mse", "MSE per pixel", ("val/mse", "test/mse")),
        ("classifier", "Classification", "accuracy", "accuracy", ("test/accuracy",)),
    ):
        if of_stage := runs[stage] or [run for run in runs["test"] if f"test/{name}" in run.metrics["final"]]:
            own = bool(runs[stage])  # the report, and the ranges, are of trained runs
            comparisons = [row for key in keys if own and (row := compare(of_stage, key))]
            value, what, detail = _measured(of_stage, name, unit)
            mean, images = spread(run.last("test/accuracy") for run in of_stage), of_stage[0].tested
            if mean and images:
                wilsons = interval(mean.mean, images)
                detail = f"95\u00a0% Wilson interval {wilsons}, on {images:,} test images"
            found.append(Card(title, value, what, detail, comparisons))
    return found + _probed(runs["probe"])


def _probed(runs: Sequence[StageRun]) -> list[Card]:
    """Return the probe's headlines: accuracies with the most labels, and with fewer in the detail."""
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
    """Return times, seeds and machine."""
    rows, total = [], 0.0
    for stage, of_stage in runs.items():
        if taken := spread(run.metrics["seconds"].get("total") for run in of_stage):
            total += taken.mean
            rows.append((f"Time, {stage}", shown(taken, duration, len(of_stage))))
    if [term for term, _ in rows] == ["Time, autoencoder", "Time, classifier"]:
        rows.insert(0, ("Time, both stages", duration(total)))
    seeds = list(dict.fromkeys(str(run.metrics["seed"]) for run in every(runs)))
    rows.append(("Seed" if len(seeds) == 1 else "Seeds", ", ".join(seeds)))
    places = ((run.metrics.get("device"), run.metrics.get("threads")) for run in every(runs))
    words = (f"{device}, {count} thread{'' if count == 1 else 's'}" for device, count in places)
    rows.append(("Computed on", "; ".join(dict.fromkeys(words))))
    return rows


def duration(seconds: float) -> str:
    """Write seconds as a person says them.

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
    """Return the best number there is, its name, and a remark: of the test set, or else of the last epoch."""
    for split, words, remark in (
        ("test", "test", ""),
        ("val", "validation", "The test set was not measured"),
        ("train", "training", "Neither validation nor test set were measured"),
    ):
        if found := spread(run.last(f"{split}/{name}") for run in runs):
            several = f", mean of {found.n} runs" if len(runs) > 1 else ""
            return shown(found, form_of(name), len(runs)), f"{words} {what}{several}", remark
    return NONE, what, "No epoch was finished"


def versions(runs: Runs) -> list[tuple[str, str]]:
    """Return the packages that the runs were made with; several versions of one if the runs differ."""
    found: dict[str, dict[str, None]] = {}
    for run in every(runs):
        for name, version in run.metrics["versions"].items():
            found.setdefault(str(name), {})[str(version)] = None
    return [(name, ", ".join(those)) for name, those in found.items()]


def origins(runs: Runs) -> list[list[str]]:
    """Return a row for each stage of each run: directory, seed, status and seconds."""
    rows = []
    for run in every(runs):
        metrics, seconds = run.metrics, run.metrics["seconds"]
        each = spread(run.series("seconds"))
        times = [seconds.get("total"), seconds.get("fit"), each.mean if each else None, seconds.get("figures")]
        shown_times = [NONE if t is None else f"{t:.1f}" for t in times]
        rows.append([str(run.path), str(metrics["seed"]), str(metrics["status"]), *shown_times])
    return rows
