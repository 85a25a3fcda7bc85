"""The page's tables of results: our losses, accuracies and counts beside the report's, as text."""

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from operator import itemgetter

from aeprobe_tools.pages import Table
from aeprobe_tools.report.comparison import Form, fewer, loss_of_the_report, of_the_report, report, shown, wilson
from aeprobe_tools.report.tables import ours
from aeprobe_tools.results.seeds import across, spread
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.wording import NONE, number, percent

OWN = "The last batch of each epoch may be a small one. The mean is over all batches of the epoch."


def loss(runs: Sequence[StageRun]) -> Table:
    """Return the loss of each epoch: of its last batch, beside the report's, and our mean."""
    first = runs[0].stage == "autoencoder"
    label, name = "Figure 8" if first else "Figure 14", runs[0].loss_name.replace("MSE per pixel", "MSE")
    title = "Loss in each epoch" + (f" ({name})" if name != "cross-entropy" else "")
    last: tuple[str, Form] = ("train/loss_last", number)
    mean: tuple[str, Form] = ("train/loss", number)
    if not (of_the_report(runs[0]) and loss_of_the_report(runs[0])):
        return _per_epoch(runs, label, title, OWN, [], last, mean)
    reported, batch = report()[runs[0].stage], _our_batch(runs[0])
    note = (
        f"The report's numbers are those of the last batch of 100 of each epoch; {batch}. "
        "The mean is over all batches of the epoch."
    )
    if not first:
        last = (softmax_key(runs), _hundredth)
        what = "cross-entropy on logits, not divided"
        if runs[0].setting("classifier.loss_on") == "softmax":
            mean, what = ("train/loss", _hundredth), "cross-entropy on softmax outputs, ÷\u00a0100"
        note = (
            "The report's loss is the cross-entropy of softmax outputs of the last batch, divided by the batch "
            f"size of 100 (it cannot be below {reported['loss_minimum']}); {batch}, divided by 100 too. "
            f"The mean is that of the loss that was trained: {what}."
        )
    return _per_epoch(runs, label, title, note, list(map(number, reported["loss"])), last, mean)


def accuracy(runs: Sequence[StageRun]) -> Table:
    """Return the accuracy of each epoch in percent, as `loss` has the loss."""
    reported, note = [], OWN
    if of_the_report(runs[0]):
        reported = list(map(str, report()["classifier"]["accuracy"]))
        whole = "In percent. The report's whole numbers are those of the last batch of 100"
        note = f"{whole}; {_our_batch(runs[0])}."
    last, mean = ("train/accuracy_last", _short_percent), ("train/accuracy", _bare_percent)
    return _per_epoch(runs, "Figure 14", "Accuracy in each epoch (%)", note, reported, last, mean)


def _our_batch(run: StageRun) -> str:
    """Say how large our last batch is, beside the report's of 100."""
    size, counts = run.setting(f"{run.stage}.batch_size"), run.data.get("images")
    images = run.metrics.get("epoch_size") or (counts.get("train") if isinstance(counts, dict) else None)
    if size and isinstance(size, int) and isinstance(images, int):
        cut = run.setting("trainer.limit_train_batches")
        size = size if cut else images % size or size
    if size == report()["batch"]:
        return "so are ours beside them"
    return f"ours beside them are those of our last batch, of {NONE if size is None else size}"


def softmax_key(runs: Sequence[StageRun]) -> str:
    """Return the key of the last batch's cross-entropy of softmax outputs."""
    return "train/loss_last" if runs[0].setting("classifier.loss_on") == "softmax" else "train/softmax_loss_last"


def headline(runs: Sequence[StageRun]) -> Table | None:
    """Return the mean test accuracy of each run, with its 95 % Wilson interval."""
    reported = [report()["classifier"]["test/accuracy"]["text"]] if of_the_report(runs[0]) else []
    rows = []
    for run in runs:
        value, images = run.last("test/accuracy"), run.tested
        if value is not None:
            name = "Mean test accuracy" if len(runs) == 1 else f"Seed {run.metrics['seed']}"
            rows.append([name, percent(value), interval(value, images), *reported])
    if not rows:
        return None
    head = ["", "Accuracy", "95\u00a0% interval", *(["The report"] if reported else [])]
    note = "The interval is Wilson's, for the number of test images."
    return Table("Figure 19", "Mean test accuracy", head, rows, note)


def classes(runs: Sequence[StageRun]) -> Table | None:
    """Return the best recognised class, on the report's images beside the report's confusion matrix."""
    matrices = [m for run in runs if (m := run.metrics.get("confusion_matrix"))]
    if not matrices:
        return None
    shares = [{i: row[i] / sum(row) for i, row in enumerate(m) if sum(row)} or {0: 0.0} for m in matrices]
    best = _named(runs[0], [max(s.items(), key=itemgetter(1)) for s in shares])
    if not of_the_report(runs[0]):
        worst = _named(runs[0], [min(s.items(), key=itemgetter(1)) for s in shares])
        rows = [["Best recognised class", best], ["Worst recognised class", worst]]
        return Table("Figure 21", "Classes in the confusion matrix", ["", ours(runs)], rows)
    reported = report()["classifier"]["confusion"]
    digit = reported["digit"]
    right = spread(float(m[digit][digit]) for m in matrices if len(m) > digit)
    if right is None:
        return None
    of = f" of {sum(matrices[0][digit]):,}"
    counted = f"{right.mean:,.0f}{of}"
    if len(matrices) > 1:
        counted = f"{right.mean:,.1f} ±\u00a0{right.sd:.1f}{of}{fewer(right, len(runs))}"
    rows = [
        [f"Images of digit {digit} right", counted, f"{reported['correct']:,}"],
        ["Best recognised digit", best, str(reported["best"])],
    ]
    return Table("Figure 21", "The confusion matrix beside the report's", ["", ours(runs), "The report"], rows)


def _named(run: StageRun, chosen: Sequence[tuple[int, float]]) -> str:
    """Name the class that was chosen in each run, with its share if there is one run."""
    if len(chosen) == 1:
        return f"{run.class_name(chosen[0][0])} ({percent(chosen[0][1])})"
    counts = Counter(run.class_name(label) for label, _ in chosen).most_common()
    return ", ".join(f"{name} in {n} of {len(chosen)} runs" for name, n in counts)


def interval(value: float, images: int) -> str:
    """Write the 95 % Wilson interval of an accuracy on `images` images, in percent."""
    if not images:
        return NONE
    low, high = wilson(value * images, images)
    return f"{100 * low:z.2f} to {percent(high)}"


def _per_epoch(
    runs: Sequence[StageRun],
    label: str,
    title: str,
    note: str,
    reported: list[str],
    last: tuple[str, Form],
    mean: tuple[str, Form],
) -> Table:
    """Return a table with a row for each epoch; `last` and `mean` are a metric's key and how it is written."""
    columns = [reported] if reported else []
    columns += [[shown(value, form, len(runs)) for value in across(runs, key)] for key, form in (last, mean)]
    count = max(map(len, columns))
    rows = [
        [str(epoch), *cells]
        for epoch, cells in enumerate(zip_longest(*columns, fillvalue=NONE), start=1)
        if epoch <= (len(reported) or 10) or epoch % 10 == 0 or epoch == count  # of a long training every tenth
    ]
    n = ""
    if len(runs) > 1:
        n = f" (n\u00a0=\u00a0{len(runs)})"
        note += f" Of {len(runs)} runs: mean ± standard deviation."
    head = ["Epoch", "Report", f"Ours, last batch{n}", f"Ours, mean{n}"]
    head = head if reported else ["Epoch", f"Last batch{n}", f"Mean{n}"]
    return Table(label, title, head, rows, note, numeric=True)


def _hundredth(value: float) -> str:
    return number(value / 100)


def _short_percent(value: float) -> str:
    return f"{100 * value:.3g}"


def _bare_percent(value: float) -> str:
    return f"{100 * value:z.2f}"
