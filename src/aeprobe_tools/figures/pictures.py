"""Figures of images and of codes, made of arrays; the images are as tiles.py takes them."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.patheffects import AbstractPathEffect, withStroke

from aeprobe.data.sources import DIGITS, NO_LABEL, Classes
from aeprobe_tools.figures.charts import MOST_WORDS, Array, Drawing, new_axes
from aeprobe_tools.figures.tiles import GAP, Row, canvas, grid, put, scaled, write
from aeprobe_tools.wording import counted, number

COLUMNS = 10
# Okabe and Ito's colours for the colour-blind and three more; the digit itself is drawn beside its colour.
CLASS_COLOURS = (
    "#000000", "#a65e00", "#0072b2", "#009e73", "#c4a000", "#56b4e9", "#d55e00", "#cc79a7", "#7a3fb0", "#707070",
)  # fmt: skip


def samples(images: Array, labels: Array, indices: Array, names: Classes = DIGITS) -> Drawing:
    """Draw training images with their labels; `indices` are their places in the training split."""
    count, images = len(images), scaled(images, 84)
    height, width = images.shape[1:3]
    words = [names.drawn(label) if names.names or label == NO_LABEL else f"label {label}" for label in labels]
    size = max(width + 3 * GAP, *(9 * len(names.drawn(label)) for label in labels))
    margin = 20 + (size - width - 3 * GAP) // 2
    title = "Training images and their labels" if any(words) else "Training images"
    figure = canvas(max(count * size + 40, 400), height + 82, title)
    put(figure, ((margin + i * size, 40, image) for i, image in enumerate(images)))
    for i, word in enumerate(words):
        write(figure, margin + i * size + width / 2, 48 + height, word, ha="center", fontsize=11)
    alt = f"{counted(count, 'random training image')}; labels: {names.pick(labels) if any(words) else 'none'}."
    data = {"indices": indices.tolist(), "labels": labels.tolist()}
    return Drawing([3], "Training images", alt, figure, data)


def reconstructions(
    images: Array, labels: Array, of_epochs: Mapping[int, Array], errors: Array, names: Classes = DIGITS
) -> Drawing:
    """Draw images, and below them their reconstructions by epoch; `errors` are the MSE per pixel, (epochs, N)."""
    words = [names.drawn(label) if names.names or label == NO_LABEL else names(label) for label in labels]
    rows: list[Row] = [("input", images, words)]
    for (epoch, made), mse in zip(of_epochs.items(), errors, strict=True):
        rows.append((f"epoch {epoch}\nMSE {number(mse.mean())}", made, list(map(number, mse))))
    title = "Validation images and their reconstructions, with the MSE of each"
    means = dict(zip(of_epochs, errors.mean(1).tolist(), strict=True))
    after = ", ".join(f"{number(mse)} after epoch {epoch}" for epoch, mse in means.items())
    alt = f"Mean MSE of {counted(len(images), 'validation image')}: {after}."
    data = {"labels": labels.tolist(), "epochs": [*means], "mse": errors.tolist(), "mean_mse": [*means.values()]}
    return Drawing([11], title, alt, grid(title, rows), data)


def pca_baseline(
    images: Array, linear: Array, ours: Array, mse: tuple[float, float], components: int, fitted: int
) -> Drawing:
    """Draw test images, and their reconstructions by PCA, fitted on so many images, and by the autoencoder.

    `mse` is that of PCA and of the autoencoder, per pixel over the whole test set.
    """
    pca, own = mse
    rows: list[Row] = [
        ("input", images, []),
        (f"{components}-d PCA\nMSE {number(pca)}", linear, []),
        (f"autoencoder\nMSE {number(own)}", ours, []),
    ]
    title = "The autoencoder beside PCA: test images and their reconstructions"
    alt = f"MSE on the test set: autoencoder {number(own)}, PCA {number(pca)} (components: {components})."
    data = {"pca_mse": pca, "autoencoder_mse": own, "components": components, "fitted_on": fitted}
    return Drawing([], "PCA as a baseline", alt, grid(title, rows), data)


def best_and_worst(images: Array, made: Array, errors: Array, labels: Array, indices: Array) -> Drawing:
    """Draw the worst and the best reconstructions, 2N of them: the worst first, the best last."""
    half = len(images) // 2
    rows: list[Row] = []
    for name, part in (("worst", slice(None, half)), ("best", slice(None, -half - 1, -1))):
        rows.append((f"{name} {half}:\ninput", images[part], []))
        rows.append(("reconstruction\nand its MSE", made[part], list(map(number, errors[part]))))
    title = f"Worst and best reconstructions of the test set, {half} of each"
    extremes = (errors[[0, half - 1]], errors[[-1, half]])
    worst, best = (" to ".join(dict.fromkeys(map(number, ends))) for ends in extremes)
    alt = f"MSE of the worst test images: {worst}; of the best: {best}."
    data = {"indices": indices.tolist(), "labels": labels.tolist(), "mse": errors.tolist()}
    return Drawing([], "Worst and best reconstructions", alt, grid(title, rows), data)


def sampled(images: Array) -> Drawing:
    """Draw the images of random codes, ten in a row."""
    rows: list[Row] = [("", images[first : first + 10], []) for first in range(0, len(images), 10)]
    title = "Images of codes drawn from a standard normal distribution"
    alt = f"{len(images)} images that the decoder made of random codes."
    return Drawing([], "Sampled images", alt, grid(title, rows), {"images": len(images)})


def mistakes(
    images: Array,
    true: Array,
    predicted: Array,
    probability: Array,
    total: tuple[int, int],
    names: Classes = DIGITS,
) -> Drawing:
    """Draw mistakes, the most confident first; `total` counts all mistakes and all test images."""
    mistaken, of = total
    title = f"The most confident mistakes: {mistaken:,} of {counted(of, 'test image')} are wrong"
    both = "{}\n→ {}\n{:.1%}" if names.names else "{} → {}\n{:.1%}"
    columns = zip(true, predicted, probability, strict=True)
    words = [both.format(names.drawn(label), names.drawn(wrong), share) for label, wrong, share in columns]
    rows = [
        ("true →\npredicted,\nprobability" if i == 0 else "", images[i : i + COLUMNS], words[i : i + COLUMNS])
        for i in range(0, len(images), COLUMNS)
    ]
    alt = f"{mistaken:,} of {of:,} test images are classified wrong ({mistaken / of:.2%})."
    if mistaken:
        alt += (
            f" The most confident mistake: {names(true[0])}, predicted: {names.short(predicted[0])}, "
            f"probability {probability[0]:.3f}."
        )
    data = {"true": true.tolist(), "predicted": predicted.tolist(), "probability": probability.tolist()}
    data |= {"mistakes": mistaken, "images": of}
    return Drawing([], "The most confident mistakes", alt, grid(title, rows), data)


def codes(points: Array, labels: Array, explained: Array, names: Classes = DIGITS) -> Drawing:
    """Draw codes, (N, 2), on their two principal components, each as its label.

    `explained` is each component's share of the codes' variance, (2,); zeros where all codes are equal.
    """
    count = counted(len(points), "test image")
    across, up = (f"component {i}: {share:.0%} of the variance" for i, share in enumerate(explained, start=1))
    title, place = f"The codes of {count} on two principal components", (0.105, 0.085, 0.875, 0.85)
    figure, axes = new_axes(title, across, up, size=(8, 6.4), place=place)
    classes = {label: points[labels == label] for label in np.unique(labels)}
    colours = [CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in classes]
    for (label, own), colour in zip(classes.items(), colours, strict=True):
        name = names.short(label)
        marker = f"${name}$" if len(name) <= 2 and name.isalnum() and name.isascii() else "."
        axes.plot(*own.T, ls="", marker=marker, ms=5, color=colour, mew=0)
    alt = f"{count} by the two principal components of their codes: {explained.sum():.0%} of the variance."
    if len(classes) <= MOST_WORDS:
        white: list[AbstractPathEffect] = [withStroke(linewidth=4, foreground="white")]
        medians = np.array([np.median(own, axis=0) for own in classes.values()])
        places = _apart(medians, np.ptp(points, axis=0))
        size = 22 if max(len(names.drawn(label)) for label in classes) <= 2 else 12
        large: dict[str, Any] = {"fontsize": size, "fontweight": "bold", "ha": "center", "va": "center"}
        for label, (x, y), colour in zip(classes, places, colours, strict=True):
            axes.text(x, y, names.drawn(label), color=colour, path_effects=white, **large)
    data = {"x": points[:, 0].tolist(), "y": points[:, 1].tolist(), "label": labels.tolist()}
    data |= {"explained": explained.tolist()}
    return Drawing([], "Codes of the test images", alt, figure, data)


def _apart(places: Array, extent: Array) -> Array:
    """Move labels, (n, 2), away from each other, by as little as they need to cover none."""
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
