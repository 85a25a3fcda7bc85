"""Figures of images in any shape and colours, whose classes have names, and the components that they vary in."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_words import words
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from aeprobe.data.sources import Classes
from aeprobe_tools.figures import charts, pictures, prepare, tensorboard
from aeprobe_tools.figures.pca import FEW, principal_components
from aeprobe_tools.figures.tiles import scaled

CLOTHES = Classes("class", ["T-shirt/top", "costs $5 or $6", "an extraordinarily long name"])
RANDOM = np.random.default_rng(0)
SIZES = {
    (28, 28): (56, 56),
    (32, 32, 3): (64, 64, 3),
    (7, 20): (21, 60),
    (100, 300): (25, 75),
    (3, 500): (1, 83),
    (1, 1): (56, 56),
}


def test_images_of_every_size_fit_into_a_figure() -> None:
    for shape, size in SIZES.items():
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
    drawn = pictures.samples(prepare.pixels(split, [0, 1]), np.array([0, 1]), np.array([0, 1]), CLOTHES)
    (layer,) = drawn.figure.images
    colours = {tuple(pixel[:3]) for pixel in np.asarray(layer.get_array()).reshape(-1, 4) if pixel[3]}
    assert colours == {(255, 0, 0), (0, 0, 128)}
    two = prepare.shown(torch.stack([torch.ones(5, 4), torch.zeros(5, 4)]).unsqueeze(0))
    assert two.shape == (1, 5, 4)
    assert two.all()  # of other channels the first


def test_classes_are_called_by_their_names() -> None:
    counts = {name: np.array([5, 9, 2]) for name in ("train", "val", "test")}
    histogram = charts.class_histogram(counts, names=CLOTHES)
    assert "costs $5 or $6 (9 images); rarest: an extraordinarily long name (2)." in histogram.alt
    matrix = charts.confusion_matrix(np.diag([5, 9, 2]) + np.eye(3, k=1, dtype=int), CLOTHES)
    assert "best: an extraordinarily long name (100.0%); worst: T-shirt/top (83.3%)." in matrix.alt
    for drawing in (histogram, matrix):
        assert {"T-shirt/top", r"costs \$5 or \$6", "an extraordinaril…"} <= {*words(drawing.figure)}
        drawing.figure.canvas.draw()
    images, labels = RANDOM.random((3, 28, 28)), np.arange(3)
    mistakes = pictures.mistakes(images, labels, labels[::-1], np.full(3, 0.9), (3, 10), CLOTHES)
    assert "T-shirt/top, predicted: an extraordinarily long name" in mistakes.alt
    samples = pictures.samples(images, labels, labels, CLOTHES)
    assert samples.alt.endswith("labels: T-shirt/top, costs $5 or $6, an extraordinarily long name.")
    made = pictures.reconstructions(images, labels, {1: images}, np.zeros((1, 3)), CLOTHES)
    codes = pictures.codes(RANDOM.random((30, 2)), np.arange(30) % 3, np.array([0.5, 0.2]), CLOTHES)
    assert all("T-shirt/top" in words(drawing.figure) for drawing in (made, codes))


@pytest.mark.parametrize("count", [2, 20, 47])
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


def test_words_below_small_images_do_not_cover_each_other() -> None:
    images, errors = RANDOM.random((10, 30, 6)), np.linspace(0.5, 0.1, 10)
    figure = pictures.best_and_worst(images, images, errors, np.arange(10), np.arange(10)).figure
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text().startswith("0.")]
    places = sorted((box.y0, box.x0, box.x1) for box in boxes)
    assert len(places) == 10
    for (row, _, end), (next_row, start, _) in pairwise(places):
        assert row != next_row or end < start


@pytest.mark.parametrize("features", [60, FEW + 100])
def test_principal_components_are_those_of_the_singular_value_decomposition(features: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(1, 0.02, 60) ** 3
    mixed = torch.randn(60, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(900, 60, generator=generator, dtype=torch.float64)
    for rows in ((100 + 20 * noise * scale @ mixed).float(), 255 + 1e-5 * noise * scale @ mixed):  # hardly vary
        mean, axes, shares = principal_components(rows, 10)
        centred = rows.double() - rows.double().mean(0)
        _, values, right = torch.linalg.svd(centred, full_matrices=False)
        torch.testing.assert_close(mean, rows.double().mean(0))
        torch.testing.assert_close(shares, (values**2 / (values**2).sum())[:10], rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(axes.T @ axes, torch.eye(10, dtype=torch.float64), rtol=0, atol=1e-9)
        lost, least = ((centred - centred @ a @ a.T).square().sum().item() for a in (axes, right[:10].T))
        assert lost == pytest.approx(least, rel=1e-5)
    equal = principal_components(torch.full((20, features), 7, dtype=torch.uint8), 3)
    assert equal[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 12, 10), (3, 300, 200)])
def test_the_projector_takes_images_of_every_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    writer = SummaryWriter(tmp_path)
    images = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)
    tensorboard.add_projector(writer, torch.randn(5, 4), ["a", "two\nlines", "c", "d", "e"], images, 0)
    writer.close()
    (names,) = tmp_path.rglob("metadata.tsv")
    assert names.read_text().splitlines() == ["a", "two lines", "c", "d", "e"]
    assert [*tmp_path.rglob("sprite.png")]
    assert EventAccumulator(str(tmp_path)).Reload()
