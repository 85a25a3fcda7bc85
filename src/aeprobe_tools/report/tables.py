"""Tables of the page: settings, losses, accuracies and counts of runs beside the report's, as text."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import MODULE
from aeprobe_tools.pages import BEYOND, Table
from aeprobe_tools.report.comparison import (
    Form,
    beside_references,
    final,
    loss_of_the_report,
    of_the_report,
    report,
    shown,
    wilson,
)
from aeprobe_tools.results.stage_run import StageRun, across, spread
from aeprobe_tools.wording import NONE, number, percent

# Settings that the report's recipe has no row for, and their values there.
BESIDES = {
    "initialization": "torch",
    "dropout": 0,
    "batch_norm": False,
    "standardize": False,
    "code_noise": 0,
    "class_weights": None,
    "encoder_lr": None,
}


def data(runs: Sequence[StageRun]) -> Table:
    """Return the data protocol."""
    run, reported = runs[0], report()["data"]["images"]
    counts = {split: f"{count:,}" for split, count in (run.data.get("images") or {}).items()}
    shared, mean, std = (run.data.get(key) for key in ("val_size", "mean", "std"))
    scale = "from 0 to 1" + ("" if (mean, std) == (0, 1) else f", minus {mean}, divided by {std}")
    rows = [
        ["Dataset", "MNIST" if of_the_report(run) else run.dataset, "MNIST"],
        ["Training images", counts.get("train", NONE), f"{reported['train']:,}"],
        ["Validation images", "the test set" if shared == 0 else counts.get("val", NONE), "the test set"],
        ["Test images", counts.get("test", NONE), f"{reported['test']:,}"],
        ["Pixels", scale, NONE],
        ["Seeds", ", ".join(str(r.metrics["seed"]) for r in runs), NONE],
    ]
    if run.metrics.get("encoder_data"):
        rows.append(["The encoder was trained on", str(run.metrics["encoder_data"]), NONE])
    return _beside_the_report("Figure 1", "Data protocol", runs, rows)


def settings(runs: Sequence[StageRun]) -> Table:
    """Return the settings of a stage."""
    run, reported = runs[0], report()[runs[0].stage]["settings"]
    first, used = run.stage == "autoencoder", run.setting(run.stage)
    network, optimizer = used.get("network" if first else "head") or {}, used.get("optimizer") or {}
    loss = run.metrics.get("loss") if first else f"{run.metrics.get('loss')} on {used.get('loss_on')}"
    added = _node(used.get("regularizer"))
    done, wanted = sorted({len(run.metrics["epochs"]) for run in runs}), used.get("max_epochs")
    epochs = str(wanted) if done == [wanted] else f"{' or '.join(map(str, done))} of {_plain(wanted)}"
    layers = {name: run.layers(name) or NONE for name in reported["layers"]}
    if not first:
        layers["encoder"] += f", {run.encoder}"
    rows = [
        *([name.capitalize(), layers[name], theirs] for name, theirs in reported["layers"].items()),
        ["Activation", str(network.get("activation", NONE)), reported["activation"]],
        ["Loss", f"{loss} + {added}" if added else str(loss), reported["loss"]],
        ["Optimizer", _class(optimizer), reported["optimizer"]],
        ["Learning rate", _plain(optimizer.get("lr")), _plain(reported["lr"])],
        ["Weight decay", _plain(optimizer.get("weight_decay")), _plain(reported["weight_decay"])],
        ["Schedule", _class(used.get("scheduler") or {}), reported["schedule"]],
        ["Batch size", _plain(used.get("batch_size")), _plain(reported["batch_size"])],
        ["Epochs", epochs, _plain(reported["max_epochs"])],
    ]
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
    names = [name for name in runs[0].higher_is_better if name not in MEASURED["classifier"]]
    rows = [[name, final(runs, f"val/{name}"), final(runs, f"test/{name}")] for name in names]
    head = ["", "Validation images", "Test images"]
    return Table(BEYOND, f"Further metrics of the {runs[0].stage}", head, rows, numeric=True) if rows else None


def parts(runs: Sequence[StageRun]) -> Table | None:
    """Return the metric of each part of the test images, where their source names parts."""
    names = [*(runs[0].metrics.get("test_parts") or {})]  # such as test/accuracy/students
    if not names:
        return None
    rows = [[name.split("/", 2)[2], final(runs, name)] for name in names]
    note = str(runs[0].metrics.get("remark", "")) if runs[0].setting("data.val_size") else ""
    head = ["", "Accuracy" if "accuracy" in names[0] else "MSE per pixel"]
    return Table(BEYOND, "Parts of the test images", head, rows, note, numeric=True)


def references(runs: Sequence[StageRun]) -> Table | None:
    """Return our test MSE beside that of others with a code of as many numbers."""
    if runs[0].last("test/mse") is None or not beside_references(runs[0]):
        return None
    rows = [[ours(runs), final(runs, "test/mse"), ""]]
    rows += [[r["name"], f"{r['mse']:.5f}", r["source"]] for r in report()["references"]]
    return Table(BEYOND, "Test MSE of codes of 30 numbers", ["", "Test MSE", "Source"], rows)


def ours(runs: Sequence[StageRun]) -> str:
    """Return the heading of our column."""
    return "This run" if len(runs) == 1 else f"These {len(runs)} runs"


def loss(runs: Sequence[StageRun]) -> Table:
    """Return the loss of each epoch: of its last batch, beside the report's, and our mean."""
    run, reported, note = runs[0], report()[runs[0].stage], ""
    columns = {"Last batch": _column(runs, "train/loss_last"), "Mean": _column(runs, "train/loss")}
    if of_the_report(run) and loss_of_the_report(run):
        columns = {"Report": [*map(number, reported["loss"])]} | columns
        if run.stage == "classifier":
            softmax = run.setting("classifier.loss_on") == "softmax"
            columns["Last batch"] = _column(runs, softmax_key(runs), lambda value: number(value / 100))
            if softmax:
                columns["Mean"] = _column(runs, "train/loss", lambda value: number(value / 100))
            note = (
                " The report's loss and that of our last batch are a cross-entropy of softmax outputs divided by "
                f"100, at least {reported['loss_minimum']}; our mean is that of the loss that was trained"
                f"{', divided by 100' if softmax else ''}."
            )
    label = "Figure 8" if run.stage == "autoencoder" else "Figure 14"
    return _per_epoch(runs, label, f"Loss in each epoch ({run.metrics.get('loss')})", columns, note)


def accuracy(runs: Sequence[StageRun]) -> Table:
    """Return the accuracy of each epoch in percent, as `loss` has the loss."""
    beside = of_the_report(runs[0])
    columns = {"Report": [*map(str, report()["classifier"]["accuracy"])]} if beside else {}
    columns["Last batch"] = _column(runs, "train/accuracy_last", lambda value: f"{100 * value:.3g}")
    columns["Mean"] = _column(runs, "train/accuracy", lambda value: f"{100 * value:z.2f}")
    return _per_epoch(runs, "Figure 14", "Accuracy in each epoch (%)", columns)


def softmax_key(runs: Sequence[StageRun]) -> str:
    """Return the key of the last batch's cross-entropy of softmax outputs."""
    return "train/loss_last" if runs[0].setting("classifier.loss_on") == "softmax" else "train/softmax_loss_last"


def headline(runs: Sequence[StageRun]) -> Table | None:
    """Return the mean test accuracy of each run, with its 95 % Wilson interval."""
    reported = {"The report": report()["classifier"]["test/accuracy"]["text"]} if of_the_report(runs[0]) else {}
    rows = []
    for run in runs:
        if (value := run.last("test/accuracy")) is not None:
            name = "Mean test accuracy" if len(runs) == 1 else f"Seed {run.metrics['seed']}"
            rows.append([name, percent(value), interval(value, run.tested), *reported.values()])
    head = ["", "Accuracy", "95\u00a0% interval", *reported]
    note = "The interval is Wilson's, for the number of test images."
    return Table("Figure 19", "Mean test accuracy", head, rows, note) if rows else None


def classes(runs: Sequence[StageRun]) -> Table | None:
    """Return the classes that are recognised best and worst; the report's images with its confusion matrix."""
    matrices = [matrix for run in runs if (matrix := run.metrics.get("confusion_matrix"))]
    right = [sum(matrix[i][i] for matrix in matrices) for i in range(len(matrices[0]) if matrices else 0)]
    images = [sum(sum(matrix[i]) for matrix in matrices) for i in range(len(right))]
    shares = {i: right[i] / count for i, count in enumerate(images) if count}
    if not shares:
        return None
    best, worst = (choose(shares, key=shares.__getitem__) for choose in (max, min))
    rows = [
        [f"{name} recognised class", f"{runs[0].class_name(label)} ({percent(shares[label])})"]
        for name, label in (("Best", best), ("Worst", worst))
    ]
    if not of_the_report(runs[0]):
        return Table("Figure 21", "Classes in the confusion matrix", ["", ours(runs)], rows)
    reported = report()["classifier"]["confusion"]
    digit = reported["digit"]
    mean = shown(spread(matrix[digit][digit] for matrix in matrices), "{:,.4g}".format, len(runs))
    rows.append([f"Images of digit {digit} right", f"{mean} of {sum(matrices[0][digit]):,}"])
    theirs = (str(reported["best"]), NONE, f"{reported['correct']:,}")
    rows = [[*row, cell] for row, cell in zip(rows, theirs, strict=True)]
    return Table("Figure 21", "Classes in the confusion matrix", ["", ours(runs), "The report"], rows)


def interval(value: float, images: int) -> str:
    """Write the 95 % Wilson interval of an accuracy on `images` images, in percent."""
    if not images:
        return NONE
    low, high = wilson(value * images, images)
    return f"{100 * low:z.2f} to {percent(high)}"


def _beside_the_report(label: str, title: str, runs: Sequence[StageRun], rows: list[list[str]]) -> Table:
    marked = {i for i, (_, ours, theirs) in enumerate(rows) if NONE not in (ours, theirs) and ours != theirs}
    return Table(label, title, ["", ours(runs), "The report"], rows, marked=marked)


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


def _column(runs: Sequence[StageRun], key: str, form: Form = number) -> list[str]:
    return [shown(value, form, len(runs)) for value in across(runs, key)]


def _per_epoch(
    runs: Sequence[StageRun], label: str, title: str, columns: Mapping[str, Sequence[str]], note: str = ""
) -> Table:
    """Return a table with a row for each epoch, of a long training for every tenth."""
    if "Report" in columns:
        note = f" The report's numbers are those of the last batch of each epoch.{note}"
    count = max(map(len, columns.values()))
    rows = [
        [str(epoch), *cells]
        for epoch, cells in enumerate(zip_longest(*columns.values(), fillvalue=NONE), start=1)
        if epoch <= 10 or epoch % 10 == 0 or epoch == count
    ]
    if len(runs) > 1:
        note += f" Of {len(runs)} runs: mean ± standard deviation."
    note = f"The mean is over all batches of the epoch.{note}"
    return Table(label, title, ["Epoch", *columns], rows, note, numeric=True)
