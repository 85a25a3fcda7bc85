"""The page's tables of results: our losses, accuracies and counts beside the report's, as text."""

from collections import Counter
from collections.abc import Callable, Sequence

from aeprobe.comparison import NONE, fewer, number, percent, recognised, report, wilson
from aeprobe.runs import Spread, StageRun, across, spread
from aeprobe.tables import Table, ours

Form = Callable[[float], str]


def loss(runs: Sequence[StageRun], label: str) -> Table:
    """The loss of each epoch: last batch beside the report's, and our mean in a column of its own."""
    said = report()[runs[0].stage]
    if runs[0].stage == "autoencoder":
        note = (
            "The report's numbers are those of the last batch of 100 of each epoch; so are ours beside them. "
            "The mean is over all batches of the epoch."
        )
        return _per_epoch(
            runs, label, "Loss in each epoch (MSE)", note, said["loss"], "train/loss_last", "train/loss", number
        )
    last = softmax_key(runs)
    softmax = runs[0].setting("classifier.loss_on") == "softmax"
    what = "cross-entropy on softmax outputs, ÷\u00a0100" if softmax else "cross-entropy on logits, not divided"
    note = (
        "The report's loss is the cross-entropy of softmax outputs of the last batch, divided by the batch size "
        f"of 100 (it cannot be below {said['loss_minimum']}); so is ours beside it. "
        f"The mean is that of the loss that was trained: {what}."
    )
    form: Form = _hundredth if softmax else number
    return _per_epoch(runs, label, "Loss in each epoch", note, said["loss"], last, "train/loss", _hundredth, form)


def accuracy(runs: Sequence[StageRun], label: str) -> Table:
    """The accuracy of each epoch in percent, as `loss` has the loss."""
    said = [value / 100 for value in report()["classifier"]["accuracy"]]
    note = "In percent. The report's whole numbers are those of the last batch of 100; so are ours beside them."
    keys = ("train/accuracy_last", "train/accuracy")
    return _per_epoch(runs, label, "Accuracy in each epoch (%)", note, said, *keys, _short_percent, _bare_percent)


def softmax_key(runs: Sequence[StageRun]) -> str:
    """The key of the last batch's cross-entropy of softmax outputs."""
    return "train/loss_last" if runs[0].setting("classifier.loss_on") == "softmax" else "train/softmax_loss_last"


def headline(runs: Sequence[StageRun], label: str) -> Table | None:
    """The mean test accuracy of each run, with its 95 % Wilson interval."""
    said = report()["classifier"]["test/accuracy"]["text"]
    rows = []
    for run in runs:
        value, images = run.last("test/accuracy"), tested(run)
        if value is not None:
            name = "Mean test accuracy" if len(runs) == 1 else f"Seed {run.metrics['seed']}"
            rows.append([name, percent(value), interval(value, images), said])
    if not rows:
        return None
    head = ["", "Accuracy", "95\u00a0% interval", "The report"]
    return Table(
        label, "Mean test accuracy", head, rows, "The interval is Wilson's, for the number of test images."
    )


def digits(runs: Sequence[StageRun], label: str) -> Table | None:
    """What the report says of its confusion matrix."""
    said = report()["classifier"]["confusion"]
    matrices = [m for run in runs if len(m := run.metrics.get("confusion_matrix") or []) > said["digit"]]
    if not matrices:
        return None
    digit = said["digit"]
    right = spread(float(m[digit][digit]) for m in matrices)
    assert right is not None
    shares = [recognised(m) for m in matrices]
    best = [max(range(len(s)), key=s.__getitem__) for s in shares]
    of = f" of {sum(matrices[0][digit]):,}"
    if len(matrices) == 1:
        counted, named = f"{right.mean:,.0f}{of}", f"{best[0]} ({percent(shares[0][best[0]])})"
    else:
        counted = f"{right.mean:,.1f} ±\u00a0{right.sd:.1f}{of}{fewer(right, len(runs))}"
        named = ", ".join(f"{d} in {n} of {len(best)} runs" for d, n in Counter(best).most_common())
    rows = [
        [f"Images of digit {digit} right", counted, f"{said['correct']:,}"],
        ["Best recognised digit", named, str(said["best"])],
    ]
    return Table(label, "The confusion matrix beside the report's", ["", ours(runs), "The report"], rows)


def tested(run: StageRun) -> int:
    """The number of test images; 0 where it is not known."""
    matrix = run.metrics.get("confusion_matrix") or []
    return sum(map(sum, matrix))


def interval(value: float, images: int) -> str:
    """The 95 % Wilson interval of an accuracy on `images` images, in percent."""
    if not images:
        return NONE
    low, high = wilson(value * images, images)
    return f"{100 * low:.2f} to {percent(high)}"


def _per_epoch(
    runs: Sequence[StageRun],
    label: str,
    title: str,
    note: str,
    said: Sequence[float],
    last: str,
    mean: str,
    form: Form,
    mean_form: Form | None = None,
) -> Table:
    lasts, means = across(runs, last), across(runs, mean)
    rows = []
    count = max(len(said), len(lasts))
    for i in range(count):
        if i >= len(said) and (i + 1) % 10 and i + 1 < count:
            continue  # of a long training every tenth epoch
        theirs = form(said[i] * (100 if form is _hundredth else 1)) if i < len(said) else NONE
        own = [
            _cell(s[i] if i < len(s) else None, f, len(runs))
            for s, f in ((lasts, form), (means, mean_form or form))
        ]
        rows.append([str(i + 1), theirs, *own])
    n = f" (n\u00a0=\u00a0{len(runs)})" if len(runs) > 1 else ""
    head = ["Epoch", "Report", f"Ours, last batch{n}", f"Ours, mean{n}"]
    note += f" Of {len(runs)} runs: mean ± standard deviation." if len(runs) > 1 else ""
    return Table(label, title, head, rows, note, numeric=True)


def _cell(value: Spread | None, form: Form, runs: int) -> str:
    if value is None:
        return NONE
    if runs == 1:
        return form(value.mean)
    return f"{form(value.mean)} ±\u00a0{form(value.sd)}{fewer(value, runs)}"


def _hundredth(value: float) -> str:
    return f"{value / 100:.4f}"


def _short_percent(value: float) -> str:
    return f"{100 * value:.3g}"


def _bare_percent(value: float) -> str:
    return f"{100 * value:.2f}"
