"""Figures of images, their reconstructions and codes.

Images are float in [0, 1], (N, height, width) in grey or (N, height, width, 3) in colours; 0 is black. A pixel
becomes a square, so that nothing is resampled; of large images, squares become their means.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import StrMethodFormatter
from torch import Tensor

from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.sampler import evenly_spaced, seeded_permutation
from aeprobe.data.sources import DIGITS, NO_LABEL, Classes
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.networks import evaluating
from aeprobe.models.variational import VariationalAutoencoder
from aeprobe_tools.figures import charts
from aeprobe_tools.figures.charts import DARK, DPI, MOST_WORDS, ORANGE, PALE, Array, Drawing
from aeprobe_tools.figures.pca import CHUNK, ROUNDING, VARIES, fitted, principal_components
from aeprobe_tools.wording import counted, number

SIDE, GAP, LEFT = 56, 10, 124  # pixels: an image's longer side, about; the gap, the rows' labels
MOST_BELOW = 10  # characters that fit below an image of the usual size
COLUMNS = 10
EXTREMES, MISTAKES, SAMPLED = 10, 20, 50  # images
MOST_CODES = 2_000
# Okabe and Ito's colours for the colour-blind and three more; the digit itself is drawn beside its colour.
CLASS_COLOURS = (
    "#000000", "#a65e00", "#0072b2", "#009e73", "#c4a000", "#56b4e9", "#d55e00", "#cc79a7", "#7a3fb0", "#707070",
)  # fmt: skip
Row = tuple[str, Array, Sequence[str]]  # a label, the images, words below each image or none


def inputs(module: Autoencoder | Classifier, split: ImageDataset, indices: Any) -> Tensor:
    """Return images or codes, where the module is and with its precision."""
    return split[torch.as_tensor(indices)][0].to(next(module.parameters()))


@torch.no_grad()
def reconstruct(module: Autoencoder, split: ImageDataset, indices: Any) -> Tensor:
    """Return reconstructions, float (n, channels, height, width) in [0, 1]; the module keeps its mode."""
    with evaluating(module):
        return module(inputs(module, split, indices)).float().cpu()  # type: ignore[no-any-return]


def pixels(split: ImageDataset, indices: Any) -> Array:
    """Return some images for a figure, floats in [0, 1]."""
    return shown(split.images[torch.as_tensor(indices)]) / 255


def shown(images: Tensor) -> Array:
    """Return images, (n, channels, height, width), for a figure: in colours, or the first channel in grey."""
    return np.asarray(images.movedim(1, 3) if images.shape[1] == 3 else images[:, 0])


def one_of_each(labels: Tensor, seed: int) -> Array:
    """Return indices of random images, one of each class in their order, or of any without labels; at most ten."""
    order = seeded_permutation(len(labels), seed, "one of each").numpy()
    if (labels == NO_LABEL).all():
        return order[:10]
    return order[np.unique(labels.numpy()[order], return_index=True)[1]][:10]


def class_histogram(splits: Mapping[str, ImageDataset], names: Classes = DIGITS) -> Drawing | None:
    """Draw the images per class in each split; None where some have no label."""
    if any((split.labels == NO_LABEL).any() for split in splits.values()):
        return None
    classes = len(names.names) or 1 + max(int(split.labels.max()) for split in splits.values())
    counts = {name: np.bincount(split.labels.numpy(), minlength=classes) for name, split in splits.items()}
    labels = {"train": "training", "val": "validation", "test": "test"}
    if splits["val"] is splits["test"]:
        labels = {"train": "training", "test": "test = validation"}
    train = counts["train"]
    figure, axes = charts.new_axes("Images per class in each split", names.noun, "images")
    width = 0.84 / len(labels)
    for i, (name, colour) in enumerate(zip(labels, (DARK, ORANGE, PALE), strict=False)):
        left = np.arange(classes) + (i - (len(labels) - 1) / 2) * width
        label = f"{labels[name]} ({counts[name].sum():,})"
        bars = axes.bar(left, counts[name], width, color=colour, label=label)
        if name == "train" and classes <= MOST_WORDS:
            axes.bar_label(bars, fmt="{:,.0f}", fontsize=8.5)
    charts.name_ticks(axes, names, classes)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(charts.whole_numbers())
    axes.set_ylim(0, 1.22 * max(1, *(int(counts[name].max()) for name in labels)))
    axes.set_xlim(-0.7, classes - 0.3)
    axes.legend(loc="upper center", ncols=3, frameon=False)
    alt = (
        f"{', '.join(f'{counts[name].sum():,} {label}' for name, label in labels.items())} images. "
        f"Most frequent in training: {names(int(train.argmax()))} ({train.max():,} images); "
        f"rarest: {names(int(train.argmin()))} ({train.min():,})."
    )
    data = {name: values.tolist() for name, values in counts.items()}
    return Drawing([2], "Images per class", alt, figure, data)


def samples(split: ImageDataset, indices: Array, names: Classes = DIGITS) -> Drawing:
    """Draw training images with their labels."""
    labels = split.labels[indices].numpy()
    words = [names.drawn(label) if names.names or label == NO_LABEL else f"label {label}" for label in labels]
    title, known = (
        ("Training images and their labels", names.pick(labels)) if any(words) else ("Training images", "none")
    )
    alt = f"{counted(len(labels), 'random training image')}; labels: {known}."
    data = {"indices": indices.tolist(), "labels": labels.tolist()}
    figure = grid(title, [("", pixels(split, indices), words)], side=84)
    return Drawing([3], "Training images", alt, figure, data)


def reconstructions(
    split: ImageDataset, indices: Array, of_epochs: Mapping[int, Tensor], names: Classes = DIGITS
) -> Drawing | None:
    """Draw some images, and below them their reconstructions by epoch, with the MSE of each."""
    if not of_epochs:
        return None
    images, labels = split[torch.as_tensor(indices)]
    errors = (torch.stack([*of_epochs.values()]) - images).square().mean((2, 3, 4)).numpy()
    words = [names.drawn(label) if names.names or label == NO_LABEL else names(label) for label in labels.tolist()]
    rows: list[Row] = [("input", pixels(split, indices), words)]
    for (epoch, made), mse in zip(of_epochs.items(), errors, strict=True):
        rows.append((f"epoch {epoch}\nMSE {number(mse.mean())}", shown(made), list(map(number, mse))))
    title = "Validation images and their reconstructions, with the MSE of each"
    means = dict(zip(of_epochs, errors.mean(1).tolist(), strict=True))
    after = ", ".join(f"{number(mse)} after epoch {epoch}" for epoch, mse in means.items())
    alt = f"Mean MSE of {counted(len(images), 'validation image')}: {after}."
    data = {"labels": labels.tolist(), "epochs": [*means], "mse": errors.tolist(), "mean_mse": [*means.values()]}
    return Drawing([11], title, alt, grid(title, rows), data)


def pca_baseline(module: Autoencoder, splits: Mapping[str, ImageDataset], errors: Array) -> Drawing:
    """Draw test images, and their reconstructions by PCA with as long a code and by the autoencoder.

    `errors`, MSE (N,), are the autoencoder's on the first test images, on which PCA is measured too.
    """
    test, code = splits["test"], fitted(splits["train"].images, module.code_size)
    images, squares = test.images[: len(errors)], 0.0
    for chunk in images.split(CHUNK):
        squares += (code.decode(code.encode(chunk)) - chunk.flatten(1).double() / 255).square().sum().item()
    pca, own = squares / images.numel(), float(errors.mean())
    pca = pca if pca > ROUNDING else 0.0
    indices = one_of_each(test.labels[: len(errors)], 0)
    linear = code.decode(code.encode(images[indices])).view(-1, *test.images.shape[1:]).clamp(0, 1)
    components = code.axes.shape[1]
    rows: list[Row] = [
        ("input", pixels(test, indices), []),
        (f"{components}-d PCA\nMSE {number(pca)}", shown(linear), []),
        (f"autoencoder\nMSE {number(own)}", shown(reconstruct(module, test, indices)), []),
    ]
    title = "The autoencoder beside PCA: test images and their reconstructions"
    alt = f"MSE on the test set: autoencoder {number(own)}, PCA {number(pca)} (components: {components})."
    data = {"pca_mse": pca, "autoencoder_mse": own, "components": components, "fitted_on": code.images}
    return Drawing([], "PCA as a baseline", alt, grid(title, rows), data)


def best_and_worst(module: Autoencoder, test: ImageDataset, errors: Array) -> Drawing | None:
    """Draw the worst and the best reconstructions of the test images, by their `errors`, MSE (N,)."""
    order = np.argsort(errors)[::-1]
    half = min(EXTREMES, len(order) // 2)
    if not half:
        return None
    both = np.concatenate([order[:half], order[-half:]])
    images, made, errors = pixels(test, both), shown(reconstruct(module, test, both)), errors[both]
    rows: list[Row] = []
    for name, part in (("worst", slice(None, half)), ("best", slice(None, -half - 1, -1))):
        rows.append((f"{name} {half}:\ninput", images[part], []))
        rows.append(("reconstruction\nand its MSE", made[part], list(map(number, errors[part]))))
    title = f"Worst and best reconstructions of the test set, {half} of each"
    extremes = (errors[[0, half - 1]], errors[[-1, half]])
    worst, best = (" to ".join(dict.fromkeys(map(number, ends))) for ends in extremes)
    alt = f"MSE of the worst test images: {worst}; of the best: {best}."
    data = {"indices": both.tolist(), "labels": test.labels[both].tolist(), "mse": errors.tolist()}
    return Drawing([], "Worst and best reconstructions", alt, grid(title, rows), data)


def sampled(module: VariationalAutoencoder) -> Drawing:
    """Draw the images of random codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = shown(module.sample(SAMPLED).float().cpu())
    rows: list[Row] = [("", images[first : first + COLUMNS], []) for first in range(0, len(images), COLUMNS)]
    title = "Images of codes drawn from a standard normal distribution"
    alt = f"{len(images)} images that the decoder made of random codes."
    return Drawing([], "Sampled images", alt, grid(title, rows), {"images": len(images)})


def mistakes(test: ImageDataset, made: Mapping[str, Tensor], names: Classes = DIGITS) -> Drawing:
    """Draw mistakes, the most confident first; `made` is what a classifier predicts of the first test images."""
    label, of = made["label"].cpu().numpy(), len(made["label"])
    confidence = made["probabilities"].max(1).values.float().cpu().numpy()
    wrong = np.flatnonzero(label != test.labels[:of].numpy())
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    images, true = pixels(test, worst), test.labels[worst].numpy()
    predicted, probability = label[worst], confidence[worst]
    title = f"The most confident mistakes: {len(wrong):,} of {counted(of, 'test image')} are wrong"
    both = "{}\n→ {}\n{:.1%}" if names.names else "{} → {}\n{:.1%}"
    columns = zip(true, predicted, probability, strict=True)
    words = [both.format(names.drawn(right), names.drawn(guess), share) for right, guess, share in columns]
    rows = [
        ("true →\npredicted,\nprobability" if i == 0 else "", images[i : i + COLUMNS], words[i : i + COLUMNS])
        for i in range(0, len(images), COLUMNS)
    ]
    alt = f"{len(wrong):,} of {of:,} test images are classified wrong ({len(wrong) / of:.2%})."
    if len(wrong):
        alt += (
            f" The most confident mistake: {names(true[0])}, predicted: {names.short(predicted[0])}, "
            f"probability {probability[0]:.3f}."
        )
    data = {"true": true.tolist(), "predicted": predicted.tolist(), "probability": probability.tolist()}
    data |= {"mistakes": len(wrong), "images": of}
    return Drawing([], "The most confident mistakes", alt, grid(title, rows), data)


def codes(every: Tensor, labels: Array, names: Classes = DIGITS) -> Drawing | None:
    """Draw codes, (N, code), on their two principal components, each as its label; None of one number."""
    if every.shape[1] < 2:  # no plane to show them on
        return None
    mean, components, shares = principal_components(every, 2)
    centred = every.double() - mean
    # A component with less of the codes' squares is rounding.
    varies = shares * centred.square().sum() > VARIES * every.double().square().sum()
    chosen = evenly_spaced(len(every), MOST_CODES)
    points, labels = (centred[chosen] @ components * varies).numpy(), labels[chosen.numpy()]
    explained = (shares * varies).numpy()
    count = counted(len(points), "test image")
    across, up = (f"component {i}: {share:.0%} of the variance" for i, share in enumerate(explained, start=1))
    title, place = f"The codes of {count} on two principal components", (0.105, 0.085, 0.875, 0.85)
    figure, axes = charts.new_axes(title, across, up, size=(8, 6.4), place=place)
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


def grid(title: str, rows: Sequence[Row], side: int = SIDE) -> Figure:
    """Draw rows of images of about a side in pixels, with labels before the rows and words below the images.

    All images are one layer of the figure: to make axes for each, or to blend each by itself, takes longer.
    """
    rows = [(label, scaled(images, side), words) for label, images, words in rows]
    height, width = rows[0][1].shape[1:3] if rows else (side, side)
    longest = max((len(line) for _, _, words in rows for word in words for line in word.split("\n")), default=0)
    step = max(width, side, 6 * longest if longest > MOST_BELOW else 0) + GAP
    below = [14 * (1 + max((w.count("\n") for w in words), default=-1)) for _, _, words in rows]
    tops = list(accumulate((height + 10 + space for space in below), initial=38))
    most = max((len(images) for _, images, _ in rows), default=0)
    wide, high = max(LEFT + most * step + 10, 720), tops[-1] + 6
    figure, layer = Figure((wide / DPI, high / DPI), dpi=DPI), np.zeros((high, wide, 4), np.uint8)  # transparent

    def write(x: float, y: float, words: str, va: str = "top", **font: Any) -> None:
        figure.text(x / wide, 1 - y / high, words, va=va, **font)

    write(14, 11, title, fontsize=12, fontweight="bold")
    for (label, images, words), top in zip(rows, tops, strict=False):
        write(14, top + height / 2, label, va="center", fontsize=10)
        for i, image in enumerate(images):
            left = LEFT + i * step
            place = layer[top : top + image.shape[0], left : left + image.shape[1]]
            place[..., :3] = np.round(255 * (image if image.ndim == 3 else image[..., None]))
            place[..., 3] = 255
            if words:
                write(left + width / 2, top + height + 2, words[i], ha="center", fontsize=8.5)
    figure.figimage(layer, origin="upper")
    return figure


def scaled(images: Array, side: int) -> Array:
    """Scale images to about so many pixels: a pixel becomes a square, or a square of pixels its mean."""
    height, width = images.shape[1:3]
    longer = max(height, width)
    zoom, part = max(1, round(side / longer)), max(1, math.ceil(longer / (1.5 * side)))
    if part > 1:
        high, wide = max(1, height // part), max(1, width // part)
        tall, broad = min(part, height), min(part, width)
        cut = images[:, : high * tall, : wide * broad]
        images = cut.reshape(len(images), high, tall, wide, broad, *images.shape[3:]).mean((2, 4))
    return images.repeat(zoom, 1).repeat(zoom, 2)
