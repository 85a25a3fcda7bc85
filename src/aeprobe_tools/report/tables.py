"""Tables of the page: the settings of runs beside the report's, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import MODULE
from aeprobe.wording import NONE, number
from aeprobe_tools.pages import BEYOND, Table
from aeprobe_tools.report.comparison import beside_references, form_of, of_the_report, report, shown
from aeprobe_tools.results.seeds import spread
from aeprobe_tools.results.stage_run import StageRun

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
