"""The page's tables of results: our losses, accuracies and counts beside the report's, as text."""

from collections import Counter
from collections.abc import Callable, Sequence

from aeprobe.report.comparison import fewer, of_the_report, recognised, report, wilson
from aeprobe.report.runs import Spread, across, spread
from aeprobe.report.tables import Table, ours
from aeprobe.runs.stage_run import StageRun
from aeprobe.wording import NONE, number, percent

Form = Callable[[float], str]


def loss(runs: Sequence[StageRun], label: str) -> Table:
    """The loss of each epoch: of its last batch, beside the report's, and our mean in a column of its own."""
    title, keys = "Loss in each epoch", ("train/loss_last", "train/loss")
    if runs[0].stage == "autoencoder":
        title += " (MSE)"
    if not of_the_report(runs[0]):
        return _per_epoch(runs, label, title, OWN, None, *keys, number)
    reported = report()[runs[0].stage]
    if runs[0].stage == "autoencoder":
        note = (
            f"The report's numbers are those of the last batch of 100 of each epoch; {_our_batch(runs[0])}. "
            "The mean is over all batches of the epoch."
        )
        return _per_epoch(runs, label, title, note, reported["loss"], *keys, number)
    softmax = runs[0].setting("classifier.loss_on") == "softmax"
    what = "cross-entropy on softmax outputs, ÷\u00a0100" if softmax else "cross-entropy on logits, not divided"
    note = (
        "The report's loss is the cross-entropy of softmax outputs of the last batch, divided by the batch size "
        f"of 100 (it cannot be below {reported['loss_minimum']}); {_our_batch(runs[0])}, divided by 100 too. "
        f"The mean is that of the loss that was trained: {what}."
    )
    keys = (softmax_key(runs), keys[1])
    form: Form = _hundredth if softmax else number
    return _per_epoch(
        runs, label, title, note, [100 * value for value in reported["loss"]], *keys, _hundredth, form
    )


def accuracy(runs: Sequence[StageRun], label: str) -> Table:
    """The accuracy of each epoch in percent, as `loss` has the loss."""
    title, keys = "Accuracy in each epoch (%)", ("train/accuracy_last", "train/accuracy")
    if not of_the_report(runs[0]):
        return _per_epoch(runs, label, title, OWN, None, *keys, _short_percent, _bare_percent)
    reported = [value / 100 for value in report()["classifier"]["accuracy"]]
    note = f"In percent. The report's whole numbers are those of the last batch of 100; {_our_batch(runs[0])}."
    return _per_epoch(runs, label, title, note, reported, *keys, _short_percent, _bare_percent)


OWN = "The last batch of each epoch may be a small one. The mean is over all batches of the epoch."


def _our_batch(run: StageRun) -> str:
    """What our number of an epoch's last batch stands for, beside the report's last batch of 100."""
    size, counts = run.setting(f"{run.stage}.batch_size"), run.data.get("images")
    images = counts.get("train") if isinstance(counts, dict) else None
    if size and isinstance(size, int) and isinstance(images, int):
        cut = run.setting("trainer.limit_train_batches")
        size = size if cut else images % size or size
    if size == report()["batch"]:
        return "so are ours beside them"
    return f"ours beside them are those of our last batch, of {NONE if size is None else size}"


def softmax_key(runs: Sequence[StageRun]) -> str:
    """The key of the last batch's cross-entropy of softmax outputs."""
    return "train/loss_last" if runs[0].setting("classifier.loss_on") == "softmax" else "train/softmax_loss_last"


def headline(runs: Sequence[StageRun], label: str) -> Table | None:
    """The mean test accuracy of each run, with its 95 % Wilson interval."""
    reported = [report()["classifier"]["test/accuracy"]["text"]] if of_the_report(runs[0]) else []
    rows = []
    for run in runs:
        value, images = run.last("test/accuracy"), tested(run)
        if value is not None:
            name = "Mean test accuracy" if len(runs) == 1 else f"Seed {run.metrics['seed']}"
            rows.append([name, percent(value), interval(value, images), *reported])
    if not rows:
        return None
    head = ["", "Accuracy", "95\u00a0% interval", *(["The report"] if reported else [])]
    return Table(
        label, "Mean test accuracy", head, rows, "The interval is Wilson's, for the number of test images."
    )


def classes(runs: Sequence[StageRun], label: str) -> Table | None:
    """Which class is recognised best, and on the report's images what the report says of its confusion matrix."""
    matrices = [m for run in runs if (m := run.metrics.get("confusion_matrix"))]
    if not matrices:
        return None
    shares = [recognised(m) for m in matrices]
    known = [[i for i, row in enumerate(m) if sum(row)] for m in matrices]
    best = _named(shares, [max(k, key=s.__getitem__, default=0) for s, k in zip(shares, known, strict=True)])
    if not of_the_report(runs[0]):
        worst = _named(shares, [min(k, key=s.__getitem__, default=0) for s, k in zip(shares, known, strict=True)])
        rows = [["Best recognised class", best], ["Worst recognised class", worst]]
        return Table(label, "Classes in the confusion matrix", ["", ours(runs)], rows)
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
    return Table(label, "The confusion matrix beside the report's", ["", ours(runs), "The report"], rows)


def _named(shares: Sequence[Sequence[float]], chosen: Sequence[int]) -> str:
    """The class that was chosen in each run, with its share where there is one run."""
    if len(shares) == 1:
        return f"{chosen[0]} ({percent(shares[0][chosen[0]])})"
    return ", ".join(f"{c} in {n} of {len(chosen)} runs" for c, n in Counter(chosen).most_common())


def tested(run: StageRun) -> int:
    """The number of test images; 0 where it is not known."""
    matrix = run.metrics.get("confusion_matrix") or []
    return sum(map(sum, matrix))


def interval(value: float, images: int) -> str:
    """The 95 % Wilson interval of an accuracy on `images` images, in percent."""
    if not images:
        return NONE
    low, high = wilson(value * images, images)
    return f"{100 * low:z.2f} to {percent(high)}"


def _per_epoch(
    runs: Sequence[StageRun],
    label: str,
    title: str,
    note: str,
    reported: Sequence[float] | None,
    last: str,
    mean: str,
    form: Form,
    mean_form: Form | None = None,
) -> Table:
    lasts, means = across(runs, last), across(runs, mean)
    rows = []
    count = max(len(reported or []), len(lasts))
    for i in range(count):
        if i >= len(reported or range(10)) and (i + 1) % 10 and i + 1 < count:
            continue  # of a long training every tenth epoch
        theirs = [] if reported is None else [form(reported[i]) if i < len(reported) else NONE]
        values = [
            _cell(s[i] if i < len(s) else None, f, len(runs))
            for s, f in ((lasts, form), (means, mean_form or form))
        ]
        rows.append([str(i + 1), *theirs, *values])
    n = f" (n\u00a0=\u00a0{len(runs)})" if len(runs) > 1 else ""
    columns = ("Last batch", "Mean") if reported is None else ("Ours, last batch", "Ours, mean")
    head = ["Epoch", *([] if reported is None else ["Report"]), *(f"{column}{n}" for column in columns)]
    note += f" Of {len(runs)} runs: mean ± standard deviation." if len(runs) > 1 else ""
    return Table(label, title, head, rows, note, numeric=True)


def _cell(value: Spread | None, form: Form, runs: int) -> str:
    if value is None:
        return NONE
    if runs == 1:
        return form(value.mean)
    return f"{form(value.mean)} ±\u00a0{form(value.sd)}{fewer(value, runs)}"


def _hundredth(value: float) -> str:
    return number(value / 100)


def _short_percent(value: float) -> str:
    return f"{100 * value:.3g}"


def _bare_percent(value: float) -> str:
    return f"{100 * value:z.2f}"
