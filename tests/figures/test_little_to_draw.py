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
from page_reader import made
from pictures_made import idx

from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.mnist import FILES
from aeprobe.data.sources import Classes
from aeprobe_tools.figures import charts, pictures
from aeprobe_tools.figures.charts import History
from aeprobe_tools.wording import number, percent

NONSENSE = re.compile(r"-0\.0|−0\.0|-0%|\bnan\b|\binf\b|e\+\d|\d{4,}(\.\d+)?\s?%|(\S+) to \2\b|digit|959")
RANDOM = np.random.default_rng(0).integers(0, 256, (90, 28, 28))
WIDE = ["autoencoder.network.widths=[784,784]", "classifier.head.widths=[784,3]"]
NARROW = ["autoencoder.network.widths=[784,1]", "classifier.head.widths=[1,3]", "autoencoder.batch_size=1000"]
CASES = {"black": (0 * RANDOM, 0 * RANDOM[:40], WIDE), "one tested": (RANDOM, RANDOM[:1], NARROW)}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_run_on_little_says_no_nonsense(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train, test, typed = CASES[name]
    Path("own").mkdir()
    for split, images in (("train", train), ("test", test)):
        for file, values in zip(FILES[split], (images, np.arange(len(images)) % 3), strict=True):
            Path("own", file).write_bytes(idx(values))
    tiny = ["data=folder", "data.root=own", "trainer.limit_epochs=1", "data.val_size=1"]
    run_here(Path("run"), [*tiny, *typed])
    said = {}
    for stage in ("autoencoder", "classifier"):
        found = metrics(Path("run") / stage)
        assert (found["status"], found["not_drawn"]) == ("completed", {})
        for file in (Path("run") / stage / "figures").glob("*.json"):
            said[f"{stage} {file.stem}"] = json.loads(file.read_text())
    for figure, described in said.items():
        assert not NONSENSE.search(described["alt"]), (figure, described["alt"])
    page = made(Path("run"))
    text = page.text[: page.text.index("Where the numbers come from")]
    assert not NONSENSE.search(re.sub(r"\d+ to 100", "", text)), NONSENSE.search(text)
    if name == "black":
        pca = said["autoencoder pca_baseline"]
        assert (pca["data"]["pca_mse"], pca["data"]["components"]) == (0, 0)
        assert "PCA 0.0000 (components: 0)" in pca["alt"]
        assert said["autoencoder codes"]["alt"].endswith("of their codes: 0% of the variance.")


def test_the_baselines_error_is_that_of_its_residuals() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.full((60, 1, 28, 28), 200, dtype=torch.uint8)
    images[:, 0, 3, 4:7] += torch.randint(0, 2, (60, 3), generator=generator, dtype=torch.uint8)
    splits = dict.fromkeys(("train", "val", "test"), ImageDataset(images, torch.arange(60) % 3))
    drawn = pictures.pca_baseline(modules.autoencoder([784, 2]).eval(), splits, np.full(60, 0.25))
    flat = images.flatten(1).double() / 255
    values = torch.linalg.svdvals(flat - flat.mean(0))
    assert drawn.data["pca_mse"] == pytest.approx((values[2:] ** 2).sum().item() / flat.numel(), rel=1e-6)
    assert drawn.data["components"] == 2
    drawn = pictures.pca_baseline(modules.autoencoder([784, 784]).eval(), splits, np.full(60, 1e-12))
    assert drawn.data["pca_mse"] == 0
    assert "PCA 0.0000 (components: 3)" in drawn.alt  # the images vary in no more directions


def test_numbers_and_shares_have_one_form() -> None:
    assert [*map(number, (-0.0, 1.5e-5, math.nan, -math.inf, None))] == ["0.0000", "1.50e-05", "–", "–", "–"]
    assert [*map(percent, (-0.0, -1e-9, 1.0, math.nan))] == ["0.00\xa0%", "0.00\xa0%", "100.00\xa0%", "–"]


def test_curves_and_histograms_without_any_extent() -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    for values in (zeros, ones, np.array([1e-12, 0.5, 1e-12])):
        for what in ("loss", "accuracy"):
            rows = [{"epoch": i, f"train/{what}": v} for i, v in enumerate(values, start=1)]
            history = History(rows, {"step": [1, 2, 3], f"train/{what}_step": list(values)}, [1, 2, 3])
            low, high = history.training(2, 15, what, "a unit").figure.axes[0].get_ylim()
            assert -0.02 * high <= low < high
            assert what == "loss" or high < 1.1
    for errors in (zeros, 0.05 * ones, np.array([0.05, 0.05 + 1e-12]), np.array([0.1])):
        drawn = charts.error_histogram(errors)
        assert sum(drawn.data["counts"]) == len(errors)
        assert np.all(np.diff(drawn.data["edges"]) > 0)
    (axes,) = charts.batch_accuracy(np.array([0.5]), 7).figure.axes
    assert axes.get_title(loc="left") == "Accuracy of each test batch of 7"
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_equal_codes_one_class_and_no_mistake() -> None:
    one = charts.confusion_matrix(np.array([[0, 5], [0, 0]]), Classes("class"))
    assert one.alt.startswith("0 of 5 test images are classified right (0.00%). Recognised best: class 0 (0.0%);")
    same = pictures.codes(torch.full((30, 4), 0.3) + 1e-9 * torch.randn(30, 4), np.arange(30) % 10)
    assert same is not None
    assert same.data["explained"] == [0, 0]
    assert set(same.data["x"]) == set(same.data["y"]) == {0.0}
    low, high = same.figure.axes[0].get_ylim()
    assert all(low < text.get_position()[1] < high for text in same.figure.axes[0].texts)
    two = ImageDataset(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.arange(2))
    drawn = pictures.best_and_worst(modules.autoencoder([784, 2]), two, np.array([0.2, 0.1]))
    assert drawn is not None
    assert drawn.alt == "MSE of the worst test images: 0.2000; of the best: 0.1000."
    none = pictures.mistakes(two, {"label": two.labels, "probabilities": torch.eye(2)})
    assert "0 of 2" in none.alt
    none.figure.canvas.draw()
