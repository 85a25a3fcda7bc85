"""How well codes tell the classes apart: simple classifiers on them, with the labels of few images and of many."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from aeprobe.data.labels import labelled
from aeprobe.errors import AeprobeError
from aeprobe.evaluation.evaluation import Evaluation, Findings, Subject, in_parts
from aeprobe.figures import probing
from aeprobe.figures.pca import fitted
from aeprobe.models import building

Array = NDArray[Any]
MOST_DRAWS = 1_000  # so that those of one seed are none of the next one's
SHORT = {"neighbours": "knn", "logistic": "logistic"}  # in a table of runs
ITERATIONS = 200  # of logistic regression at most: on all pixels, accuracy no longer changes then


class Probe(Evaluation):
    """k nearest neighbours and logistic regression, by scikit-learn, beside the same without the encoder.

    They are fitted to labelled training images, equally many of each class, and tested on all test images. What
    they see of an image: its `codes`; its `pixels`; as many principal components as a code has numbers (`pca`);
    and the codes of a `random` encoder, the same network with new weights. Of each, the mean over all training
    images is subtracted and all numbers are divided by one: the root of their mean variance. So neighbours stay
    neighbours, and one setting of the regression (scikit-learn's own) serves all four.

    In metrics.json, `evaluations.probe` has `neighbours`, `images` (how many there are to draw from, and to test
    on), and `rows`: `features`, as above; `method`, "neighbours" or "logistic"; `labels`, null for all; `n`
    draws, one with all labels, since every draw would be that; `accuracies` on the test images from 0 to 1, one
    for each draw; their `mean`, and their sample standard deviation `sd`, null for one; and `parts`, the mean of
    each part of the test images that the source names. `remark` is the source's on these.

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
        """As `Evaluation`: there must be so many labels of each class."""
        for count in filter(None, self.labels):
            try:
                labelled(subject.splits["train"].labels, count, subject.seed, "probe.labels")
            except AeprobeError as error:
                raise AeprobeError(f"{error}; choose with probe.labels=[{count},…], null for all") from None

    def __call__(self, subject: Subject) -> Findings:
        """Fits and tests all of them, on as many threads as torch has."""
        from threadpoolctl import threadpool_limits

        train, test = subject.splits["train"].labels, subject.splits["test"].labels
        parts = subject.source.parts if subject.source else {}
        draws = {count: self._chosen(train, count, subject.seed) for count in self.labels}
        rows: list[dict[str, Any]] = []
        with threadpool_limits(torch.get_num_threads()):
            work = [*_features(subject)]
            bar = tqdm(total=len(work) * sum(map(len, draws.values())), disable=not subject.progress, leave=False)
            for name, made in work:
                bar.set_description(name)
                known, asked = _scaled(made(subject.splits["train"].images), made(subject.splits["test"].images))
                for count, chosen in draws.items():
                    both = (known, train.numpy()), (asked, test.numpy())
                    rows += self._rows(name, count, chosen, *both, parts, bar)
            bar.close()
        images = {"train": len(train), "test": len(test)}
        numbers = {"neighbours": self.neighbours, "images": images, "rows": rows}
        numbers["remark"] = subject.source.remark if subject.source else ""
        final = {
            f"test/{SHORT[row['method']]}_accuracy" + (f"_{row['labels']}" if row["labels"] else ""): row["mean"]
            for row in rows
            if row["features"] == "codes"
        }
        return Findings(numbers, [("probe", lambda: probing.probe(numbers))], final)

    def _chosen(self, labels: Tensor, count: int | None, seed: int) -> list[Array]:
        if count is None:
            return [np.arange(len(labels))]
        return [labelled(labels, count, 1000 * seed + draw, "probe.labels").numpy() for draw in range(self.draws)]

    def _rows(
        self,
        name: str,
        count: int | None,
        chosen: Sequence[Array],
        known: tuple[Array, Array],
        asked: tuple[Array, Array],
        parts: Mapping[str, slice],
        bar: Any,
    ) -> Iterator[dict[str, Any]]:
        """A row for each method."""
        correct: dict[str, list[Array]] = {"neighbours": [], "logistic": []}  # which test images, of each draw
        for indices in chosen:
            images, labels = (known[0], known[1]) if count is None else (known[0][indices], known[1][indices])
            for method, classifier in self._classifiers(labels).items():
                classifier.fit(images, labels)
                correct[method].append(classifier.predict(asked[0]) == asked[1])
            bar.update()
        for method, draws in correct.items():
            values = [float(draw.mean()) for draw in draws]
            sd = statistics.stdev(values) if len(values) > 1 else None
            row = {"features": name, "method": method, "labels": count, "n": len(values)}
            means = {part: statistics.fmean(draw[place].mean() for draw in draws) for part, place in parts.items()}
            yield row | {"mean": statistics.fmean(values), "sd": sd, "accuracies": values, "parts": means}

    def _classifiers(self, labels: Array) -> dict[str, Any]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        fewest = int(np.unique(labels, return_counts=True)[1].min())
        neighbours = KNeighborsClassifier(min(self.neighbours, fewest), algorithm="brute")
        return {"neighbours": neighbours, "logistic": LogisticRegression(max_iter=ITERATIONS, tol=1e-3)}


def _features(subject: Subject) -> Iterator[tuple[str, Callable[[Tensor], Array]]]:
    """What the classifiers see of images, uint8: each one's name, and what makes rows of float32 of them."""
    module = subject.module

    def codes(encoder: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Array]:
        return lambda images: in_parts(encoder, images).float().numpy()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        random = building.BUILDERS[module.stage](dict(module.hparams)).encoder.eval()
    linear = fitted(subject.splits["train"].images, module.code_size)
    yield "codes", codes(module.encode)
    yield "pixels", lambda images: images.flatten(1).numpy().astype(np.float32)
    yield "pca", codes(linear.encode)
    yield "random", codes(lambda part: random(module.normalize(part)))


def _scaled(known: Array, asked: Array) -> tuple[Array, Array]:
    """Both less the mean of the first, over the root of its mean variance; in place, since pixels are many."""
    mean = known.mean(0, dtype=np.float64).astype(np.float32)
    known -= mean
    asked -= mean
    squares = sum(np.square(part).sum(dtype=np.float64) for part in np.array_split(known, 50))
    spread = np.float32(np.sqrt(squares / known.size))
    if spread > 0:
        known /= spread
        asked /= spread
    return known, asked
