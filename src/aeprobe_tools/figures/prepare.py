"""The figures of a run by name, and the arrays that they show, made of its images, module and metrics."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aeprobe.runtime  # noqa: F401

import numpy as np
import torch
from torch import Tensor

from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.sampler import evenly_spaced, seeded_permutation
from aeprobe.data.sources import DIGITS, NO_LABEL, Classes
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.structure import evaluating
from aeprobe.models.variational import VariationalAutoencoder
from aeprobe_tools.figures import charts, pictures
from aeprobe_tools.figures.charts import Array, Drawing
from aeprobe_tools.figures.curves import History
from aeprobe_tools.figures.diagram import Part, architecture
from aeprobe_tools.figures.pca import CHUNK, ROUNDING, VARIES, fitted, principal_components

SAMPLES = 5
EXTREMES = 10
MISTAKES = 20
SAMPLED = 50
SHOWN_CODES = 2_000
Splits = Mapping[str, ImageDataset]
Draw = Callable[[], Drawing | None]  # None: there is nothing to draw
Figures = Iterable[tuple[str, Draw]]  # each figure's name and what draws it, in the page's order


def of_images(splits: Splits, seed: int, names: Classes = DIGITS) -> Figures:
    """Yield the figures of the images."""
    yield "class_histogram", lambda: _class_histogram(splits, names)
    yield "samples", lambda: _samples(splits["train"], seed, names)


def of_autoencoder(
    module: Autoencoder,
    history: History,
    splits: Splits,
    reconstructions: Draw,
    codes: Tensor,
    errors: Array,
    names: Classes = DIGITS,
) -> Figures:
    """Yield the figures of stage 1; `codes`, (N, code), and `errors`, MSE (N,), are of the first test images."""
    yield "architecture", lambda: architecture(1, [Part(*network) for network in module.structures().items()])
    if history.rows:
        unit = module.loss_name
        yield "loss_per_epoch", lambda: history.loss_per_epoch(unit)
        yield "train_loss", lambda: history.training(1, 9, "loss", unit)
        yield "val_loss", lambda: history.validation(1, 10, "loss", unit)
    yield "reconstructions", reconstructions
    yield "codes", lambda: _codes(codes, splits["test"].labels.numpy(), names)
    yield "pca_baseline", lambda: _pca_baseline(module, splits, errors)
    yield "best_and_worst", lambda: _extremes(module, splits["test"], errors)
    yield "error_histogram", lambda: charts.error_histogram(errors)
    if isinstance(module, VariationalAutoencoder):
        yield "sampled", lambda: _sampled(module)


def of_classifier(
    module: Classifier,
    images: ImageDataset,
    test: ImageDataset,
    history: History,
    results: Mapping[str, Any],
    names: Classes = DIGITS,
) -> Figures:
    """Yield the figures of stage 2; `test` are the test images or their codes, `results` is metrics.json."""
    yield "architecture", lambda: _encoder_and_head(module)
    if history.rows:
        unit = module.loss_name
        yield "loss_and_accuracy_per_epoch", lambda: history.loss_and_accuracy_per_epoch(unit)
        yield "train_loss", lambda: history.training(2, 15, "loss", unit)
        yield "val_loss", lambda: history.validation(2, 16, "loss", unit)
        yield "train_accuracy", lambda: history.training(2, 17, "accuracy", "accuracy")
        yield "val_accuracy", lambda: history.validation(2, 18, "accuracy", "accuracy")
    matrix, batches = np.array(results["confusion_matrix"]), np.array(results["test_batch_accuracy"])
    tested = int(matrix.sum())
    yield "batch_accuracy", lambda: charts.batch_accuracy(batches, tested)
    yield "confusion_matrix", lambda: charts.confusion_matrix(matrix, names)
    yield "mistakes", lambda: _mistakes(module, images, test, min(tested, len(test)), names)


def _encoder_and_head(module: Classifier) -> Drawing:
    encoder, head = module.structures().values()
    frozen = not module.trains_encoder
    return architecture(2, [Part("encoder", encoder, frozen=frozen), Part("head", head, "Softmax")])


def _class_histogram(splits: Splits, names: Classes) -> Drawing | None:
    if any((split.labels == NO_LABEL).any() for split in splits.values()):
        return None
    classes = len(names.names) or 1 + max(int(split.labels.max()) for split in splits.values())
    counts = {name: np.bincount(split.labels.numpy(), minlength=classes) for name, split in splits.items()}
    return charts.class_histogram(counts, same=splits["val"] is splits["test"], names=names)


def _samples(train: ImageDataset, seed: int, names: Classes) -> Drawing:
    indices = seeded_permutation(len(train), seed, "samples")[:SAMPLES].numpy()
    return pictures.samples(pixels(train, indices), train.labels[indices].numpy(), indices, names)


@torch.no_grad()
def reconstruct(module: Autoencoder, split: ImageDataset, indices: Any) -> Tensor:
    """Return reconstructions, float (n, channels, height, width) in [0, 1]; the module keeps its mode."""
    with evaluating(module):
        return module(_inputs(module, split, indices)).float().cpu()  # type: ignore[no-any-return]


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


def reconstructions(
    split: ImageDataset, indices: Array, names: Classes, of_epochs: Mapping[int, Tensor]
) -> Drawing | None:
    """Draw some images and their reconstructions after several epochs, with the MSE of each."""
    if not of_epochs:
        return None
    images, labels = split[torch.as_tensor(indices)]
    errors = (torch.stack([*of_epochs.values()]) - images).square().mean((2, 3, 4)).numpy()
    rows = {epoch: shown(made) for epoch, made in of_epochs.items()}
    return pictures.reconstructions(pixels(split, indices), labels.numpy(), rows, errors, names)


def _codes(codes: Tensor, labels: Array, names: Classes = DIGITS) -> Drawing | None:
    if codes.shape[1] < 2:  # no plane to show them on
        return None
    mean, axes, shares = principal_components(codes, 2)
    centred = codes.double() - mean
    # A component with less of the codes' squares is rounding.
    varies = shares * centred.square().sum() > VARIES * codes.double().square().sum()
    chosen = evenly_spaced(len(codes), SHOWN_CODES)
    points = (centred[chosen] @ axes * varies).numpy()
    return pictures.codes(points, labels[chosen.numpy()], (shares * varies).numpy(), names)


def _extremes(module: Autoencoder, test: ImageDataset, errors: Array) -> Drawing | None:
    order = np.argsort(errors)[::-1]
    half = min(EXTREMES, len(order) // 2)
    if not half:
        return None
    both = np.concatenate([order[:half], order[-half:]])
    made = shown(reconstruct(module, test, both))
    return pictures.best_and_worst(pixels(test, both), made, errors[both], test.labels[both].numpy(), both)


def _sampled(module: VariationalAutoencoder) -> Drawing:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return pictures.sampled(shown(module.sample(SAMPLED).float().cpu()))


def _pca_baseline(module: Autoencoder, splits: Splits, errors: Array) -> Drawing:
    test = splits["test"]
    code = fitted(splits["train"].images, module.code_size)
    images, squares = test.images[: len(errors)], 0.0
    for chunk in images.split(CHUNK):
        squares += (code.decode(code.encode(chunk)) - chunk.flatten(1).double() / 255).square().sum().item()
    mse = squares / images.numel()
    mse = mse if mse > ROUNDING else 0.0
    indices = one_of_each(test.labels[: len(errors)], 0)
    linear = code.decode(code.encode(images[indices])).view(-1, *test.images.shape[1:]).clamp(0, 1)
    drawn = (pixels(test, indices), shown(linear), shown(reconstruct(module, test, indices)))
    return pictures.pca_baseline(*drawn, (mse, float(errors.mean())), code.axes.shape[1], code.images)


@torch.no_grad()
def _mistakes(
    module: Classifier, images: ImageDataset, test: ImageDataset, tested: int, names: Classes = DIGITS
) -> Drawing:
    inputs = _inputs(module, test, torch.arange(tested))
    made = module.predict_step((inputs, inputs))
    predicted, labels = made["label"].cpu().numpy(), test.labels[:tested].numpy()
    confidence = made["probabilities"].max(1).values.float().cpu().numpy()
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    both = labels[worst], predicted[worst]
    return pictures.mistakes(pixels(images, worst), *both, confidence[worst], (len(wrong), tested), names)


def _inputs(module: Autoencoder | Classifier, split: ImageDataset, indices: Any) -> Tensor:
    """Return images or codes, where the module is and with its precision."""
    return split[torch.as_tensor(indices)][0].to(next(module.parameters()))
