"""Figures of images in any shape and colours, whose classes have names, and the components that they vary in."""

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_words import words
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.sources import Classes
from aeprobe_tools.figures import charts, gallery, pictures
from aeprobe_tools.figures.pca import FEW, principal_components

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


def dataset(count: int, classes: int, *shape: int) -> ImageDataset:
    images = torch.from_numpy(RANDOM.integers(0, 256, (count, *shape), np.uint8))
    return ImageDataset(images, torch.arange(count) % classes)


def mistaken(split: ImageDataset, classes: int) -> dict[str, torch.Tensor]:
    """Each image is taken for the next class, rather surely."""
    wrong = (split.labels + 1) % classes
    return {"label": wrong, "probabilities": 0.9 * torch.eye(classes)[wrong]}


def test_images_of_every_size_fit_into_a_figure() -> None:
    for shape, size in SIZES.items():
        images = RANDOM.random((2, *shape))
        made = pictures.scaled(images, 56)
        assert made.shape[1:] == size
        if max(shape[:2]) <= 84:  # each pixel is a square
            zoom = size[0] // shape[0]
            assert np.array_equal(made[:, ::zoom, ::zoom], images)
        else:
            assert made.mean() == pytest.approx(images.mean(), abs=0.05)


def test_colours_are_drawn_as_they_are() -> None:
    images = torch.zeros(2, 3, 10, 12, dtype=torch.uint8)
    images[0, 0], images[1, 2] = 255, 128
    drawn = pictures.samples(ImageDataset(images, torch.tensor([0, 1])), np.array([0, 1]), CLOTHES)
    (layer,) = drawn.figure.images
    colours = {tuple(pixel[:3]) for pixel in np.asarray(layer.get_array()).reshape(-1, 4) if pixel[3]}
    assert colours == {(255, 0, 0), (0, 0, 128)}
    two = pictures.shown(torch.stack([torch.ones(5, 4), torch.zeros(5, 4)]).unsqueeze(0))
    assert two.shape == (1, 5, 4)
    assert two.all()  # of other channels the first


def test_classes_are_called_by_their_names() -> None:
    labels = torch.arange(3).repeat_interleave(torch.tensor([5, 9, 2]))
    same = ImageDataset(torch.zeros(16, 1, 28, 28, dtype=torch.uint8), labels)
    histogram = pictures.class_histogram(dict.fromkeys(("train", "val", "test"), same), CLOTHES)
    assert histogram is not None
    assert "costs $5 or $6 (9 images); rarest: an extraordinarily long name (2)." in histogram.alt
    matrix = charts.confusion_matrix(np.diag([5, 9, 2]) + np.eye(3, k=1, dtype=int), CLOTHES)
    assert "best: an extraordinarily long name (100.0%); worst: T-shirt/top (83.3%)." in matrix.alt
    for drawing in (histogram, matrix):
        assert {"T-shirt/top", r"costs \$5 or \$6", "an extraordinaril…"} <= {*words(drawing.figure)}
        drawing.figure.canvas.draw()
    split, every = dataset(3, 3, 1, 28, 28), np.arange(3)
    mistakes = pictures.mistakes(split, mistaken(split, 3), CLOTHES)
    assert "T-shirt/top, predicted: costs $5 or $6" in mistakes.alt
    samples = pictures.samples(split, every, CLOTHES)
    assert samples.alt.endswith("labels: T-shirt/top, costs $5 or $6, an extraordinarily long name.")
    made = pictures.reconstructions(split, every, {1: split[:][0]}, CLOTHES)
    codes = pictures.codes(torch.randn(30, 2), np.arange(30) % 3, CLOTHES)
    assert all(drawing and "T-shirt/top" in words(drawing.figure) for drawing in (made, codes))


@pytest.mark.parametrize("count", [2, 20, 47])
def test_long_names_stay_inside_their_figures(count: int) -> None:
    names = Classes("class", [f"a long name, number {i}" for i in range(count)])
    split = dataset(60, count, 3, 32, 32)
    for drawing in (
        pictures.class_histogram(dict.fromkeys(("train", "val", "test"), split), names),
        charts.confusion_matrix(np.full((count, count), 1000), names),
        pictures.mistakes(split, mistaken(split, count), names),
        pictures.samples(split, np.arange(5), names),
    ):
        assert drawing is not None
        drawing.figure.draw_without_rendering()
        box, (width, height) = drawing.figure.get_tightbbox(), drawing.figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -1e-6, (drawing.title, box)


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
    gallery.add_projector(writer, torch.randn(5, 4), ["a", "two\nlines", "c", "d", "e"], images, 0)
    writer.close()
    (names,) = tmp_path.rglob("metadata.tsv")
    assert names.read_text().splitlines() == ["a", "two lines", "c", "d", "e"]
    assert [*tmp_path.rglob("sprite.png")]
    assert EventAccumulator(str(tmp_path)).Reload()
