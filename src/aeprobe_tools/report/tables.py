"""Tables of the page: settings, losses, accuracies and counts of runs beside the report's, as text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from operator import itemgetter
from typing import Any

from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import MODULE
from aeprobe_tools.pages import BEYOND, Table
from aeprobe_tools.report.comparison import (
    Form,
    beside_references,
    form_of,
    loss_of_the_report,
    of_the_report,
    report,
    shown,
    wilson,
)
from aeprobe_tools.results.seeds import across, spread
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.wording import NONE, number, percent

Column = tuple[str, Form]  # a metric's key, and how its numbers are written
OWN = "The last batch of each epoch may be a small one. The mean is over all batches of the epoch."
REPORTED = "The report's {} the last batch of 100 of each epoch; our last batch has {} images. {}"
# Settings that the report's recipe has no row for, and their values there.
BESIDES = {
    "initialization": "torch",
    "dropout": 0,
    "batch_norm": False,
    "standardize": False,
    "code_noise": 0,
    "class_weights": None,
}


def data(runs: Sequence[StageRun]) -> Table:
    """Return the data protocol."""
    run, reported = runs[0], report()
    counts = {split: _images(run, split) for split in ("train", "val", "test")}
    shared = run.data.get("val_size") == 0
    mean, std = run.data.get("mean"), run.data.get("std")
    scale = "from 0 to 1" + ("" if (mean, std) == (0, 1) else f", minus {mean}, divided by {std}")
    train, test = (f"{reported['data']['images'][split]:,}" for split in ("train", "test"))
    mnist = of_the_report(run)
    rows = [
        ["Dataset", "MNIST" if mnist else run.dataset, "MNIST"],
        ["Training images", counts["train"], train],
        ["Validation images", "the test set" if shared else counts["val"], "the test set"],
        ["Test images", counts["test"], test],
        ["Pixels", scale, NONE],
        ["Seed" if len(runs) == 1 else "Seeds", ", ".join(str(r.metrics["seed"]) for r in runs), NONE],
    ]
    if run.metrics.get("encoder_data"):
        rows.append(["The encoder was trained on", str(run.metrics["encoder_data"]), NONE])
    return _beside_the_report("Figure 1", "Data protocol", runs, rows)


def settings(runs: Sequence[StageRun]) -> Table:
    """Return the settings of a stage."""
    run, stage = runs[0], runs[0].stage
    reported, used, first = report()[stage]["settings"], run.setting(stage), stage == "autoencoder"
    network, optimizer = used.get("network" if first else "head") or {}, used.get("optimizer") or {}
    loss = run.loss_name if first else f"{run.loss_name} on {used.get('loss_on')}"
    loss = reported["loss"] if loss == "MSE per pixel" else f"{loss} outputs" if loss.endswith("softmax") else loss
    if added := _node(used.get("regularizer")):
        loss = f"{loss} + {added}"
    rate = _plain(optimizer.get("lr"))
    if (of_encoder := used.get("encoder_lr")) is not None and used["encoder"] in ("finetuned", "scratch"):
        rate += f"; of the encoder {_plain(of_encoder)}"
    mirrored = run.sizes("encoder") == run.sizes("decoder")[::-1]
    name = "Layers" if not first else "Layers, then mirrored" if mirrored else "Layers of the encoder"
    rows = [
        [name, run.layers("encoder" if first else "head") or NONE, _widths(reported)],
        ["Activation", str(network.get("activation", NONE)), reported["activation"]],
        ["Loss", loss, reported["loss"]],
        ["Optimizer", _class(optimizer), reported["optimizer"]],
        ["Learning rate", rate, _plain(reported["lr"])],
        ["Weight decay", _plain(optimizer.get("weight_decay")), _plain(reported["weight_decay"])],
        ["Schedule", _class(used.get("scheduler") or {}), reported["schedule"]],
        ["Batch size", _plain(used.get("batch_size")), _plain(reported["batch_size"])],
        ["Epochs", _epochs(runs, used.get("max_epochs")), _plain(reported["max_epochs"])],
    ]
    if not first:
        encoder = run.layers("encoder") or f"that of {run.metrics.get('ckpt')}"
        theirs = _widths(report()["autoencoder"]["settings"])
        rows.insert(0, ["Encoder", f"{encoder}, {run.encoder}", f"{theirs}, frozen"])
    if more := _besides(used, network):
        rows.append(["Besides", "; ".join(more), "nothing"])
    return _beside_the_report("Figure 7" if first else "Figure 13", "Training settings", runs, rows)


def _besides(used: Mapping[str, Any], network: Mapping[str, Any]) -> list[str]:
    """List the settings that the report's recipe has no row for."""
    module = [] if used.get("_target_") in (None, MODULE) else [f"module: {_class(used)}"]
    nodes = [f"{name}: {text}" for name in ("augmentation", "corruption") if (text := _node(used.get(name)))]
    values = ((name, {**network, **used}.get(name, neutral), neutral) for name, neutral in BESIDES.items())
    return module + nodes + [f"{name}={_plain(value)}" for name, value, neutral in values if value != neutral]


def metrics(runs: Sequence[StageRun]) -> Table | None:
    """Return the person's own metrics."""
    run = runs[0]
    names = [name for name in run.higher_is_better if name not in MEASURED["classifier"]]

    def cell(key: str) -> str:
        return shown(spread(one.last(key) for one in runs), number, len(runs))

    rows = [[name, cell(f"val/{name}"), cell(f"test/{name}")] for name in names]
    head = ["", "Validation images", "Test images"]
    return Table(BEYOND, f"Further metrics of the {run.stage}", head, rows, numeric=True) if rows else None


def parts(runs: Sequence[StageRun]) -> Table | None:
    """Return the metric of each part of the test images, where their source names parts."""
    names = [*runs[0].test_parts]
    if not names:
        return None
    metric = names[0].split("/")[1]
    cells = [shown(spread(run.test_parts.get(name) for run in runs), form_of(metric), len(runs)) for name in names]
    rows = [[name.split("/")[2], cell] for name, cell in zip(names, cells, strict=True)]
    note = runs[0].remark if runs[0].setting("data.val_size") else ""
    head = ["", "Accuracy" if metric == "accuracy" else "MSE per pixel"]
    return Table(BEYOND, "Parts of the test images", head, rows, note, numeric=True)


def references(runs: Sequence[StageRun]) -> Table | None:
    """Return our test MSE beside that of others with a code of as many numbers."""
    value = spread(run.last("test/mse") for run in runs)
    if value is None or not beside_references(runs[0]):
        return None
    rows = [[r["name"], f"{r['mse']:.5f}", r["source"]] for r in report()["references"]]
    rows.insert(0, [ours(runs), shown(value, number, len(runs)), ""])
    return Table(BEYOND, "Test MSE of codes of 30 numbers", ["", "Test MSE", "Source"], rows)


def ours(runs: Sequence[StageRun]) -> str:
    """Return the heading of our column."""
    return "This run" if len(runs) == 1 else f"These {len(runs)} runs"


def loss(runs: Sequence[StageRun]) -> Table:
    """Return the loss of each epoch: of its last batch, beside the report's, and our mean."""
    first = runs[0].stage == "autoencoder"
    label, name = "Figure 8" if first else "Figure 14", runs[0].loss_name.replace("MSE per pixel", "MSE")
    title = "Loss in each epoch" + (f" ({name})" if name != "cross-entropy" else "")
    last: Column = ("train/loss_last", number)
    mean: Column = ("train/loss", number)
    if not (of_the_report(runs[0]) and loss_of_the_report(runs[0])):
        return _per_epoch(runs, label, title, OWN, [], last, mean)
    reported = report()[runs[0].stage]
    theirs, note = "numbers are those of", "The mean is over all batches of the epoch."
    if not first:
        last, softmax = (softmax_key(runs), _hundredth), runs[0].setting("classifier.loss_on") == "softmax"
        mean = ("train/loss", _hundredth if softmax else number)
        trained = "on softmax outputs, ÷\u00a0100" if softmax else "on logits, not divided"
        least = reported["loss_minimum"]
        theirs = f"loss is the cross-entropy of softmax outputs, ÷\u00a0100 as ours (so at least {least}), of"
        note = f"The mean is that of the loss that was trained: cross-entropy {trained}."
    note = REPORTED.format(theirs, _our_batch(runs[0]), note)
    return _per_epoch(runs, label, title, note, list(map(number, reported["loss"])), last, mean)


def accuracy(runs: Sequence[StageRun]) -> Table:
    """Return the accuracy of each epoch in percent, as `loss` has the loss."""
    reported, note = [], OWN
    if of_the_report(runs[0]):
        reported = list(map(str, report()["classifier"]["accuracy"]))
        note = REPORTED.format("whole numbers are those of", _our_batch(runs[0]), "All are in percent.")
    last, mean = ("train/accuracy_last", _short_percent), ("train/accuracy", _bare_percent)
    return _per_epoch(runs, "Figure 14", "Accuracy in each epoch (%)", note, reported, last, mean)


def _our_batch(run: StageRun) -> int:
    """Return the number of images in the last batch of an epoch."""
    size, images = int(run.setting(f"{run.stage}.batch_size")), run.metrics.get("epoch_size")
    return images % size or size if images and not run.setting("trainer.limit_train_batches") else size


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
    matrices = [matrix for run in runs if (matrix := run.metrics.get("confusion_matrix"))]
    if not matrices:
        return None
    shares = [{i: row[i] / sum(row) for i, row in enumerate(m) if sum(row)} or {0: 0.0} for m in matrices]
    best = _named(runs[0], [max(share.items(), key=itemgetter(1)) for share in shares])
    if not of_the_report(runs[0]):
        worst = _named(runs[0], [min(share.items(), key=itemgetter(1)) for share in shares])
        rows = [["Best recognised class", best], ["Worst recognised class", worst]]
        return Table("Figure 21", "Classes in the confusion matrix", ["", ours(runs)], rows)
    reported = report()["classifier"]["confusion"]
    digit = reported["digit"]
    right = shown(spread(matrix[digit][digit] for matrix in matrices), "{:,.4g}".format, len(runs))
    counted = f"{right} of {sum(matrices[0][digit]):,}"
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


def _images(run: StageRun, split: str) -> str:
    counts = run.data.get("images") or {}
    return f"{counts[split]:,}" if split in counts else NONE


def _beside_the_report(label: str, title: str, runs: Sequence[StageRun], rows: list[list[str]]) -> Table:
    marked = {i for i, (_, ours, theirs) in enumerate(rows) if NONE not in (ours, theirs) and ours != theirs}
    return Table(label, title, ["", ours(runs), "The report"], rows, marked=marked)


def _widths(reported: Mapping[str, Any]) -> str:
    return "-".join(map(str, reported["widths"]))


def _class(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_") or "none").rpartition(".")[2]


def _node(node: Any) -> str:
    """Write a node as its class and arguments; "" where it names no class."""
    if not node or not node.get("_target_"):
        return ""
    arguments = (f"{key}={_plain(value)}" for key, value in node.items() if not key.startswith("_"))
    return f"{_class(node)}({', '.join(arguments)})"


def _plain(value: Any) -> str:
    return NONE if value is None else f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def _epochs(runs: Sequence[StageRun], wanted: Any) -> str:
    done = sorted({len(run.epochs) for run in runs})
    return str(wanted) if done == [wanted] else f"{' or '.join(map(str, done))} of {_plain(wanted)}"


def _per_epoch(
    runs: Sequence[StageRun],
    label: str,
    title: str,
    note: str,
    reported: list[str],
    last: Column,
    mean: Column,
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
        n, note = f" (n\u00a0=\u00a0{len(runs)})", f"{note} Of {len(runs)} runs: mean ± standard deviation."
    head = ["Epoch", "Report", f"Ours, last batch{n}", f"Ours, mean{n}"]
    head = head if reported else ["Epoch", f"Last batch{n}", f"Mean{n}"]
    return Table(label, title, head, rows, note, numeric=True)


def _hundredth(value: float) -> str:
    return number(value / 100)


def _short_percent(value: float) -> str:
    return f"{100 * value:.3g}"


def _bare_percent(value: float) -> str:
    return f"{100 * value:z.2f}"
