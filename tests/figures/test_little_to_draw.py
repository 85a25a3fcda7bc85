"""Images that are equal, few or reconstructed without error: no nonsense in a picture, a table or a sentence."""

import json
import math
import re
from pathlib import Path

import aeprobe.runtime  # noqa: F401

import modules
import numpy as np
import pytest
import torch
from conftest import metrics, run_here
from drawn_words import words
from finished_runs import metrics as finished
from page_reader import made

from aeprobe.data.classes import Classes
from aeprobe.data.idx_files import FILES
from aeprobe_tools.figures import charts, of_run, pictures
from aeprobe_tools.figures.curves import History
from aeprobe_tools.figures.pca import principal_components
from aeprobe_tools.report.comparison import fitting, wilson
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.wording import beside, number, percent

NONSENSE = re.compile(r"-0\.0|−0\.0|-0%|\bnan\b|\binf\b|e\+\d|\d{4,}(\.\d+)?\s?%|(\S+) to \2\b|digit|959")
TINY = ["data=folder", "data.root=own", "trainer.limit_epochs=1"]


def write(path: Path, train: np.ndarray, test: np.ndarray, classes: int) -> None:
    path.mkdir()
    for split, images in (("train", train), ("test", test)):
        pixels, labels = (path / name for name in FILES[split])
        sizes = b"".join(n.to_bytes(4, "big") for n in (2051, len(images), 28, 28))
        pixels.write_bytes(sizes + images.astype(np.uint8).tobytes())
        head = b"".join(n.to_bytes(4, "big") for n in (2049, len(images)))
        labels.write_bytes(head + bytes(i % classes for i in range(len(images))))


RANDOM = np.random.default_rng(0).integers(0, 256, (90, 28, 28))
GREY = np.full((90, 28, 28), 77)
SQUARE, NARROW = (["autoencoder.network.widths=[784,784]"], ["autoencoder.network.widths=[784,1]"])
CASES = {
    "equal": (GREY, GREY[:40], 2, ["data.val_size=10"]),
    "black": (0 * GREY, 0 * GREY[:40], 3, ["data.val_size=1", *SQUARE, "classifier.head.widths=[784,3]"]),
    "one tested": (RANDOM, RANDOM[:1], 3, ["data.val_size=1", "autoencoder.batch_size=1000"]),
    "one number": (RANDOM, RANDOM[:2], 2, ["data.val_size=0", *NARROW, "classifier.head.widths=[1,2]"]),
    "many classes": (RANDOM, RANDOM[:40], 40, ["data.val_size=10", "classifier.head.widths=[30,40]"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_run_on_little_says_no_nonsense(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train, test, classes, typed = CASES[name]
    write(tmp_path / "own", train, test, classes)
    run_here(Path("run"), [*TINY, *typed])
    said = {}
    for stage in ("autoencoder", "classifier"):
        found = metrics(Path("run") / stage)
        assert (found["status"], found["not_drawn"]) == ("completed", {})
        for file in (Path("run") / stage / "figures").glob("*.json"):
            figure = json.loads(file.read_text())
            said[f"{stage} {file.stem}"] = figure["alt"]
            if file.stem == "pca_baseline":
                pca = figure["data"]
    for figure, alt in said.items():
        assert not NONSENSE.search(alt), (figure, alt)
    page = made(Path("run"))
    text = page.text[: page.text.index("Where the numbers come from")]
    assert not NONSENSE.search(re.sub(r"\d+ to 100", "", text)), NONSENSE.search(text)
    if name in ("equal", "black"):
        assert (pca["pca_mse"], pca["components"]) == (0, 0)
        assert "more than PCA 0.0000 (components: 0)" in said["autoencoder pca_baseline"]
        assert said["autoencoder codes"] == "40 test images, without any difference between codes."
    if name == "one tested":
        assert said["classifier batch_accuracy"].startswith("The one test batch, of 1, has an accuracy of ")
    assert "Best recognised class" in page.text


def test_principal_components_of_rows_that_hardly_vary() -> None:
    noise = torch.randn(400, 6, generator=torch.Generator().manual_seed(0)).double()
    rows = 255 + 1e-5 * noise @ torch.diag(torch.arange(1, 7).double())
    mean, axes, shares = principal_components(rows, 6)
    values, directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[1:]
    assert torch.allclose(mean, rows.mean(0), rtol=1e-12)
    assert torch.allclose(shares, values**2 / (values**2).sum(), rtol=1e-4)
    assert torch.allclose((axes.T @ directions.T).abs(), torch.eye(6).double(), atol=1e-4)
    equal = principal_components(torch.full((33, 4), 0.1), 2)
    assert (equal[0] - 0.1).abs().max() < 1e-8
    assert equal[2].tolist() == [0, 0]


def test_the_baselines_error_is_that_of_its_residuals() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.full((60, 1, 28, 28), 200, dtype=torch.uint8)
    images[:, 0, 3, 4:7] += torch.randint(0, 2, (60, 3), generator=generator, dtype=torch.uint8)
    split = of_run.ImageDataset(images, torch.arange(60) % 3)
    module = modules.autoencoder([784, 2]).eval()
    drawn = of_run._pca_baseline(module, dict.fromkeys(("train", "val", "test"), split), np.full(60, 0.25))
    flat = images.flatten(1).double() / 255
    values = torch.linalg.svdvals(flat - flat.mean(0))
    assert drawn.data["pca_mse"] == pytest.approx((values[2:] ** 2).sum().item() / flat.numel(), rel=1e-6)
    assert drawn.data["components"] == 2
    assert "more than PCA" in drawn.alt
    module = modules.autoencoder([784, 784]).eval()
    drawn = of_run._pca_baseline(module, dict.fromkeys(("train", "val", "test"), split), np.full(60, 1e-12))
    assert drawn.data["pca_mse"] == 0
    assert drawn.data["components"] == 3  # the images vary in no more directions
    assert "as much as PCA 0.0000 (components: 3)" in drawn.alt


def test_numbers_and_shares_have_one_form() -> None:
    assert [number(value) for value in (-0.0, 0.0, 1.5e-5, math.nan, -math.inf, None)] == [
        *("0.0000", "0.0000", "1.50e-05", "–", "–", "–")
    ]
    assert [percent(value) for value in (-0.0, -1e-9, 1.0, math.nan)] == [
        "0.00\xa0%",
        "0.00\xa0%",
        "100.00\xa0%",
        "–",
    ]
    assert beside(0.02, 0.01) == "100% more than"
    assert beside(1.0, 1e-6) == "more than 1,000 times"
    assert beside(0.3, 0.0) == "more than"
    assert beside(0.0, 0.3) == "100% less than"
    assert beside(0.0, 0.0) == beside(1e-9, 1e-12) == beside(0.1, 0.1 + 1e-9) == "as much as"
    for right, total in ((0, 1), (1, 1), (0, 7), (10_000, 10_000)):
        low, high = wilson(right, total)
        assert 0 <= low <= high <= 1


def test_sentences_on_fitting_need_no_loss_above_zero() -> None:
    def said(train: float, val: list[float | None]) -> str:
        of = finished("classifier")
        for row, loss in zip(of["epochs"][-len(val) :], val, strict=True):
            row["val/loss"] = loss
        of["final"] |= {"train/loss": train, "val/loss": val[-1]}
        return fitting([StageRun(Path("run"), of)])

    assert said(0.0, [0.5]) == "It overfits: the validation loss, 0.5000, is above the training loss, 0.0000."
    assert said(0.0, [0.0]).endswith("the validation loss, 0.0000, is as large as the training loss, 0.0000.")
    assert said(0.25, [0.3, 0.25]).endswith("fell by 16.7% in the last epoch, so that more training would help.")
    assert said(0.25, [0.3, None, None, 0.25]).endswith(
        "16.7% in the last 3 epochs, so that more training would help."
    )  # type: ignore[list-item]
    assert "times the training loss" in said(0.001, [0.5])
    assert said(0.5, [0.0, 0.5]).startswith("No sign of over- or underfitting")


def test_curves_and_histograms_without_any_extent() -> None:
    zeros, ones = np.zeros(3), np.ones(3)

    def history(what: str, values: np.ndarray) -> History:
        rows = [{"epoch": i, f"train/{what}": v, f"val/{what}": v} for i, v in enumerate(values, start=1)]
        return History(rows, {"step": [1, 2, 3], f"train/{what}_step": list(values)}, [1, 2, 3])

    curve = history("loss", zeros).validation(1, 10, "loss", "MSE")
    assert curve is not None
    assert curve.alt.startswith("The validation loss is 0.0000 in epoch 1 and in epoch 3;")
    for value in (zeros, ones, np.array([1e-12, 0.5, 1e-12])):
        for what in ("loss", "accuracy"):
            drawn = history(what, value).training(2, 15, what, "a unit")
            low, high = drawn.figure.axes[0].get_ylim()
            assert -0.02 * high <= low < high
            assert what == "loss" or high < 1.1
    for errors in (zeros, 0.05 * ones, np.array([0.05, 0.05 + 1e-12]), np.array([0.1])):
        drawn = charts.error_histogram(errors)
        edges = drawn.data["edges"]
        assert sum(drawn.data["counts"]) == len(errors)
        assert 0 <= edges[0] < edges[-1] <= 1.1 * max(errors) + 1e-6
        assert np.all(np.diff(edges) > 0)
    one = charts.batch_accuracy(np.array([0.5, 1.0]), 101)
    assert one.data["mean"] == pytest.approx(51 / 101)
    assert "2 test batches of 100 (the last of 1)" in one.alt
    ticks = charts.batch_accuracy(np.array([0.5]), 7)
    assert "Accuracy of each test batch of 7" in words(ticks.figure)
    (axes,) = ticks.figure.axes
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_equal_classes_and_equal_codes() -> None:
    matrix = np.diag([3, 3, 0])
    assert charts.confusion_matrix(matrix, Classes("class")).alt.endswith(
        "Every class is recognised as well as every other (100.0%)."
    )
    one = charts.confusion_matrix(np.array([[0, 5], [0, 0]]), Classes("class"))
    assert one.alt == "0 of 5 test images are classified right (0.00%). All of them are of class 0."
    same = of_run._codes(torch.full((30, 4), 0.3) + 1e-9 * torch.randn(30, 4), np.arange(30) % 10)
    assert same is not None
    assert same.data["explained"] == [0, 0]
    assert set(same.data["x"]) == set(same.data["y"]) == {0.0}
    low, high = same.figure.axes[0].get_ylim()
    assert all(low < text.get_position()[1] < high for text in same.figure.axes[0].texts)
    counts = dict.fromkeys(("train", "val", "test"), np.full(3, 7))
    alone = {name: np.array([7]) for name in ("train", "val", "test")}
    assert charts.class_histogram(alone, names=Classes("class")).alt.endswith("All are of one class.")
    assert charts.class_histogram(counts, names=Classes("class")).alt.endswith(
        "The training split has 7 of each class."
    )


def test_no_mistake_and_one_pair_of_extremes() -> None:
    image = np.zeros((2, 28, 28))
    drawn = pictures.best_and_worst(image, image, np.array([0.2, 0.1]), np.arange(2), np.arange(2))
    assert drawn.alt == "MSE of the worst test images: 0.2000; of the best: 0.1000."
    drawn = pictures.pca_baseline(image, image, image, (1e-9, 0.02), 1, 5)
    assert drawn.alt == "MSE on the test set: autoencoder 0.0200, more than PCA 1.00e-09 (components: 1)."
