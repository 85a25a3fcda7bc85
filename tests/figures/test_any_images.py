"""Figures of images in any shape and colours, whose classes have names."""

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_words import words
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from aeprobe.data.classes import Classes
from aeprobe_tools.figures import charts, prepare, pictures, tensorboard
from aeprobe_tools.figures.pca import FEW, principal_components
from aeprobe_tools.figures.tiles import scaled

CLOTHES = Classes("class", ["T-shirt/top", "costs $5 or $6", "an extraordinarily long name"])
RANDOM = np.random.default_rng(0)


def drawn(drawing: charts.Drawing) -> np.ndarray:
    """The layer of images of a figure."""
    (layer,) = drawing.figure.images
    return np.asarray(layer.get_array())


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((28, 28), (56, 56)),
        ((32, 32, 3), (64, 64, 3)),
        ((7, 20), (21, 60)),
        ((64, 64, 3), (64, 64, 3)),
        ((100, 300), (25, 75)),
        ((3, 500), (1, 83)),
        ((1, 1), (56, 56)),
    ],
)
def test_images_of_every_size_fit_into_a_figure(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    images = RANDOM.random((2, *shape))
    made = scaled(images, 56)
    assert made.shape[1:] == size
    if max(shape[:2]) <= 84:  # each pixel is a square
        zoom = size[0] // shape[0]
        assert np.array_equal(made[:, ::zoom, ::zoom], images)
    else:
        assert made.mean() == pytest.approx(images.mean(), abs=0.05)


def test_colours_are_drawn_as_they_are() -> None:
    images = torch.zeros(2, 3, 10, 12, dtype=torch.uint8)
    images[0, 0], images[1, 2] = 255, 128
    split = prepare.ImageDataset(images, torch.tensor([0, 1]))
    layer = drawn(pictures.samples(prepare.pixels(split, [0, 1]), np.array([0, 1]), np.array([0, 1]), CLOTHES))
    colours = {tuple(pixel[:3]) for pixel in layer.reshape(-1, 4) if pixel[3]}
    assert colours == {(255, 0, 0), (0, 0, 128)}
    two = prepare.shown(torch.stack([torch.ones(5, 4), torch.zeros(5, 4)]).unsqueeze(0))
    assert two.shape == (1, 5, 4)
    assert two.all()  # of other channels the first


def test_classes_are_called_by_their_names() -> None:
    counts = {name: np.array([5, 9, 2]) for name in ("train", "val", "test")}
    histogram = charts.class_histogram(counts, names=CLOTHES)
    assert "costs $5 or $6 is the most frequent with 9 images and an extraordinarily long name" in histogram.alt
    matrix = charts.confusion_matrix(np.diag([5, 9, 2]) + np.eye(3, k=1, dtype=int), CLOTHES)
    assert "An extra" not in matrix.alt
    assert "an extraordinarily long name is recognised best (100.0%) and T-shirt/top worst (83.3%)" in matrix.alt
    for drawing in (histogram, matrix):
        told = words(drawing.figure)
        assert {"T-shirt/top", r"costs \$5 or \$6", "an extraordinaril…"} <= {*told}
        drawing.figure.canvas.draw()
    images, labels = RANDOM.random((3, 28, 28)), np.arange(3)
    mistakes = pictures.mistakes(images, labels, labels[::-1], np.full(3, 0.9), (3, 10), CLOTHES)
    assert "T-shirt/top, predicted: an extraordinarily long name" in mistakes.alt
    samples = pictures.samples(images, labels, labels, CLOTHES)
    assert samples.alt.endswith("labelled T-shirt/top, costs $5 or $6, an extraordinarily long name.")
    made = pictures.reconstructions(images, labels, {1: images}, np.zeros((1, 3)), CLOTHES)
    assert "T-shirt/top" in words(made.figure)
    codes = pictures.codes(RANDOM.random((30, 2)), np.arange(30) % 3, np.array([0.5, 0.2]), CLOTHES)
    assert "large names stand" in codes.alt
    assert "T-shirt/top" in words(codes.figure)


@pytest.mark.parametrize("count", [2, 10, 20, 47])
def test_long_names_stay_inside_their_figures(count: int) -> None:
    names = Classes("class", [f"a long name, number {i}" for i in range(count)])
    counts = dict.fromkeys(("train", "val", "test"), np.arange(1, count + 1))
    images, labels = RANDOM.random((20, 32, 32, 3)), np.arange(20) % count
    for drawing in (
        charts.class_histogram(counts, names=names),
        charts.confusion_matrix(np.full((count, count), 1000), names),
        pictures.mistakes(images, labels, labels[::-1], np.full(20, 0.9), (20, 99), names),
        pictures.samples(images[:5], labels[:5], labels[:5], names),
    ):
        box, (width, height) = drawing.figure.get_tightbbox(), drawing.figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -1e-6, (drawing.title, box)


def test_digits_are_still_digits() -> None:
    counts = dict.fromkeys(("train", "val", "test"), np.array([5, 9]))
    assert "training split digit 1 is the most frequent" in charts.class_histogram(counts).alt
    assert "Digit 0 is recognised best" in charts.confusion_matrix(np.array([[5, 0], [1, 5]])).alt


def test_words_below_small_images_do_not_cover_each_other() -> None:
    images = RANDOM.random((10, 30, 6))
    errors = np.linspace(0.5, 0.1, 10)
    figure = pictures.best_and_worst(images, images, errors, np.arange(10), np.arange(10)).figure
    figure.canvas.draw()
    boxes = sorted(
        (box.y0, box.x0, box.x1)
        for text in figure.texts
        if text.get_text().startswith("0.")
        for box in [text.get_window_extent()]
    )
    assert len(boxes) == 10
    for (row, _, end), (next_row, start, _) in pairwise(boxes):
        assert row != next_row or end < start


def test_components_of_rows_with_many_features_are_those_of_the_singular_value_decomposition() -> None:
    generator = torch.Generator().manual_seed(0)
    features = FEW + 100
    scale = torch.linspace(1, 0.02, 60) ** 3
    mixed = torch.randn(60, features, generator=generator, dtype=torch.float64)
    rows = (100 + 20 * torch.randn(900, 60, generator=generator, dtype=torch.float64) * scale @ mixed).float()
    mean, axes, shares = principal_components(rows, 10)
    centred = rows.double() - rows.double().mean(0)
    _, values, right = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(mean, rows.double().mean(0))
    torch.testing.assert_close(shares, (values**2 / (values**2).sum())[:10], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(axes.T @ axes, torch.eye(10, dtype=torch.float64), rtol=0, atol=1e-9)
    lost, least = ((centred - centred @ a @ a.T).square().sum().item() for a in (axes, right[:10].T))
    assert lost == pytest.approx(least, rel=1e-5)
    again = principal_components(rows, 10)
    assert torch.equal(again[1], axes)
    equal = principal_components(torch.full((20, features), 7, dtype=torch.uint8), 3)
    assert equal[2].tolist() == [0, 0, 0]


def test_components_of_large_pictures_take_seconds() -> None:
    rows = torch.randint(0, 256, (2000, 3 * 64 * 64), dtype=torch.uint8)
    started = time.monotonic()
    principal_components(rows, 30)
    assert time.monotonic() - started < 60  # the products of all features would take 1.2 GB and minutes


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 12, 10), (3, 300, 200)])
def test_the_projector_takes_images_of_every_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    writer = SummaryWriter(tmp_path)
    images = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)
    tensorboard.add_projector(writer, torch.randn(5, 4), ["a", "two\nlines", "c", "d", "e"], images, 0)
    writer.close()
    (names,) = tmp_path.rglob("metadata.tsv")
    assert names.read_text().splitlines() == ["a", "two lines", "c", "d", "e"]
    assert [*tmp_path.rglob("sprite.png")]
    assert EventAccumulator(str(tmp_path)).Reload()
