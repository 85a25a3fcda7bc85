"""TensorBoard after a short real run, read from its files and from a server that is really started."""

import json
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPO, metrics, only, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from aeprobe.runs.metrics import distinct

EPOCHS = {"autoencoder": 11, "classifier": 2}
EVERY = 100
STEPS = EVERY * EPOCHS["autoencoder"]  # more points of a curve, and more images, than a server shows by itself
KINDS = {"autoencoder": ["loss"], "classifier": ["loss", "accuracy"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """`stage=all`, many epochs of few small batches each."""
    cwd = tmp_path_factory.mktemp("tensorboard")
    short = [f"trainer.limit_epochs={EPOCHS['autoencoder']}", f"trainer.limit_train_batches={EVERY}"]
    short += [f"trainer.figure_epochs={[*range(1, EPOCHS['autoencoder'])]}"]
    for stage, epochs in EPOCHS.items():
        short += [f"{stage}.max_epochs={epochs}", f"{stage}.batch_size=10"]
    result = train("trainer=debug", *short, f"data.root={root}", cwd=cwd)
    assert result.status == 0, result.err
    return only(cwd / "outputs" / "all")


def events(run: Path, stage: str) -> EventAccumulator:
    sizes = {"scalars": 0, "images": 0, "tensors": 0}
    return EventAccumulator(str(run / stage / "tensorboard"), size_guidance=sizes).Reload()


@pytest.mark.parametrize("stage", KINDS)
def test_scalars_are_all_there_and_equal_metrics_json(run: Path, stage: str) -> None:
    found, logged = metrics(run / stage), events(run, stage)
    kinds, steps = KINDS[stage], EVERY * EPOCHS[stage]
    points = {tag: [(e.step, e.value) for e in logged.Scalars(tag)] for tag in logged.Tags()["scalars"]}
    per_step = {"train/lr", *(f"train/{kind}_step" for kind in kinds)}
    per_epoch = {key for key in distinct(found["epochs"][0]) if "/" in key}
    once = {f"test/{kind}" for kind in kinds} | {f"final/val/{kind}" for kind in kinds}
    batches = {"test_batch_accuracy"} if stage == "classifier" else set()
    assert points.keys() == per_step | per_epoch | once | batches
    for tag in per_step:
        assert [step for step, _ in points[tag]] == [*range(1, steps + 1)]
    for tag in per_epoch:
        assert points[tag] == [(EVERY * row["epoch"], pytest.approx(row[tag])) for row in found["epochs"]]
    for tag in once:
        assert points[tag] == [(steps, pytest.approx(found["final"][tag.removeprefix("final/")]))]
    for tag in batches:
        assert points[tag] == [(i, pytest.approx(v)) for i, v in enumerate(found["test_batch_accuracy"], start=1)]
    longer = [tuple(curve) for curve in points.values() if len(curve) > 1]
    assert len(longer) == len({*longer})  # no curve has two names
    for row in found["epochs"] if stage == "classifier" else ():
        assert 1.4612 < row["train/softmax_loss_last"] < 2.4612  # the least and the most that it can be
        assert row["train/softmax_loss_last"] != row["train/loss_last"]


@pytest.mark.parametrize("stage", KINDS)
def test_every_figure_is_an_image_and_two_files(run: Path, stage: str) -> None:
    logged, folder = events(run, stage), run / stage / "figures"
    names = {path.stem for path in folder.glob("*.png")}
    assert {path.stem for path in folder.glob("*.json")} == names
    assert set(logged.Tags()["images"]) == {f"figures/{name}" for name in names}
    for name in names:
        images = logged.Images(f"figures/{name}")
        png = (folder / f"{name}.png").read_bytes()
        if name == "reconstructions":
            assert [image.step for image in images] == [*range(EVERY, STEPS + 1, EVERY)]
            assert images[0].encoded_image_string != images[1].encoded_image_string
        else:
            assert [image.step for image in images] == [EVERY * EPOCHS[stage]]
            assert images[0].encoded_image_string == png
            size = tuple(int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
            assert (images[0].width, images[0].height) == size


def test_figures_say_what_metrics_json_says(run: Path) -> None:
    def data(stage: str, name: str) -> dict[str, Any]:
        return dict(json.loads((run / stage / "figures" / f"{name}.json").read_text())["data"])

    first, second = metrics(run / "autoencoder"), metrics(run / "classifier")
    assert sum(map(sum, data("classifier", "confusion_matrix")["matrix"])) == 2000  # two batches of 1,000
    trace = sum(row[i] for i, row in enumerate(data("classifier", "confusion_matrix")["matrix"]))
    assert trace / 2000 == pytest.approx(second["final"]["test/accuracy"])
    assert data("classifier", "batch_accuracy")["mean"] == pytest.approx(second["final"]["test/accuracy"])
    assert data("classifier", "mistakes")["mistakes"] == 2000 - trace
    baseline = data("autoencoder", "pca_baseline")
    assert baseline["autoencoder_mse"] == pytest.approx(first["final"]["test/loss"], rel=1e-4)
    assert data("autoencoder", "val_loss")["value"] == [row["val/loss"] for row in first["epochs"]]
    assert data("autoencoder", "train_loss")["epoch_step"] == [*range(EVERY, STEPS + 1, EVERY)]
    rows = data("autoencoder", "reconstructions")
    assert rows["epochs"] == [*range(1, EPOCHS["autoencoder"] + 1)]
    assert rows["mse"][0] != rows["mse"][1]
    counts = data("autoencoder", "class_histogram")
    assert [sum(counts[split]) for split in ("train", "val", "test")] == [55_000, 5_000, 10_000]


@pytest.mark.parametrize("stage", KINDS)
def test_graph_hparams_and_projector(run: Path, stage: str) -> None:
    logged, folder = events(run, stage), run / stage / "tensorboard"
    parts = {
        part for node in logged.Graph().node for part in re.findall(r"\w+\[(encoder|decoder|head)\]", node.name)
    }
    assert parts == {"encoder", "decoder" if stage == "autoencoder" else "head"}
    content = HParamsPluginData.FromString(logged.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    values = {
        key: value.number_value or value.string_value for key, value in content.session_start_info.hparams.items()
    }
    layers = f"{'784-500-200-100-30' if stage == 'autoencoder' else '30-20-15-10'} with ReLU"
    expected = {
        "stage": stage,
        f"{stage}.optimizer.lr": 1e-3,
        f"{stage}.optimizer.weight_decay": 1e-5,
        f"{stage}.batch_size": 10,
        "layers": layers,
    }
    assert expected.items() <= values.items()
    assert {"seed", "autoencoder.network.widths", "classifier.head.widths", "data.val_size"} <= values.keys()
    projected = (folder / "projector_config.pbtxt").exists()
    assert projected == (stage == "autoencoder")
    if projected:
        config = (folder / "projector_config.pbtxt").read_text()
        paths = dict(re.findall(r'(tensor_path|metadata_path|image_path): "(.*)"', config))
        codes = (folder / paths["tensor_path"]).read_text().splitlines()
        assert (len(codes), len(codes[0].split("\t"))) == (1000, 30)
        labels = (folder / paths["metadata_path"]).read_text().split()
        assert labels[:5] == ["7", "1", "4", "4", "5"]  # every other one, as MNIST's test set begins
        assert (folder / paths["image_path"]).read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[str]:
    """The address of a TensorBoard on the run, with the options that `make tensorboard` gives it."""
    # `make test ARGS=…` may be what runs this, and hands its ARGS on
    asked = ["make", "--dry-run", "--no-print-directory", "tensorboard", "ARGS="]
    dry = subprocess.run(asked, cwd=REPO, capture_output=True, text=True, check=True)
    shown = shlex.split(dry.stdout.splitlines()[-1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run), "--host", "127.0.0.1"]
    command += ["--port", str(port), *shown[shown.index("localhost") + 1 :]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if len(json.loads(urllib.request.urlopen(f"{address}/data/runs").read())) == 2:
                    break
            except OSError:
                pass
            assert process.poll() is None, "the server ended"
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def test_a_real_server_shows_every_point(server: str, run: Path) -> None:
    def ask(path: str, body: dict[str, Any] | None = None) -> Any:
        content = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{server}/data/{path}", content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    assert ask("runs") == ["autoencoder/tensorboard", "classifier/tensorboard"]
    of = "run=autoencoder%2Ftensorboard"
    scalars = ask(f"plugin/scalars/scalars?{of}&tag=train%2Floss_step")
    assert [point[1] for point in scalars] == [*range(1, STEPS + 1)]
    images = ask(f"plugin/images/images?{of}&tag=figures%2Freconstructions&sample=0")
    assert [image["step"] for image in images] == [*range(EVERY, STEPS + 1, EVERY)]
    tags = ask("plugin/images/tags")
    assert len(tags["classifier/tensorboard"]) == 9
    statuses = [f"STATUS_{status}" for status in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
    columns = [{"metric": {"tag": tag}} for tag in ("final/val/loss", "test/loss", "test/accuracy")]
    wanted = {"allowedStatuses": statuses, "colParams": columns, "startIndex": 0, "sliceSize": 10}
    groups = ask("plugin/hparams/session_groups", {"experimentName": "", **wanted})["sessionGroups"]
    rows = {group["hparams"]["stage"]: group["metricValues"] for group in groups}
    assert rows.keys() == KINDS.keys()
    for stage, row in rows.items():
        final = metrics(run / stage)["final"]
        for value in row:
            tag = value["name"]["tag"].removeprefix("final/")
            assert value["value"] == pytest.approx(final[tag])
    assert {"test/accuracy", "test/loss"} < {value["name"]["tag"] for value in rows["classifier"]}
    projected = ask(f"plugin/projector/info?{of}")["embeddings"]
    assert projected[0]["tensorShape"] == [1000, 30]
