"""A digit is the same digit however it was drawn, photographed and framed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from aeprobe import load
from aeprobe.data.mnist import MNIST
from aeprobe.models.stage import StageModule
from aeprobe_tools.use.preparation import prepared

Pixels = NDArray[np.uint8]
Random = np.random.Generator
ENOUGH = 0.97
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


def enlarged(digit: Pixels, random: Random) -> Image.Image:
    side = 28 * int(random.integers(3, 21))
    return Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)


def inverted(digit: Pixels, random: Random) -> Image.Image:
    return ImageOps.invert(enlarged(digit, random))


def moved(digit: Pixels, random: Random) -> Image.Image:
    drawn = enlarged(digit, random)
    width, height = (int(n * random.uniform(1.2, 3)) for n in drawn.size)
    ground = Image.new("L", (width, height))
    ground.paste(drawn, (int(random.integers(width - drawn.width)), int(random.integers(height - drawn.height))))
    return ground if random.random() < 0.5 else ImageOps.invert(ground)


def outlined(digit: Pixels, random: Random) -> Image.Image:
    """Within a drawn rectangle."""
    drawn = ImageOps.expand(inverted(digit, random).resize((280, 280)), int(random.integers(5, 40)), 255)
    inset = int(random.integers(0, 12))
    corners = (inset, inset, drawn.width - 1 - inset, drawn.height - 1 - inset)
    dark, wide = int(random.integers(130)), int(random.integers(1, 12))
    ImageDraw.Draw(drawn).rectangle(corners, outline=dark, width=wide)
    return drawn


def framed(digit: Pixels, random: Random) -> Image.Image:
    """As it is, with a line around it."""
    drawn = Image.fromarray(digit)
    light = random.random() < 0.5
    return ImageOps.expand(drawn if light else ImageOps.invert(drawn), int(random.integers(1, 4)), 255 * light)


def paper(
    digit: Pixels, random: Random, ground: float = 235, ink: float = 60, slope: float = 60, noise: float = 8
) -> Image.Image:
    """On unevenly lit, rough paper, out of focus."""
    drawn = np.asarray(ImageOps.contain(moved(digit, random), (400, 400)), np.float32) / 255
    drawn = 1 - drawn if np.median(drawn) > 0.5 else drawn
    height, width = drawn.shape
    down, across = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    one, other = random.uniform(-slope, slope, 2)
    sheet = ground - abs(one) / 2 - abs(other) / 2 + one * down + other * across
    photo = sheet * (1 - drawn) + ink * drawn + random.normal(0, noise, drawn.shape)
    return Image.fromarray(photo.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


def rough(digit: Pixels, random: Random) -> Image.Image:
    return paper(digit, random, noise=20)


def board(digit: Pixels, random: Random) -> Image.Image:
    """Chalk."""
    return paper(digit, random, ground=70, ink=220, slope=30)


def sheet(digit: Pixels, random: Random) -> Image.Image:
    """Paper on a dark table."""
    return ImageOps.expand(paper(digit, random, slope=20, noise=5), 30, int(random.integers(100)))


CHANGES = (enlarged, inverted, moved, outlined, framed, paper, rough, board, sheet)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_answer_stays_right(
    change: Callable[[Pixels, Random], Image.Image], classifier: StageModule, digits: tuple[Pixels, torch.Tensor]
) -> None:
    random = np.random.default_rng(0)
    images = [prepared(np.asarray(change(digit, random))) for digit in digits[0]]
    labels = classifier.predict(torch.from_numpy(np.stack(images)).unsqueeze(1))["label"]
    assert (labels == digits[1]).float().mean() >= ENOUGH


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
