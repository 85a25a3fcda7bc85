"""A digit is the same digit however it was drawn, photographed and framed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.digit_pictures import KINDS, Pixels, Random
from PIL import Image, ImageDraw

from aeprobe import load
from aeprobe.data.mnist import MNIST
from aeprobe.models.stage import StageModule
from aeprobe_tools.use.preparation import prepared

DIGITS = 200


@pytest.fixture(scope="module")
def classifier(knows_digits: Path) -> StageModule:
    return load(knows_digits)


@pytest.fixture(scope="module")
def digits(classifier: StageModule, root: Path) -> tuple[Pixels, torch.Tensor]:
    """Test images that it gets right as they are, and their labels."""
    images, labels = MNIST(str(root)).read("test")
    assert labels is not None
    right = (classifier.predict(images)["label"] == labels).nonzero().squeeze(1)[:DIGITS]
    assert len(right) == DIGITS
    return images[right, 0].numpy(), labels[right]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_answer_stays_right(
    kind: Callable[[Pixels, Random], Image.Image], classifier: StageModule, digits: tuple[Pixels, torch.Tensor]
) -> None:
    random = np.random.default_rng(0)
    images = [prepared(np.asarray(kind(digit, random))) for digit in digits[0]]
    labels = classifier.predict(torch.from_numpy(np.stack(images)).unsqueeze(1))["label"]
    assert (labels == digits[1]).float().mean() >= KINDS[kind]


def test_an_image_of_mnist_stays_as_it_is(digits: tuple[Pixels, torch.Tensor]) -> None:
    made = np.stack([prepared(digit) for digit in digits[0]])
    difference = np.abs(made.astype(int) - digits[0])
    assert difference.mean() < 1.5
    dark = np.stack([prepared(255 - digit) for digit in digits[0]])
    assert np.abs(made.astype(int) - dark).max() <= 1
    assert np.array_equal(made[0], prepared(digits[0][0].astype(np.float32) / 255))
    again = np.stack([prepared(image) for image in made])
    assert np.abs(again.astype(int) - made).mean() < difference.mean()  # it settles


def test_its_size_and_place_are_mnists() -> None:
    bar = np.zeros((300, 200), np.uint8)
    bar[20:120, 150:160] = 255
    image = prepared(bar)
    rows, columns = image.any(1).nonzero()[0], image.any(0).nonzero()[0]
    assert (rows[0], rows[-1]) == (4, 23)
    assert abs(columns.mean() - 14) <= 0.5
    assert image.max() == 255
    assert prepared(bar, 56).shape == (56, 56)


def test_a_thin_pen_is_not_faint() -> None:
    drawn = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(drawn).line([(120, 80), (280, 80), (180, 330)], fill=0, width=2)
    image = prepared(np.asarray(drawn))
    assert (image > 200).sum() > 40


def test_an_empty_picture_is_refused_and_any_other_ends_in_an_image_or_so() -> None:
    random = np.random.default_rng(0)
    for shape in ((1, 1), (1, 50), (3, 2), (28, 28), (300, 200)):
        for value in (0, 128, 255):
            with pytest.raises(ValueError, match=r"^nothing is drawn on it$"):
                prepared(np.full(shape, value, np.uint8))
        for share in (0.001, 0.1, 0.5, 1):
            picture = (random.random(shape) < share) * random.integers(0, 256, shape)
            try:
                image = prepared(picture.astype(np.uint8))
            except ValueError as error:
                assert str(error) == "nothing is drawn on it"  # noqa: PT017 - either is right
            else:
                assert (image.shape, image.dtype, image.max() > 0) == ((28, 28), np.uint8, True)
