"""What the page says of simple classifiers on codes: a table of accuracies, and a sentence."""

from collections.abc import Mapping
from typing import Any

from aeprobe.report.tables import BEYOND, Blocks, Table
from aeprobe.wording import of_labels, percent

METHODS = {"neighbours": "nearest neighbours", "logistic": "logistic regression"}
NAMES = {"codes": "code", "pca": "PCA", "pixels": "pixels", "random": "random encoder"}


def words(numbers: Mapping[str, Any]) -> Blocks:
    """The blocks below the evaluation's name, of what `Probe` found."""
    found = {(row["features"], row["method"], row["labels"]): row for row in numbers["rows"][:200]}
    counts = list(dict.fromkeys(labels for *_, labels in found))[:10]
    fewest = counts[0]
    few = [row for (_, _, labels), row in found.items() if labels == fewest]
    ours = max(row["mean"] for row in few if row["features"] == "codes")
    theirs = max(row["mean"] for row in few if row["features"] != "codes")
    yield (
        "What the code tells",
        f"With {of_labels(fewest)} the better of two simple classifiers is right for {percent(ours)} of the test "
        f"images on the code, and for {percent(theirs)} on the best of the others.",
    )
    for method, name in METHODS.items():
        rows = [
            [words, *(_cell(found.get((features, method, labels))) for labels in counts)]
            for features, words in NAMES.items()
        ]
        parts = {part: None for row in found.values() for part in row.get("parts", {})}
        rows[1:1] = [
            [f"code, {part}", *(percent(found["codes", method, labels]["parts"][part]) for labels in counts)]
            for part in parts
        ]
        note = (
            f"{max(row['n'] for row in found.values())} draws of the labelled images; mean ± standard deviation."
        )
        if method == "neighbours":
            note += f" {numbers['neighbours']} neighbours vote, fewer with fewer labels of a class."
        note += f" {numbers['remark']}" if parts else ""
        yield Table(BEYOND, f"Accuracy of {name}", ["", *map(of_labels, counts)], rows, note, numeric=True)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return percent(None)
    return percent(row["mean"]) + ("" if row["sd"] is None else f" ± {100 * row['sd']:.2f}")
