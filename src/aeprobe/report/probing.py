"""What the page says of simple classifiers on codes: a table of accuracies, and a sentence."""

from collections.abc import Iterator, Mapping
from typing import Any

from aeprobe.report.tables import BEYOND, Table
from aeprobe.wording import percent

METHODS = {"neighbours": "nearest neighbours", "logistic": "logistic regression"}
NAMES = {"codes": "code", "pca": "PCA", "pixels": "pixels", "random": "random encoder"}


def words(numbers: Mapping[str, Any]) -> "Iterator[Table | tuple[str, str]]":
    """The blocks below the evaluation's name, of what `Probe` found."""
    found = {(row["features"], row["method"], row["labels"]): row for row in numbers["rows"][:200]}
    counts = list(dict.fromkeys(labels for *_, labels in found))[:10]
    fewest = counts[0]
    few = [row for (_, _, labels), row in found.items() if labels == fewest]
    ours = max(row["mean"] for row in few if row["features"] == "codes")
    theirs = max(row["mean"] for row in few if row["features"] != "codes")
    yield (
        "What the code tells",
        f"With {_labels(fewest)} the better of two simple classifiers is right for {percent(ours)} of the test "
        f"images on the code, and for {percent(theirs)} on the best of the others.",
    )
    for method, name in METHODS.items():
        rows = [
            [words, *(_cell(found.get((features, method, labels))) for labels in counts)]
            for features, words in NAMES.items()
        ]
        note = (
            f"{max(row['n'] for row in found.values())} draws of the labelled images; mean ± standard deviation."
        )
        if method == "neighbours":
            note += f" {numbers['neighbours']} neighbours vote, fewer with fewer labels of a class."
        yield Table(BEYOND, f"Accuracy of {name}", ["", *map(_labels, counts)], rows, note, numeric=True)


def _labels(count: Any) -> str:
    return "all labels" if count is None else f"{count:,} label{'' if count == 1 else 's'}"


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return percent(None)
    return percent(row["mean"]) + ("" if row["sd"] is None else f" ± {100 * row['sd']:.2f}")
