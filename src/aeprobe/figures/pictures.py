"""What to draw, as pictures of images and of codes: arrays in, a matplotlib Figure out.

Images are float (N, 28, 28) in [0, 1], drawn as MNIST shows them, white on black, two pixels of the figure to
one of the image, so that nothing is resampled.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke

from aeprobe.figures.charts import DPI, MOST_WORDS, Array, Drawing, new_axes
from aeprobe.wording import beside, counted, number, span

ZOOM, SIDE, GAP, LEFT = 2, 56, 10, 124  # pixels of the figure: a tile's side, the gap, the rows' labels
COLUMNS = 10
Row = tuple[str, Array, Sequence[str]]  # a label, the images, words below each image or none
# Okabe and Ito's colours for the colour-blind and three more; the digit itself is drawn beside its colour.
CLASS_COLOURS = (
    "#000000", "#a65e00", "#0072b2", "#009e73", "#c4a000", "#56b4e9", "#d55e00", "#cc79a7", "#7a3fb0", "#707070",
)  # fmt: skip


def samples(images: Array, labels: Array, indices: Array) -> Drawing:
    """Training images with their labels; `indices` are their places in the training split."""
    count, zoom = len(images), 3
    size = 28 * zoom + 3 * GAP
    title = "Training images and their labels"
    figure = _canvas(max(count * size + 40, 400), 28 * zoom + 82, title)
    _put(figure, ((20 + i * size, 40, image) for i, image in enumerate(images)), zoom)
    for i, label in enumerate(labels):
        _write(figure, 20 + i * size + 14 * zoom, 48 + 28 * zoom, f"label {label}", ha="center", fontsize=11)
    alt = f"{counted(count, 'random training')}, labelled {', '.join(map(str, labels))}."
    data = {"indices": indices.tolist(), "labels": labels.tolist()}
    return Drawing([3], "Training images", alt, figure, data)


def reconstructions(
    images: Array, labels: Array, of_epochs: Mapping[int, Array], errors: Array, noun: str = "digit"
) -> Drawing:
    """The same images' reconstructions after several epochs, as rows below the images.

    Args:
        images: what was put in, (N, 28, 28).
        labels: of the images, (N,).
        of_epochs: reconstructions of the same form, by the epoch after which they were made.
        errors: MSE per pixel, (epochs, N).
        noun: what a class is called.
    """
    rows: list[Row] = [("input", images, [f"{noun} {label}" for label in labels])]
    for (epoch, made), mse in zip(of_epochs.items(), errors, strict=True):
        rows.append((f"epoch {epoch}\nMSE {number(mse.mean())}", made, list(map(number, mse))))
    title = "Validation images and their reconstructions, with the MSE of each"
    means = errors.mean(1)
    epochs = list(of_epochs)
    alt = f"The mean MSE of {counted(len(images), 'validation')} is {number(means[0])} after epoch {epochs[0]}"
    alt += f" and {number(means[-1])} after epoch {epochs[-1]}." if len(epochs) > 1 else "."
    data = {"labels": labels.tolist(), "epochs": epochs, "mse": errors.tolist(), "mean_mse": means.tolist()}
    return Drawing([11], title, alt, _grid(title, rows), data)


def pca_baseline(
    images: Array, linear: Array, ours: Array, mse: tuple[float, float], components: int, fitted: int
) -> Drawing:
    """Reconstructions by principal components beside the autoencoder's.

    Args:
        images: test images, (N, 28, 28).
        linear: their reconstructions from `components` principal components.
        ours: their reconstructions by the autoencoder.
        mse: per pixel over the whole test set, of PCA and of the autoencoder.
        components: of PCA, as many as the code has numbers; fewer where the images vary in fewer directions.
        fitted: training images that PCA was fitted on.
    """
    pca, own = mse
    rows: list[Row] = [
        ("input", images, []),
        (f"{f'{components}-d PCA' if components else 'mean image'}\nMSE {number(pca)}", linear, []),
        (f"autoencoder\nMSE {number(own)}", ours, []),
    ]
    title = "The autoencoder beside PCA: test images and their reconstructions"
    parts = f"{components} principal component{'s' if components > 1 else ''}"
    parts = parts if components else "the mean image alone"
    alt = (
        f"On the test set the autoencoder has MSE {number(own)}, {beside(own, pca)} the {number(pca)} of {parts}."
    )
    data = {"pca_mse": pca, "autoencoder_mse": own, "components": components, "fitted_on": fitted}
    return Drawing([], "PCA as a baseline", alt, _grid(title, rows), data)


def best_and_worst(images: Array, made: Array, errors: Array, labels: Array, indices: Array) -> Drawing:
    """The worst and the best reconstructions, (2N, 28, 28): worst first, then the best, best last."""
    half = len(images) // 2
    rows: list[Row] = []
    for name, part in (("worst", slice(None, half)), ("best", slice(None, -half - 1, -1))):
        rows.append((f"{name} {half}:\ninput", images[part], []))
        rows.append(("reconstruction\nand its MSE", made[part], list(map(number, errors[part]))))
    few, s, have = (f"{half} ", "s", "have") if half > 1 else ("", "", "has")
    title = f"The {few}worst and the {few}best reconstruction{s} of the test set"
    alt = (
        f"The {few}worst test image{s} {have} an MSE of {span(errors[0], errors[half - 1])}, "
        f"the {few}best of {span(errors[-1], errors[half])}."
    )
    data = {"indices": indices.tolist(), "labels": labels.tolist(), "mse": errors.tolist()}
    return Drawing([], "Worst and best reconstructions", alt, _grid(title, rows), data)


def sampled(images: Array) -> Drawing:
    """What a decoder makes of random codes, (N, 28, 28), ten in a row."""
    rows: list[Row] = [("", images[first : first + 10], []) for first in range(0, len(images), 10)]
    title = "Images of codes drawn from a standard normal distribution"
    alt = f"{len(images)} images that the decoder made of random codes."
    return Drawing([], "Sampled images", alt, _grid(title, rows), {"images": len(images)})


def mistakes(images: Array, true: Array, predicted: Array, probability: Array, total: tuple[int, int]) -> Drawing:
    """The most confident mistakes, most confident first.

    Args:
        images: at most 20 of them, (N, 28, 28).
        true: their labels.
        predicted: the labels that they were given.
        probability: of that label, in [0, 1].
        total: all mistakes, and all test images.
    """
    wrong, of = total
    title = f"The most confident of {wrong:,} mistakes in {counted(of, 'test')}"
    if wrong < 2:
        title = f"{'The one' if wrong else 'No'} mistake in {counted(of, 'test')}"
    columns = zip(true, predicted, probability, strict=True)
    arrow = " → " if max([*true, *predicted], default=0) < 100 else "→"
    words = [f"{t}{arrow}{p}\n{q:.1%}" for t, p, q in columns]
    rows = [
        ("true →\npredicted,\nprobability" if i == 0 else "", images[i : i + COLUMNS], words[i : i + COLUMNS])
        for i in range(0, len(images), COLUMNS)
    ]
    alt = f"{wrong:,} of {of:,} test images are classified wrong ({wrong / of:.2%})."
    if wrong:
        alt += (
            f" The most confident mistake takes a {true[0]} for a {predicted[0]} "
            f"with probability {probability[0]:.3f}."
        )
    data = {"true": true.tolist(), "predicted": predicted.tolist(), "probability": probability.tolist()}
    data |= {"mistakes": wrong, "images": of}
    return Drawing([], "The most confident mistakes", alt, _grid(title, rows), data)


def codes(points: Array, labels: Array, explained: Array) -> Drawing:
    """Codes on their two principal components.

    Args:
        points: (N, 2); at most a few thousand, since each is drawn as its label.
        labels: (N,).
        explained: each component's share of the codes' variance, (2,); zeros where all codes are equal.
    """
    count = counted(len(points), "test")
    across, up = (f"component {i}: {share:.0%} of the variance" for i, share in enumerate(explained, start=1))
    title, place = f"The codes of {count} on two principal components", (0.105, 0.085, 0.875, 0.85)
    figure, axes = new_axes(title, across, up, size=(8, 6.4), place=place)
    classes = {label: points[labels == label] for label in np.unique(labels)}
    colours = [CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in classes]
    for (label, own), colour in zip(classes.items(), colours, strict=True):
        axes.plot(*own.T, ls="", marker=f"${label}$", ms=5, color=colour, mew=0)
    alt = f"{count}, without any difference between codes."
    if explained.any():
        held = f"{explained.sum():.0%} of the codes' variance"
        alt = f"{count} by the two principal components of their codes, which hold {held}"
        alt += "; large numbers stand at the medians of their classes." if len(classes) <= MOST_WORDS else "."
    if len(classes) <= MOST_WORDS:
        white: list[AbstractPathEffect] = [withStroke(linewidth=4, foreground="white")]
        medians = np.array([np.median(own, axis=0) for own in classes.values()])
        places = _apart(medians, np.ptp(points, axis=0))
        large: dict[str, Any] = {"fontsize": 22, "fontweight": "bold", "ha": "center", "va": "center"}
        for label, (x, y), colour in zip(classes, places, colours, strict=True):
            axes.text(x, y, str(label), color=colour, path_effects=white, **large)
    data = {"x": points[:, 0].tolist(), "y": points[:, 1].tolist(), "label": labels.tolist()}
    data["explained"] = explained.tolist()
    return Drawing([], "Codes of the test images", alt, figure, data)


def _apart(places: Array, extent: Array) -> Array:
    """Moves labels, (n, 2), that would cover one another away from each other, by as little as needed."""
    near = 0.055 * np.where(extent > 0, extent, 0.11)  # what matplotlib shows around a single place
    places = places.copy()
    for _ in range(50):
        for i, j in combinations(range(len(places)), 2):
            gap = (places[i] - places[j]) / near
            distance = float(np.hypot(*gap))
            if distance < 1:
                push = (gap / distance if distance else np.array([0, 1])) * (1 - distance) / 2 * near
                places[i] += push
                places[j] -= push
    return places


def _grid(title: str, rows: Sequence[Row]) -> Figure:
    """Rows of images, each with a label before it and perhaps words below each image."""
    below = [14 * (1 + max((w.count("\n") for w in words), default=-1)) for _, _, words in rows]
    tops = list(accumulate((SIDE + 10 + space for space in below), initial=38))
    most = max((len(images) for _, images, _ in rows), default=0)
    figure = _canvas(max(LEFT + most * (SIDE + GAP) + 10, 720), tops[-1] + 6, title)
    tiles = []
    for (label, images, words), top in zip(rows, tops, strict=False):
        _write(figure, 14, top + SIDE / 2, label, va="center", fontsize=10)
        for i, image in enumerate(images):
            left = LEFT + i * (SIDE + GAP)
            tiles.append((left, top, image))
            if words:
                _write(figure, left + SIDE / 2, top + SIDE + 2, words[i], ha="center", fontsize=8.5)
    _put(figure, tiles, ZOOM)
    return figure


def _canvas(width: int, height: int, title: str) -> Figure:
    """A figure without axes, which would take longer to make than all of its images."""
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    _write(figure, 14, 11, title, fontsize=12, fontweight="bold")
    return figure


def _write(figure: Figure, x: float, y: float, words: str, va: str = "top", **font: Any) -> None:
    """Writes at a place that is given in pixels from the top left."""
    width, height = figure.get_size_inches() * DPI
    figure.text(x / width, 1 - y / height, words, va=va, **font)


def _put(figure: Figure, tiles: Iterable[tuple[int, int, Array]], zoom: int) -> None:
    """Puts images at their (left, top), all in one layer: to scale and blend each by itself takes longer."""
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    layer = np.zeros((height, width, 4), np.uint8)  # transparent
    side = 28 * zoom
    for left, top, image in tiles:
        place = layer[top : top + side, left : left + side]
        place[..., :3] = np.round(255 * image).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)[..., None]
        place[..., 3] = 255
    figure.figimage(layer, origin="upper")
