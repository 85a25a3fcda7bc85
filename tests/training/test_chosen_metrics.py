"""Metrics that a person chooses by `metrics@STAGE.metrics=NAME`, or names by `_target_`."""

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import metrics, run_here, scalars, train
from torchmetrics.functional.classification import multiclass_f1_score
from torchmetrics.functional.image import peak_signal_noise_ratio

from aeprobe import load
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.mnist import EMNIST, KMNIST, FashionMNIST, IdxFolder
from aeprobe.errors import AeprobeError
from aeprobe_tools.evaluations.similarity import structural_similarity
from aeprobe_tools.results import table
from aeprobe_tools.results.folding import find_runs, summarize

FEW = ("trainer.limit_train_batches=20", "autoencoder.max_epochs=2", "classifier.max_epochs=2")
CLASSIFICATION = "torchmetrics.classification"
CHOSEN = (
    "metrics@autoencoder.metrics=ssim_psnr",
    "metrics@classifier.metrics=f1_macro",
    f"+classifier.metrics.top3={{_target_: {CLASSIFICATION}.MulticlassAccuracy, average: micro, top_k: 3}}",
)
MINE = """
import torch
from torchmetrics import Metric

class Never(Metric):
    higher_is_better = False
    def __init__(self):
        super().__init__()
        self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")
    def update(self, probabilities, labels):
        self.seen += len(labels)
    def compute(self):
        return torch.tensor(float("nan") if self.seen > 2 else 0.0)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    path = tmp_path_factory.mktemp("measured")
    less = ("trainer.limit_val_batches=1", "trainer.figures=false", "hydra.run.dir=run")
    done = train(*FEW, *CHOSEN, *less, f"data.root={root}", cwd=path)
    assert done.status == 0, done.err
    return path / "run"


def test_they_are_right_and_everywhere(measured: Path, root: Path) -> None:
    data = ImageDataModule(root=str(root))
    data.setup()
    images, labels = data.splits["test"][torch.arange(10_000)]
    classifier, autoencoder = load(measured), load(measured / "autoencoder")
    with torch.no_grad():
        logits, made = classifier(images), autoencoder(images)
    final = metrics(measured / "classifier")["final"]
    expected = multiclass_f1_score(logits, labels, 10, average="macro").item()
    assert final["test/f1_macro"] == pytest.approx(expected, abs=1e-6)
    three = (logits.topk(3).indices == labels[:, None]).any(1).float().mean().item()
    assert final["test/top3"] == pytest.approx(three, abs=1e-4)
    of_images = metrics(measured / "autoencoder")["final"]
    noise = peak_signal_noise_ratio(made, images, data_range=1.0).item()
    assert of_images["test/psnr"] == pytest.approx(noise, abs=1e-3)
    similar = structural_similarity(made, images).mean().item()  # which is scikit-image's: see test_denoising.py
    assert of_images["test/ssim"] == pytest.approx(similar, abs=1e-4)
    assert metrics(measured / "classifier")["higher_is_better"] == {
        "loss": False,
        "accuracy": True,
        "f1_macro": True,
        "top3": True,
    }
    rows = metrics(measured / "classifier")["epochs"]
    events = scalars(measured / "classifier")
    assert [value for _, value in events["val/f1_macro"]] == pytest.approx([row["val/f1_macro"] for row in rows])
    assert {"test/f1_macro", "final/val/f1_macro"} <= events.keys()
    page = (measured / "report.html").read_text()
    assert "Further metrics of the autoencoder" in page
    assert f"{final['test/f1_macro']:.4f}"[:5] in page


def test_the_halves_of_mnist_are_told_apart(
    measured: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ImageDataModule(root=str(root))
    data.setup()
    images, labels = data.splits["test"][torch.arange(10_000)]
    expected = {}
    with torch.no_grad():
        wrong = load(measured)(images).argmax(1) != labels
        lost = (load(measured / "autoencoder")(images) - images).square().mean((1, 2, 3))
    for part, place in {"students": slice(5000), "employees": slice(5000, 10_000)}.items():
        expected[f"test/accuracy/{part}"] = 1 - wrong[place].float().mean().item()
        expected[f"test/mse/{part}"] = lost[place].mean().item()
    found = [metrics(measured / stage) for stage in ("autoencoder", "classifier")]
    assert found[0]["test_parts"] | found[1]["test_parts"] == pytest.approx(expected, rel=1e-4)
    page = (measured / "report.html").read_text()
    assert page.count("Parts of the test images") == page.count("no writer of a test image did") == 2
    assert f"{100 * expected['test/accuracy/students']:.2f}\xa0%" in page
    assert table.main([str(measured)]) == 0
    assert "students" not in capsys.readouterr().out
    assert table.main([str(measured), "--by", "data.labels", "--markdown", "--show", "test/acc"]) == 0
    shown = capsys.readouterr().out
    assert "| classifier test/accuracy | classifier test/accuracy/students | classifier test/accuracy/emp" in shown
    assert "no writer of a test image did" in shown
    assert summarize(find_runs([measured]), metric="classifier test/accuracy/students")


def test_no_other_images_have_such_halves(tmp_path: Path) -> None:
    assert not any(kind(str(tmp_path)).parts for kind in (FashionMNIST, KMNIST, EMNIST, IdxFolder))


@pytest.mark.slow
def test_the_best_checkpoint_follows_the_metric_that_is_chosen(tmp_path: Path, root: Path) -> None:
    typed = ["stage=autoencoder", "trainer.figures=false", f"data.root={root}", CHOSEN[0]]
    typed += ["autoencoder.max_epochs=5", "trainer.limit_train_batches=2", "autoencoder.optimizer.lr=0.05"]
    run_here(tmp_path / "run", [*typed, "autoencoder.monitor=val/ssim", "trainer.limit_val_batches=1"])
    found = metrics(tmp_path / "run")
    assert found["final"]["val/ssim"] == max(row["val/ssim"] for row in found["epochs"])
    assert found["final"]["val/loss"] in [row["val/loss"] for row in found["epochs"]]


@pytest.mark.slow
def test_one_that_is_no_number_costs_no_run(tmp_path: Path, root: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    own = "+classifier.metrics.never={_target_: mine.Never}"
    done = train(*FEW, "trainer.figures=false", f"data.root={root}", own, "hydra.run.dir=run", cwd=tmp_path)
    assert done.status == 0, done.err
    found = json.loads((tmp_path / "run" / "classifier" / "metrics.json").read_text())
    assert found["final"]["test/never"] is None
    assert found["epochs"][0]["val/never"] is None


REFUSED = [
    ("objective=val/x +classifier.metrics.x=3", "classifier.metrics.x=3: must be a node"),
    ("classifier.monitor=val/stats", "stats: .*StatScores does not say whether more of it is better"),
    ("autoencoder.monitor=val/f1", "monitor=val/f1: the autoencoder has no such metric; there are val/loss, "),
    ("autoencoder.monitor=train/loss", "must be one of validation"),
    ("+autoencoder.metrics.loss={_target_: torchmetrics.image.PeakSignalNoiseRatio}", "must be another name"),
    (
        f"+classifier.metrics.x={{_target_: {CLASSIFICATION}.MulticlassF1Score, avarage: a}}",
        "classifier.metrics.x: .*avarage",
    ),
    ("+classifier.metrics.a-b={_target_: torchmetrics.MeanMetric}", "must be called by a name of letters"),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(
    typed: str, said: str, tmp_path: Path, root: Path
) -> None:
    target = f"{CLASSIFICATION}.MulticlassStatScores, average: none"
    more = [f"+classifier.metrics.stats={{_target_: {target}}}"] if "val/stats" in typed else []
    with pytest.raises(AeprobeError, match=said) as caught:
        run_here(tmp_path / "run", [*FEW, f"data.root={root}", *more, *re.split(r" (?=[+])", typed)])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
