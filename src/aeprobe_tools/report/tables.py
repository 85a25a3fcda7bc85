"""Tables of the page: the settings of runs beside the report's, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import MODULE
from aeprobe_tools.pages import BEYOND, Table
from aeprobe_tools.report.comparison import form_of, of_the_report, report, shown
from aeprobe_tools.results.seeds import spread
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.wording import NONE, number


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
    reported = report()[stage]["settings"]
    used = _group(run.setting(stage))
    network = _group(used.get("network", used.get("head")))
    optimizer, scheduler = _group(used.get("optimizer")), _group(used.get("scheduler"))
    loss = run.loss_name if stage == "autoencoder" else f"{run.loss_name} on {used.get('loss_on')}"
    loss = reported["loss"] if loss == "MSE per pixel" else f"{loss} outputs" if loss.endswith("softmax") else loss
    regularizer = _group(used.get("regularizer"))
    if weight := regularizer.get("weight"):
        agrees = _class(regularizer.get("_target_")) == "ClusterAgreement"
        term = f"the agreement of {regularizer.get('clusters')} clusters" if agrees else "that of its regularizer"
        loss = f"{loss} {'less' if agrees else 'plus'} {_plain(weight)} times {term}, which fades"
    rate = _plain(optimizer.get("lr"))
    if (own := used.get("encoder_lr")) is not None and run.encoder in ("finetuned", "scratch"):
        rate += f"; of the encoder {_plain(own)}"
    layers = run.layers("encoder" if stage == "autoencoder" else "head")
    rows = [
        ["Layers", layers or NONE, _widths(reported["widths"])],
        ["Activation", str(network.get("activation", NONE)), reported["activation"]],
        ["Loss", loss, reported["loss"]],
        ["Optimizer", _class(optimizer.get("_target_")), reported["optimizer"]],
        ["Learning rate", rate, _plain(reported["lr"])],
        ["Weight decay", _plain(optimizer.get("weight_decay")), _plain(reported["weight_decay"])],
        ["Schedule", _class(scheduler.get("_target_")), reported["schedule"]],
        ["Batch size", _plain(used.get("batch_size")), _plain(reported["batch_size"])],
        ["Epochs", _epochs(runs, used.get("max_epochs")), _plain(reported["max_epochs"])],
    ]
    if stage == "classifier":
        theirs = report()["autoencoder"]["settings"]["widths"]
        encoder = run.layers("encoder") or f"that of {run.metrics.get('ckpt')}"
        rows.insert(0, ["Encoder", f"{encoder}, {run.encoder}", f"{_widths(theirs)}, frozen"])
    else:
        mirrored = run.sizes("encoder") == run.sizes("decoder")[::-1]
        rows[0][0] = "Layers, then mirrored" if mirrored else "Layers of the encoder"
    rows += [["Besides", "; ".join(more), "nothing"]] if (more := _besides(used)) else []
    label = "Figure 13" if stage == "classifier" else "Figure 7"
    return _beside_the_report(label, "Training settings", runs, rows)


def _besides(used: Mapping[str, Any]) -> list[str]:
    """List the settings that the report's recipe has no row for."""
    augmentation, corruption = _group(used.get("augmentation")), _group(used.get("corruption"))
    network = _group(used.get("network", used.get("head")))
    pixels, epochs, hidden = augmentation.get("pixels"), augmentation.get("epochs"), corruption.get("p")
    noise = f"what the encoder sees corrupted by {_class(corruption.get('_target_'))}({_arguments(corruption)})"
    moved = f"images moved by up to {pixels} px" + (f" in the first {epochs} epochs" if epochs else "")
    words = {
        f"of class {_class(used.get('_target_'))}": used.get("_target_") not in (None, MODULE),
        "He initialisation": network.get("initialization") == "he",
        f"dropout of {_plain(network.get('dropout'))}": network.get("dropout"),
        "batch norm": network.get("batch_norm"),
        moved: pixels,
        f"{_plain(hidden)} of the pixels hidden": hidden,
        noise: corruption.get("_target_") and not hidden,
        "codes standardised": used.get("standardize"),
        f"noise of {_plain(used.get('code_noise'))} on the codes": used.get("code_noise"),
    }
    return [word for word, given in words.items() if given]


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
    """The metric of each part of the test images, where their source names parts."""
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
    alike = of_the_report(runs[0]) and runs[0].sizes("encoder")[-1:] == ["30"]
    if value is None or not alike:
        return None
    rows = [[r["name"], f"{r['mse']:.5f}", r["source"]] for r in report()["references"]]
    rows.insert(0, [ours(runs), shown(value, number, len(runs)), ""])
    return Table(BEYOND, "Test MSE of codes of 30 numbers", ["", "Test MSE", "Source"], rows)


def ours(runs: Sequence[StageRun]) -> str:
    """Return the heading of our column."""
    return "This run" if len(runs) == 1 else f"These {len(runs)} runs"


def _images(run: StageRun, split: str) -> str:
    counts = _group(run.data.get("images"))
    return f"{counts[split]:,}" if split in counts else NONE


def _beside_the_report(label: str, title: str, runs: Sequence[StageRun], rows: list[list[str]]) -> Table:
    marked = {i for i, (_, ours, theirs) in enumerate(rows) if NONE not in (ours, theirs) and ours != theirs}
    return Table(label, title, ["", ours(runs), "The report"], rows, marked=marked)


def _group(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


def _widths(widths: Any) -> str:
    return "-".join(map(str, widths)) if isinstance(widths, list) else NONE


def _class(target: Any) -> str:
    return "none" if target is None else str(target).rpartition(".")[2]


def _arguments(node: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_plain(value)}" for key, value in node.items() if not key.startswith("_"))


def _plain(value: Any) -> str:
    return NONE if value is None else f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def _epochs(runs: Sequence[StageRun], wanted: Any) -> str:
    done = sorted({len(run.epochs) for run in runs})
    return str(wanted) if done == [wanted] else f"{' or '.join(map(str, done))} of {_plain(wanted)}"
