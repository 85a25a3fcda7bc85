"""From what to draw: a run's images, its trained module and its recorded metrics, as the figures' arrays.

Figures come one at a time, in the page's order, so that only one is in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aeprobe.runtime  # noqa: F401

import numpy as np
import torch
from torch import Tensor

from aeprobe import curves, figures, pictures
from aeprobe.autoencoder import Autoencoder
from aeprobe.batches import seeded_permutation
from aeprobe.classifier import Classifier
from aeprobe.data import ImageDataset
from aeprobe.diagram import Part, architecture
from aeprobe.figures import Array, Drawing
from aeprobe.pca import CHUNK, principal_components

SAMPLES = 5
EXTREMES = 10
MISTAKES = 20
SHOWN_CODES = 2_000
PCA_IMAGES = 20_000  # a third of MNIST: the test MSE differs from that of all 60,000 by 0.1 %
Splits = Mapping[str, ImageDataset]


class History:
    """A run's recorded metrics as arrays.

    Args:
        rows: as `epochs` in metrics.json.
        steps: "step" and the tags of every step, as callbacks.Recorder keeps them.
        epoch_steps: optimizer steps at each epoch's end.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], steps: Mapping[str, Sequence[float]], epoch_steps: Sequence[int]
    ) -> None:
        self.rows, self.steps, self.epoch_steps = rows, steps, np.array(epoch_steps)

    def per_epoch(self, *tags: str) -> tuple[Array, ...]:
        """The epochs that have all these metrics, and the metrics."""
        rows = [row for row in self.rows if all(tag in row for tag in tags)]
        return tuple(np.array([row[tag] for row in rows]) for tag in ("epoch", *tags))

    def training(self, stage: int, report: int, what: str) -> Drawing:
        """A training metric at every step."""
        step, value = (np.array(self.steps[tag]) for tag in ("step", f"train/{what}_step"))
        mean = self.per_epoch(f"train/{what}")[1][-len(self.epoch_steps) :]
        return curves.training_curve(stage, report, what, step, value, self.epoch_steps, mean)

    def validation(self, stage: int, report: int, what: str) -> Iterator[Drawing]:
        """A validation metric after each epoch that was validated, if any was."""
        epoch, value, train = self.per_epoch(f"val/{what}", f"train/{what}")
        if len(epoch):
            yield curves.validation_curve(stage, report, what, epoch, value, train)


def of_images(splits: Splits, seed: int) -> Iterator[Drawing]:
    """What the images are."""
    classes = max(10, 1 + max(int(split.labels.max()) for split in splits.values()))
    counts = {name: np.bincount(split.labels.numpy(), minlength=classes) for name, split in splits.items()}
    yield figures.class_histogram(counts, same=splits["val"] is splits["test"])
    train = splits["train"]
    size = min(SAMPLES, len(train))
    indices = seeded_permutation(len(train), seed)[:size].numpy()
    yield pictures.samples(pixels(train, indices), train.labels[indices].numpy(), indices)


def of_autoencoder(
    module: Autoencoder, history: History, splits: Splits, kept: Sequence[Drawing], codes: Tensor, errors: Array
) -> Iterator[Drawing]:
    """How stage 1 went and what it does.

    Args:
        module: in eval mode.
        history: of the training.
        splits: the images.
        kept: the picture of the reconstructions that were made meanwhile.
        codes: of the first test images, (N, code).
        errors: their MSE per pixel, (N,).
    """
    widths, activation = module.hparams["widths"], module.hparams["activation"]
    encoder = Part("encoder", widths, activation)
    yield architecture(1, [encoder, Part("decoder", widths[::-1], activation, "Sigmoid")])
    if history.rows:
        yield curves.loss_per_epoch(*history.per_epoch("train/loss", "train/loss_last"))
        yield history.training(1, 9, "loss")
        yield from history.validation(1, 10, "loss")
    yield from kept
    yield from _codes(codes, splits["test"].labels.numpy())
    yield _pca_baseline(module, splits, errors)
    yield from _extremes(module, splits["test"], errors)
    yield figures.error_histogram(errors)


def of_classifier(
    module: Classifier, images: ImageDataset, test: ImageDataset, history: History, results: Mapping[str, Any]
) -> Iterator[Drawing]:
    """How stage 2 went and what it does.

    Args:
        module: in eval mode.
        images: the test images.
        test: the same, or their codes.
        history: of the training.
        results: `confusion_matrix` and `test_batch_accuracy` of metrics.json.
    """
    own = module.hparams
    encoder = Part("encoder", own["encoder_widths"], own["encoder_activation"], frozen=True)
    yield architecture(2, [encoder, Part("head", own["widths"], own["activation"], "Softmax")])
    if history.rows:
        epoch, *loss = history.per_epoch("train/loss", "train/loss_last")
        accuracy = history.per_epoch("train/accuracy", "train/accuracy_last")[1:]
        names = ("mean", "last")
        yield curves.loss_and_accuracy_per_epoch(
            epoch, dict(zip(names, loss, strict=True)), dict(zip(names, accuracy, strict=True))
        )
        yield history.training(2, 15, "loss")
        yield from history.validation(2, 16, "loss")
        yield history.training(2, 17, "accuracy")
        yield from history.validation(2, 18, "accuracy")
    yield figures.batch_accuracy(np.array(results["test_batch_accuracy"]))
    matrix = np.array(results["confusion_matrix"])
    yield figures.confusion_matrix(matrix)
    yield _mistakes(module, images, test, min(int(matrix.sum()), len(test)))


@torch.no_grad()
def reconstruct(module: Autoencoder, split: ImageDataset, indices: Any) -> Tensor:
    """Reconstructions, float (n, 1, 28, 28), in the space of the transformed images."""
    made: Tensor = module(_inputs(module, split, indices))
    return made.float().cpu()


def pixels(split: ImageDataset, indices: Any) -> Array:
    """Images as they are stored, float (n, 28, 28) in [0, 1]."""
    stored: Array = split.images[torch.as_tensor(indices)].squeeze(1).numpy() / 255
    return stored


def one_of_each(labels: Tensor, seed: int) -> Array:
    """The index of a random image of each class, in the classes' order, for at most ten classes."""
    order = seeded_permutation(len(labels), seed).numpy()
    first: Array = np.unique(labels.numpy()[order], return_index=True)[1]
    indices: Array = order[first][:10]
    return indices


def shown_pixels(split: ImageDataset, made: Tensor) -> Array:
    """Reconstructions as pixels, float (n, 28, 28) in [0, 1]."""
    low, high = _range(split)
    shown: Array = ((made.squeeze(1) - low) / (high - low)).clamp(0, 1).numpy()
    return shown


def errors_of(split: ImageDataset, indices: Any, made: Sequence[Tensor]) -> Array:
    """MSE per pixel, as the loss has it, (len(made), n), of several reconstructions of the same images."""
    images = split[torch.as_tensor(indices)][0]
    errors: Array = (torch.stack(list(made)) - images).square().mean((2, 3, 4)).numpy()
    return errors


def _codes(codes: Tensor, labels: Array) -> Iterator[Drawing]:
    if codes.shape[1] < 2:  # no plane to show them on
        return
    mean, axes, shares = principal_components(codes, 2)
    points = ((codes - mean) @ axes)[:SHOWN_CODES].numpy()
    yield pictures.codes(points, labels[: len(points)], shares.numpy())


def _extremes(module: Autoencoder, test: ImageDataset, errors: Array) -> Iterator[Drawing]:
    order = np.argsort(errors)[::-1]
    half = min(EXTREMES, len(order) // 2)
    if not half:
        return
    both = np.concatenate([order[:half], order[-half:]])
    made = shown_pixels(test, reconstruct(module, test, both))
    yield pictures.best_and_worst(pixels(test, both), made, errors[both], test.labels[both].numpy(), both)


def _pca_baseline(module: Autoencoder, splits: Splits, errors: Array) -> Drawing:
    train, test = splits["train"].images.flatten(1), splits["test"]
    train = train[:: max(1, round(len(train) / PCA_IMAGES))]
    components = module.hparams["widths"][-1]
    mean, axes, _ = principal_components(train, components)
    images, lost = test.images[: len(errors)].flatten(1), 0.0
    for chunk in images.split(CHUNK):
        rest = chunk.float() - mean
        lost += (rest.square().sum() - (rest @ axes).square().sum()).item()
    low, high = _range(test)
    mse = lost / images.numel() * ((high - low) / 255) ** 2  # on the scale of the loss
    indices = one_of_each(test.labels[: len(errors)], 0)
    linear = (mean + (images[indices].float() - mean) @ axes @ axes.T).view(-1, 28, 28) / 255
    ours = shown_pixels(test, reconstruct(module, test, indices))
    both = (mse, float(errors.mean()))
    return pictures.pca_baseline(
        pixels(test, indices), linear.clamp(0, 1).numpy(), ours, both, axes.shape[1], len(train)
    )


@torch.no_grad()
def _mistakes(module: Classifier, images: ImageDataset, test: ImageDataset, tested: int) -> Drawing:
    inputs = _inputs(module, test, torch.arange(tested))
    made = module.predict_step((inputs, inputs))
    predicted, labels = made["label"].cpu().numpy(), test.labels[:tested].numpy()
    confidence = made["probabilities"].max(1).values.float().cpu().numpy()
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return pictures.mistakes(
        pixels(images, worst), labels[worst], predicted[worst], confidence[worst], (len(wrong), tested)
    )


def _inputs(module: Autoencoder | Classifier, split: ImageDataset, indices: Any) -> Tensor:
    """Images or codes, where the module is and with its precision."""
    weight = next(module.parameters())
    return split[torch.as_tensor(indices)][0].to(weight)


def _range(split: ImageDataset) -> tuple[float, float]:
    """What the transform makes of a black and of a white pixel."""
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    low, high = (split.transform(ends) if split.transform else ends).flatten().tolist()
    return low, high
