"""Simple classifiers on the codes, with few labels and with many: how well codes tell classes apart."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from aeprobe.data.datamodule import in_parts
from aeprobe.data.sampler import labelled
from aeprobe.evaluation import Evaluation, Figures, Findings, Subject
from aeprobe.models import checkpoints
from aeprobe_tools.figures.charts import DARK, GREY, ORANGE, PALE, Drawing, legend, panels
from aeprobe_tools.figures.pca import fitted
from aeprobe_tools.pages import BEYOND, Blocks, Table, Text
from aeprobe_tools.wording import of_labels, percent

Array = NDArray[Any]
Row = Mapping[str, Any]
MOST_DRAWS = 1_000  # so that those of one seed are none of the next one's
SHORT = {"neighbours": "knn", "logistic": "logistic"}  # in a table of runs
ITERATIONS = 200  # of logistic regression at most: on all pixels, accuracy no longer changes then
METHODS = {"neighbours": "nearest neighbours", "logistic": "logistic regression"}
FEATURES = {
    "codes": ("code", DARK, "o-"),
    "pca": ("PCA", ORANGE, "s-"),
    "pixels": ("pixels", GREY, "^--"),
    "random": ("code of a random encoder", PALE, "v--"),
}


class Probe(Evaluation):
    """k nearest neighbours and logistic regression, by scikit-learn, on the codes and on other inputs.

    They are fitted to labelled training images, equally many of each class, and tested on all test images. Their
    inputs are the `codes`; the `pixels`; as many principal components as a code has numbers (`pca`); and the codes
    of a `random` encoder, the same network with new weights. Of each, the mean over all training images is
    subtracted, and all numbers are divided by the root of their mean variance: neighbours stay neighbours, and
    scikit-learn's own setting of the regression serves all four.

    In metrics.json, `evaluations.probe` has:

    - `neighbours`; `images`: how many there are to draw from, and to test on.
    - `rows`: `features`, as above; `method`, "neighbours" or "logistic"; `labels`, null for all; `n` draws, one
      with all labels; `accuracies` on the test images from 0 to 1, one for each draw; their `mean`, and their
      sample standard deviation `sd`, null for one; `parts`, the mean on each part that the source names.
    - `remark`: the source's on these parts.

    Args:
        labels: how many images have one; null: all.
        draws: how often the images are chosen; draw d of a run with seed s is that of `data.labels` with seed
            1000 s + d.
        neighbours: that vote. With fewer labels of a class, so many.
    """

    package = ("sklearn", "probe")

    def __init__(
        self, labels: Sequence[int | None] = (10, 100, 1000, None), draws: int = 10, neighbours: int = 5
    ) -> None:
        wrong = [count for count in labels if count is not None and (type(count) is not int or count < 1)]
        if wrong or not labels or len({*labels}) != len(labels):
            raise ValueError(f"labels={[*labels]}: must be numbers above 0, each another, or null for all")
        for name, value in (("draws", draws), ("neighbours", neighbours)):
            if type(value) is not int or not 1 <= value <= MOST_DRAWS:
                raise ValueError(f"{name}={value}: must be from 1 to {MOST_DRAWS}")
        self.labels = sorted(labels, key=lambda count: count or 2**63)
        self.draws, self.neighbours = draws, neighbours

    def require(self, subject: Subject) -> None:
        """Refuse more labels of a class than it has images."""
        for count in filter(None, self.labels):
            labelled(subject.splits["train"].labels, count, subject.seed, "probe.labels")

    def __call__(self, subject: Subject) -> Findings:
        """Fit and test all classifiers, on as many threads as torch has."""
        from threadpoolctl import threadpool_limits

        train, test = subject.splits["train"], subject.splits["test"]
        parts = subject.source.parts if subject.source else {}
        chosen = {count: self._draws(train.labels, count, subject.seed) for count in self.labels}
        rows: list[dict[str, Any]] = []
        with threadpool_limits(torch.get_num_threads()):
            work = [*_features(subject)]
            bar = tqdm(total=len(work) * sum(map(len, chosen.values())), disable=not subject.progress, leave=False)
            for name, inputs in work:
                bar.set_description(name)
                known, asked = _scaled(inputs(train.images), inputs(test.images))
                for count, draws in chosen.items():
                    right: dict[str, list[Array]] = {method: [] for method in METHODS}
                    for draw in draws:
                        labels = train.labels.numpy()[draw]
                        for method, classifier in self._classifiers(labels).items():
                            predicted = classifier.fit(known[draw], labels).predict(asked)
                            right[method].append(predicted == test.labels.numpy())
                        bar.update()
                    of = {"features": name, "labels": count}
                    rows += [{**of, "method": method, **_row(each, parts)} for method, each in right.items()]
            bar.close()
        images = {"train": len(train), "test": len(test)}
        numbers = {"neighbours": self.neighbours, "images": images, "rows": rows}
        numbers["remark"] = subject.source.remark if subject.source else ""
        final = {
            f"test/{SHORT[row['method']]}_accuracy" + (f"_{row['labels']}" if row["labels"] else ""): row["mean"]
            for row in rows
            if row["features"] == "codes"
        }
        return Findings(numbers, final)

    def figures(self, found: Findings) -> Figures:
        """Yield the accuracy over the number of labels."""
        yield "probe", lambda: _curves(found.numbers)

    @classmethod
    def page(cls, numbers: Mapping[str, Any]) -> Blocks:
        """Yield a sentence, a table for each method, and the figure."""
        found = {(row["features"], row["method"], row["labels"]): row for row in numbers["rows"]}
        counts = list(dict.fromkeys(labels for *_, labels in found))
        codes, others = _best(numbers["rows"])[counts[0]]
        yield Text(
            "What the code tells",
            f"With {of_labels(counts[0])}, the better of two simple classifiers is right for {percent(codes)} of "
            f"the test images if it sees the code, and for {percent(others)} with the best of the other inputs.",
        )
        parts = numbers["rows"][0]["parts"]
        for method, name in METHODS.items():
            rows = []
            for features, (words, *_) in FEATURES.items():
                of = [found[features, method, labels] for labels in counts]
                sds = ("" if row["sd"] is None else f" ± {100 * row['sd']:.2f}" for row in of)
                rows.append([words, *(percent(row["mean"]) + sd for row, sd in zip(of, sds, strict=True))])
                named = parts if features == "codes" else ()
                rows += [[f"code, {part}", *(percent(row["parts"][part]) for row in of)] for part in named]
            note = f"Mean ± standard deviation over {max(row['n'] for row in found.values())} draws of the labels."
            if method == "neighbours":
                note += f" {numbers['neighbours']} neighbours vote, fewer with fewer labels of a class."
            note += f" {numbers['remark']}" if parts else ""
            yield Table(BEYOND, f"Accuracy of {name}", ["", *map(of_labels, counts)], rows, note, numeric=True)
        yield "probe"

    def _draws(self, labels: Tensor, count: int | None, seed: int) -> list[Any]:
        """Return the places of the labelled images of each draw."""
        if count is None:
            return [slice(None)]
        return [labelled(labels, count, 1000 * seed + draw, "probe.labels").numpy() for draw in range(self.draws)]

    def _classifiers(self, labels: Array) -> dict[str, Any]:
        """Return a classifier of each method for images with these labels."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        fewest = int(np.unique(labels, return_counts=True)[1].min())
        neighbours = KNeighborsClassifier(min(self.neighbours, fewest), algorithm="brute")
        return {"neighbours": neighbours, "logistic": LogisticRegression(max_iter=ITERATIONS, tol=1e-3)}


def _row(draws: Sequence[Array], parts: Mapping[str, slice]) -> dict[str, Any]:
    """Return the numbers of a row, of the test images that are classified right in each draw."""
    values = [float(draw.mean()) for draw in draws]
    sd = statistics.stdev(values) if len(values) > 1 else None
    means = {part: statistics.fmean(draw[place].mean() for draw in draws) for part, place in parts.items()}
    return {"n": len(values), "mean": statistics.fmean(values), "sd": sd, "accuracies": values, "parts": means}


def _features(subject: Subject) -> Iterator[tuple[str, Callable[[Tensor], Array]]]:
    """Yield the classifiers' inputs: each one's name, and a function from uint8 images to float32 rows."""
    module = subject.module

    def codes(encoder: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Array]:
        return lambda images: in_parts(encoder, images).float().numpy()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        random = checkpoints.BUILDERS[module.stage](dict(module.hparams)).encoder.eval()
    linear = fitted(subject.splits["train"].images, module.code_size)
    yield "codes", codes(module.encode)
    yield "pixels", lambda images: images.flatten(1).numpy().astype(np.float32)
    yield "pca", codes(linear.encode)
    yield "random", codes(lambda part: random(module.normalize(part)))


def _scaled(known: Array, asked: Array) -> tuple[Array, Array]:
    """Standardize both by the first's mean and root of mean variance; in place, since pixels are many."""
    mean = known.mean(0, dtype=np.float64).astype(np.float32)
    known -= mean
    asked -= mean
    spread = np.sqrt(np.square(known).mean(dtype=np.float64)).astype(np.float32) or np.float32(1)
    known /= spread
    asked /= spread
    return known, asked


def _curves(numbers: Mapping[str, Any]) -> Drawing:
    """Draw the accuracy over the number of labels, with its standard deviation: a panel for each method."""
    title = "Accuracy of simple classifiers with few labels and with many"
    figure, every = panels(title, [f"labels, for {words}" for words in METHODS.values()])
    whole = numbers["images"]["train"]
    data: dict[str, list[list[Any]]] = {}
    for method, axes in zip(METHODS, every, strict=True):
        for features, (name, colour, form) in FEATURES.items():
            rows = [row for row in numbers["rows"] if (row["method"], row["features"]) == (method, features)]
            places, means = [row["labels"] or whole for row in rows], [row["mean"] for row in rows]
            bars = [row["sd"] or 0.0 for row in rows]
            axes.errorbar(places, means, bars, fmt=form, color=colour, label=name, capsize=3, ms=5)
            data[f"{method}, {name}"] = [[row["labels"], row["mean"], row["sd"]] for row in rows]
        counts = sorted({row["labels"] or whole for row in numbers["rows"]})
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{n:,}" if n < whole else "all" for n in counts]))
        axes.xaxis.set_minor_locator(NullLocator())
    every[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend(figure, every[0])
    accuracies = "; ".join(
        f"with {of_labels(count)} {percent(codes)} on the code and {percent(others)} without it"
        for count, (codes, others) in _best(numbers["rows"]).items()
    )
    return Drawing([], title, f"Accuracy of the better of both methods: {accuracies}.", figure, data)


def _best(rows: Sequence[Row]) -> dict[int | None, tuple[float, float]]:
    """Return the best accuracy with the codes and with the other inputs, for each number of labels."""
    means: dict[int | None, tuple[list[float], list[float]]] = {}
    for row in rows:
        means.setdefault(row["labels"], ([], []))[row["features"] != "codes"].append(row["mean"])
    return {count: (max(codes), max(others)) for count, (codes, others) in means.items()}
