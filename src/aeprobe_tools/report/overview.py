"""The page's first screen: what was trained, how good it is, how long it took, how to repeat it."""

from collections.abc import Sequence
from dataclasses import dataclass

from aeprobe_tools.report.comparison import Comparison, compare, form_of, of_the_report, shown
from aeprobe_tools.report.sentences import every, unfinished
from aeprobe_tools.report.tables import interval
from aeprobe_tools.results.seeds import FINISHED, Runs, spread
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.wording import NONE, epochs, of_labels, percent


@dataclass(frozen=True)
class Card:
    """Headline of one stage: a large number, its name, and the rows below it."""

    title: str
    value: str
    unit: str
    detail: str
    comparisons: list[Comparison]


TITLES = {
    ("autoencoder", "classifier"): "An autoencoder on {}, and a small classifier on its code",
    ("autoencoder",): "An autoencoder on {}",
    ("classifier",): "A small classifier on an encoder's code of {}",
    ("test",): "A finished run, measured again on {}",
    ("probe",): "Simple classifiers on an encoder's codes of {}",
}
SPLITS = (
    ("test", "test", ""),
    ("val", "validation", "The test set was not measured"),
    ("train", "training", "Neither validation nor test set were measured"),
)


def warnings(runs: Runs) -> list[str]:
    """Return what a reader of the page must know before any number."""
    if all(map(of_the_report, every(runs))):
        return unfinished(runs)
    beside = "The report is about MNIST, these are other images: its settings stand here, not its results"
    return [*unfinished(runs), beside]


def title(runs: Runs) -> str:
    """Return the page's heading."""
    first = every(runs)[0]
    stages = tuple(stage for stage, of_stage in runs.items() if of_stage)
    images = "MNIST" if of_the_report(first) else f"the images of {first.called}"
    return TITLES.get(stages, TITLES[first.stage,]).format(images)


def trained(runs: Runs) -> list[str]:
    """Return one sentence for each stage."""
    sentences = []
    for run in (of_stage[0] for of_stage in runs.values() if of_stage):
        if run.stage in FINISHED:
            what = "Simple classifiers on the codes" if run.stage == "probe" else "The test"
            sentences.append(f"{what} of {run.metrics.get('ckpt')}.")
            continue
        length = epochs(max(len(r.epochs) for r in runs[run.stage]), run.setting("trainer.limit_train_batches"))
        first = run.stage == "autoencoder"
        words = ["An autoencoder" if first else "A classifier", run.layers("encoder" if first else "head")]
        words += [] if first else [f"on the code of an encoder that is {run.encoder}"]
        few = None if first else run.setting("data.labels")
        with_labels = f", with {of_labels(few)}" if few else ""
        sentences.append(f"{' '.join(filter(None, words))}, trained for {length}{with_labels}.")
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
    for split, words, remark in SPLITS:
        if mean := spread(run.last(f"{split}/{name}") for run in runs):
            images = runs[0].tested
            if name == "accuracy" and split == "test" and images:
                wilsons = interval(mean.mean, images)
                remark = f"95\u00a0% Wilson interval {wilsons}, on {images:,} test images"
            several = f", mean of {mean.n} runs" if len(runs) > 1 else ""
            return shown(mean, form_of(name), len(runs)), f"{words} {unit}{several}", remark
    return NONE, unit, "No epoch was finished"


def _probed(runs: Sequence[StageRun]) -> list[Card]:
    """Return the probe's headlines: accuracies with the most labels, and with fewer in the detail."""
    cards = []
    for title, name in (("Nearest neighbours", "knn"), ("Logistic regression", "logistic")):
        accuracies = {
            of_labels(int(count) if count else None): shown(spread(r.last(key) for r in runs), percent, len(runs))
            for key in (runs[0].metrics["final"] if runs else ())
            if (count := key.removeprefix(f"test/{name}_accuracy").removeprefix("_")) != key
        }
        if accuracies:
            labels, value = accuracies.popitem()
            fewer = ", ".join(f"{accuracy} with {count}" for count, accuracy in accuracies.items())
            cards.append(Card(f"{title} on the codes", value, f"test accuracy, {labels}", fewer, []))
    return cards


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
    """Write seconds as a person says them, such as "23 min 4 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def versions(runs: Runs) -> list[tuple[str, str]]:
    """Return the packages that the runs were made with; several versions of one if the runs differ."""
    pairs = dict.fromkeys((name, str(v)) for run in every(runs) for name, v in run.metrics["versions"].items())
    names = dict.fromkeys(name for name, _ in pairs)
    return [(name, ", ".join(version for of, version in pairs if of == name)) for name in names]


def origins(runs: Runs) -> list[list[str]]:
    """Return a row for each stage of each run: directory, seed, status and seconds."""
    rows = []
    for run in every(runs):
        seconds, epoch = run.metrics["seconds"], spread(run.series("seconds"))
        times = [seconds.get("total"), seconds.get("fit"), epoch and epoch.mean, seconds.get("figures")]
        words = [NONE if time is None else f"{time:.1f}" for time in times]
        rows.append([str(run.path), str(run.metrics["seed"]), str(run.metrics["status"]), *words])
    return rows
