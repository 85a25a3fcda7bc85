"""The figures by their content, and those that short runs draw."""

import io
import json
import re
from pathlib import Path

import aeprobe.runtime  # noqa: F401

import modules
import numpy as np
import pytest
import torch
from conftest import metrics, run_here
from drawn_words import words
from images import write_folder
from matplotlib.image import imread

from aeprobe.data.datamodule import ImageDataset
from aeprobe.errors import AeprobeError
from aeprobe.models.autoencoder import Autoencoder
from aeprobe_tools.figures import charts, pictures
from aeprobe_tools.figures.charts import History
from aeprobe_tools.figures.diagram import architecture

RNG = np.random.default_rng(0)


def dataset(count: int) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return ImageDataset(images, torch.arange(count) % 4)


def of_classes(counts: np.ndarray) -> ImageDataset:
    """Images of so many of each class."""
    return ImageDataset(torch.empty(0), torch.from_numpy(np.arange(len(counts)).repeat(counts)))


def measured(module: Autoencoder, split: ImageDataset, count: int) -> tuple[torch.Tensor, np.ndarray]:
    """Codes and errors of the first images, as the module keeps them when it is tested."""
    images = split[:count]
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    module.test_outputs.clear()
    with torch.no_grad():
        module.test_step(images, 0)
    return module.test_outputs["codes"][0], module.test_outputs["errors"][0].numpy()


def test_histogram_bars_are_the_class_counts() -> None:
    counts = {"train": np.arange(10) + 5, "val": np.arange(10), "test": np.full(10, 3)}
    drawn = pictures.class_histogram({name: of_classes(values) for name, values in counts.items()})
    assert drawn is not None
    heights = [bar.get_height() for bar in drawn.figure.axes[0].patches]
    assert heights == [*counts["train"], *counts["val"], *counts["test"]]
    assert drawn.data == {name: values.tolist() for name, values in counts.items()}
    assert "95 training, 45 validation, 30 test" in drawn.alt
    assert "Most frequent in training: digit 9 (14 images); rarest: digit 0 (5)." in drawn.alt
    shared = pictures.class_histogram(dict.fromkeys(counts, of_classes(np.full(10, 7))))  # val is test
    assert shared is not None
    assert len(shared.figure.axes[0].patches) == 20
    assert any("test = validation" in word for word in words(shared.figure))


def test_confusion_matrix_writes_every_count_and_names_best_and_worst() -> None:
    matrix = np.diag(np.arange(10, 20))
    matrix[3, 5], matrix[8, 0] = 4, 1
    drawn = charts.confusion_matrix(matrix)
    texts = [t.get_text() for t in drawn.figure.axes[0].texts]
    assert sum(map(int, texts)) == matrix.sum() == np.sum(drawn.data["matrix"])
    assert drawn.data["class_accuracy"][3] == pytest.approx(13 / 17)
    assert f"{np.trace(matrix) / matrix.sum():.2%}" in drawn.alt
    assert "worst: digit 3 (76.5%)" in drawn.alt
    drawn = charts.confusion_matrix(np.diag([5, 0, 2]))
    assert drawn.data["class_accuracy"] == [1, None, 1]
    assert "no image" in words(drawn.figure)


def test_training_curve_is_thinned_and_says_so() -> None:
    step = np.arange(1, 6001)
    rows = [{"epoch": 1, "train/loss": 0.02}, {"epoch": 2, "train/loss": 0.01}]
    history = History(rows, {"step": step, "train/loss_step": 1 / step}, [3000, 6000])
    drawn = history.training(1, 9, "loss", "MSE per pixel")
    assert (drawn.data["every"], drawn.data["step"][:2]) == (3, [1, 4])
    assert len(drawn.data["step"]) == len(drawn.data["value"]) == 2000
    np.testing.assert_array_equal(drawn.figure.axes[0].lines[0].get_ydata(), drawn.data["value"])
    assert drawn.data["epoch_mean"] == [0.02, 0.01]
    assert "one step in 3" in words(drawn.figure)
    assert "1.0000 at step 1, 0.0002 at step 6,000" in drawn.alt
    assert "0.0200 in epoch 1, 0.0100 in epoch 2." in drawn.alt


def test_curves_skip_epochs_without_validation_and_need_one_step_alone() -> None:
    rows = [{"epoch": 1, "train/loss": 3.0}, {"epoch": 2, "train/loss": 2.0, "val/loss": 1.0}]
    history = History(rows, {"step": [1, 2], "train/loss_step": [3.0, 2.0]}, [1, 2])
    drawn = history.validation(1, 10, "loss", "MSE")
    assert drawn is not None
    assert drawn.data == {"epoch": [2], "value": [1.0], "train": [2.0]}
    assert "Validation loss: 1.0000 in epoch 2;" in drawn.alt
    assert history.validation(1, 10, "accuracy", "accuracy") is None
    one = History([{"epoch": 1, "train/accuracy": 0.4}], {"step": [1], "train/accuracy_step": [0.5]}, [1])
    assert one.training(2, 17, "accuracy", "accuracy").data["value"] == [0.5]


def test_means_of_batches_and_of_images() -> None:
    values = RNG.integers(85, 100, 100) / 100
    drawn = charts.batch_accuracy(values, 10_000)
    assert drawn.data["mean"] == pytest.approx(values.mean())
    assert f"mean accuracy {values.mean():.2%}" in drawn.alt
    np.testing.assert_array_equal(drawn.figure.axes[0].lines[0].get_ydata(), values)
    assert charts.batch_accuracy(np.array([0.5, 1.0]), 101).data["mean"] == pytest.approx(51 / 101)
    errors = RNG.gamma(4, 0.004, 500)
    drawn = charts.error_histogram(errors)
    assert sum(drawn.data["counts"]) == 500
    assert drawn.data["mean"] == pytest.approx(errors.mean())


def test_architecture_counts_parameters_as_torch_does() -> None:
    module = modules.classifier([784, 12, 5], [5, 12, 10], "GELU")
    drawn = architecture(module)
    total, encoder = (sum(p.numel() for p in part.parameters()) for part in (module, module.encoder))
    assert sum(sum(part["parameters"]) for part in drawn.data.values()) == total
    assert f"{total:,} parameters" in " ".join(words(drawn.figure))
    assert drawn.alt.startswith(
        f"Encoder 784-12-5 with GELU, output linear, {encoder:,} parameters, frozen; head 5-12-10"
    )
    assert [w for w in words(drawn.figure) if w.isdigit()].count("12") == 2
    assert "Softmax" in words(drawn.figure)


def test_reconstruction_rows_are_drawn_as_mnist_shows_them() -> None:
    images = torch.zeros(3, 1, 28, 28)
    images[..., 2:8, 20:] = 1  # top right: shows inversion, mirroring and transposition
    made = {1: images * 0.2, 5: images * 0.9}
    split = ImageDataset((255 * images).byte(), torch.arange(3))
    drawn = pictures.reconstructions(split, np.arange(3), made)
    assert drawn is not None
    assert drawn.data["mean_mse"] == pytest.approx([0.8**2 * 48 / 784, 0.1**2 * 48 / 784], rel=1e-5)
    drawn.figure.savefig(png := io.BytesIO(), format="png")
    png.seek(0)
    shown = imread(png)[..., 0]
    tiles = [shown[top : top + 56, 124 : 124 + 56] for top in (38, 118, 198)]  # the first image in each row
    np.testing.assert_array_equal(tiles[0], np.kron(images[0, 0], np.ones((2, 2))))
    assert [tile.max() for tile in tiles] == pytest.approx([1, 0.2, 0.9], abs=0.01)
    assert "0.0392 after epoch 1, 0.0006 after epoch 5" in drawn.alt


def test_pca_baseline_is_on_the_scale_of_the_loss() -> None:
    plain = dataset(120)
    splits, of = dict.fromkeys(("train", "val", "test"), plain), {}
    for name, mean, std in (("plain", 0.0, 1.0), ("scaled", 0.5, 0.25)):
        module = modules.autoencoder([784, 8, 5], mean=mean, std=std).eval()
        errors = measured(module, plain, 120)[1]
        of[name] = pictures.pca_baseline(module, splits, errors).data
    flat = plain.images.flatten(1).double() / 255
    values = torch.linalg.svdvals(flat - flat.mean(0))
    assert of["plain"]["pca_mse"] == pytest.approx((values[5:] ** 2).sum().item() / flat.numel(), rel=1e-4)
    assert of["scaled"]["pca_mse"] == of["plain"]["pca_mse"]  # both in [0, 1], whatever the encoder sees
    assert 0 < of["scaled"]["autoencoder_mse"] < 1
    assert of["scaled"]["components"] == 5


def test_best_and_worst_are_the_extremes() -> None:
    module, split = modules.autoencoder([784, 8, 5]).eval(), dataset(50)
    codes, errors = measured(module, split, 50)
    drawn = pictures.best_and_worst(module, split, errors)
    assert drawn is not None
    ranked = sorted(errors, reverse=True)
    assert drawn.data["mse"] == pytest.approx([*ranked[:10], *ranked[-10:]])
    assert codes.shape == (50, 5)
    with torch.no_grad():
        loss = (module(split[:][0]) - split[:][0]).square().mean()
    assert errors.mean() == pytest.approx(loss.item(), rel=1e-5)


def test_mistakes_are_wrong_and_ordered_by_confidence() -> None:
    torch.manual_seed(0)
    module, split = modules.classifier([784, 8], [8, 6]).eval(), dataset(80)
    drawn = pictures.mistakes(split, module.predict(split.images))
    assert all(t != p for t, p in zip(drawn.data["true"], drawn.data["predicted"], strict=True))
    assert drawn.data["probability"] == sorted(drawn.data["probability"], reverse=True)
    with torch.no_grad():
        right = (module(split[:][0]).argmax(1) == split.labels).sum().item()
    assert drawn.data["mistakes"] == 80 - right >= len(drawn.data["true"])


def test_the_shown_images_are_one_of_each_class() -> None:
    labels = torch.tensor([3, 3, 1, 0, 1, 0, 3])
    chosen = pictures.one_of_each(labels, 0)
    assert labels[chosen].tolist() == [0, 1, 3]
    assert len(pictures.one_of_each(torch.arange(40) % 26, 0)) == 10


NAMES = {
    "autoencoder": "architecture loss_per_epoch train_loss val_loss reconstructions pca_baseline "
    "best_and_worst error_histogram class_histogram samples",  # no codes: one number spans no plane
    "classifier": "architecture loss_and_accuracy_per_epoch train_loss train_accuracy val_loss val_accuracy "
    "batch_accuracy confusion_matrix mistakes",
}


def drawn_names(run: Path) -> set[str]:
    names = {path.stem for path in (run / "figures").glob("*.png")}
    for name in names:
        described = json.loads((run / "figures" / f"{name}.json").read_text())
        assert described.keys() == {"report", "title", "alt", "data"}
        assert re.search(r"\d.*\.$", described["alt"]), name
    return names


@pytest.mark.slow
def test_tiny_runs_with_other_widths_and_few_classes_draw_everything(tmp_path: Path) -> None:
    write_folder(tmp_path / "images")
    own = ["trainer=debug", "data=folder", f"data.root={tmp_path}/images", "classifier.head.widths=[1,7]"]
    limits = ["data.val_size=0", "trainer.limit_test_batches=1", "data.eval_batch_size=30"]
    run_here(tmp_path / "all", [*own, *limits, "autoencoder.network.widths=[784,20,1]"])
    for stage, names in NAMES.items():
        assert drawn_names(tmp_path / "all" / stage) == {*names.split()}
    final = metrics(tmp_path / "all" / "autoencoder")["final"]
    histogram = json.loads((tmp_path / "all/autoencoder/figures/error_histogram.json").read_text())["data"]
    assert sum(histogram["counts"]) == 30
    assert histogram["mean"] == pytest.approx(final["test/loss"], rel=1e-5)
    alone = [*own, f"ckpt={tmp_path / 'all'}", "stage=classifier"]
    run_here(tmp_path / "alone", alone)
    assert drawn_names(tmp_path / "alone") == {*NAMES["classifier"].split(), "class_histogram", "samples"}
    run_here(tmp_path / "test", [*own[:-1], f"ckpt={tmp_path / 'all'}", "stage=test"])
    assert drawn_names(tmp_path / "test") == {"architecture", "batch_accuracy", "confusion_matrix", "mistakes"}
    without = run_here(tmp_path / "without", [*alone, "trainer.figures=false"])["classifier"]
    assert not (tmp_path / "without" / "figures").exists()
    assert without["final"] == metrics(tmp_path / "alone")["final"]  # figures change no weight


def test_an_epoch_before_the_first_is_refused() -> None:
    with pytest.raises(AeprobeError, match=r"trainer.figure_epochs=\[0\]: must be epochs, counted from 1"):
        run_here(Path("nowhere"), ["trainer.figure_epochs=[0]"])
