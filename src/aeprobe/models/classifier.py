"""Stage 2: a classifier on the codes of an encoder, which is frozen unless one says otherwise."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_confusion_matrix

from aeprobe.data.datamodule import ImageDataModule, in_parts
from aeprobe.data.sampler import Batch, seeded_permutation
from aeprobe.errors import AeprobeError
from aeprobe.models.networks import MLP, GaussianNoise, Standardize, Structure, evaluating, structure, tried
from aeprobe.models.stage import Measures, Optimization, StageModule
from aeprobe.runs.metrics import REPORT_BATCH


class Classifier(StageModule):
    """A small head on an encoder.

    Args:
        encoder: from images, (N, channels, height, width), to codes, (N, code).
        head: from codes to logits, (N, classes).
        shape: of an image: channels, height and width.
        trains_encoder: the encoder is trained with the head; else it never changes.
        standardize: the head's inputs have mean 0 and standard deviation 1, by the statistics of
            `fit_standardization`, which are part of the checkpoint.
        code_noise: standard deviation of normal noise on the head's input, while training.
        loss: of (logits, labels), a mean over them; the cross-entropy by default.
        loss_on: the loss's input: "logits", or "softmax" as in the report's code.
        class_weights: "balanced" for a cross-entropy in which a class with few images weighs as much as any other,
            by the labels that `fit_class_weights` is given; the weights are part of the checkpoint.
        mean: the encoder's input is (pixel - mean) / std of each pixel in [0, 1].
        std: above 0.
        optimization: makes the optimizer and the schedule; needed to train, not to use.
    """

    stage = "classifier"
    measured = ("loss", "accuracy")
    of_each = ("accuracy", "correct")
    class_weights: Tensor | None
    encoder: nn.Module

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        shape: Sequence[int] = (1, 28, 28),
        trains_encoder: bool = False,
        standardize: bool = False,
        code_noise: float = 0.0,
        loss: nn.Module | None = None,
        loss_on: str = "logits",
        class_weights: str | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__(shape, mean, std, optimization)
        self.trains_encoder = trains_encoder
        self.encoder = encoder if trains_encoder else encoder.requires_grad_(False).eval()
        self.code_size = tried("encoder", encoder, self.shape)[1]
        logits = tried("head", head, (self.code_size,))
        if len(logits) != 2 or logits[1] < 2:
            raise ValueError(f"the head makes {logits} of two codes: expected (2, classes), two classes or more")
        self.classes = logits[1]
        first: list[nn.Module] = [Standardize(self.code_size)] if standardize else []
        first += [GaussianNoise(code_noise)] if code_noise else []
        self.head = nn.Sequential(*first, *(head if isinstance(head, MLP) else [head]))
        self.own_loss, self.loss_on = loss, loss_on
        self.register_buffer("class_weights", torch.ones(self.classes) if class_weights else None)

    @property
    def loss_name(self) -> str:
        """The name of what is minimised, in figures and tables."""
        return "cross-entropy" if self.own_loss is None else type(self.own_loss).__name__

    @property
    def layers(self) -> str:
        """The layers of its head, such as "30-20-15-10 with ReLU"."""
        return str(self.structures()["head"])

    def structures(self) -> dict[str, Structure]:
        """Read the layers of its networks, by their names."""
        return {"encoder": structure(self.encoder, self.shape), "head": structure(self.head, (self.code_size,))}

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode, as Lightning does before every epoch; a frozen encoder stays in eval mode."""
        super().train(mode)
        if not self.trains_encoder:
            self.encoder.eval()
        return self

    def configure_optimizers(self) -> Any:
        """Train two groups of weights: the head's, and those of an encoder that trains."""
        assert self.optimization is not None, "a stage trains with an Optimization"
        encoder = {*self.encoder.parameters()}
        others = [p for p in self.parameters() if p.requires_grad and p not in encoder]
        return self.optimization.configure(others, [p for p in self.encoder.parameters() if p.requires_grad])

    def require_fit(self, data: ImageDataModule, *splits: str) -> None:
        """Raise AeprobeError where images have no labels, or the head has fewer outputs than there are classes."""
        data.require_labels(*(splits or data.splits))
        if data.classes > self.classes:
            largest = data.classes - 1
            raise AeprobeError(f"classifier.head has {self.classes} outputs, but the labels go up to {largest}")

    def prepare(self, data: ImageDataModule, trains: bool) -> None:
        """Take what training needs of the images, whose place the codes of an encoder that never changes take."""
        if not self.trains_encoder or not trains:
            data.encode(self.encode, [*data.splits] if trains else ["test"])
        if trains:
            self.fit_standardization(data.splits["train"].images)
            self.fit_class_weights(data.splits["train"].labels)

    @torch.no_grad()
    def fit_standardization(self, inputs: Tensor) -> None:
        """Take the statistics of codes, (N, code), or images, uint8 (N, *shape), where the head standardises."""
        if isinstance(self.head[0], Standardize):
            with evaluating(self.encoder):
                self.head[0].fit(in_parts(self.encode, inputs))

    def fit_class_weights(self, labels: Tensor) -> None:
        """Take the weight of each class, N / (classes · its images), from the training labels, int64 (N,)."""
        if self.class_weights is not None:
            counts = labels.bincount(minlength=len(self.class_weights))
            present = (counts > 0).sum()
            self.class_weights.copy_(torch.where(counts > 0, len(labels) / (present * counts), 0))

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes, (N, code), of images, uint8 or float in [0, 1], (N, *shape). Codes pass as they are.

        Raises:
            ValueError: floats outside of [0, 1], but in a Trainer's own steps.
        """
        with torch.set_grad_enabled(self.trains_encoder and torch.is_grad_enabled()):
            codes: Tensor = images if images.ndim == 2 else self.encoder(self.normalize(self.checked(images)))
        return codes

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, classes), of images, as `encode` takes them, or of codes, (N, code)."""
        logits: Tensor = self.head(self.encode(images))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch of images, or of codes that a frozen encoder made of them once."""
        inputs, labels = batch
        logits = self(inputs)
        loss = self.loss(logits, labels)
        self.record(loss=loss, accuracy=(logits.argmax(1) == labels).float().mean())
        if self.trainer.is_last_batch:  # what the report prints of an epoch, whatever the loss is on
            self.step_metrics["softmax_loss_last"] = cross_entropy(logits.detach().softmax(1), labels)
        return loss

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a mean over samples, of logits, (N, classes), and labels, int64 (N,)."""
        inputs = logits.softmax(1) if self.loss_on == "softmax" else logits
        if self.own_loss is not None:
            own: Tensor = self.own_loss(inputs, labels)
            return own
        if self.class_weights is None:
            return cross_entropy(inputs, labels)
        # torch's own mean divides by the batch's weights, and several processes' means would not be the batch's.
        return cross_entropy(inputs, labels, self.class_weights, reduction="none").mean()

    def measures(self, batch: Batch) -> Measures:
        """Measure the loss and the accuracy of a batch."""
        logits, labels = self(batch[0]), batch[1]
        predicted = logits.argmax(1)
        correct = predicted == labels
        means = {"loss": self.loss(logits, labels), "accuracy": correct.float()}
        return Measures(
            means, logits.softmax(1), labels, {"correct": correct, "predicted": predicted, "labels": labels}
        )

    def results(self, seed: int) -> dict[str, Any]:
        """Return the confusion matrix, and the accuracy of each batch of shuffled test images."""
        predicted, labels = (torch.cat(self.test_outputs[name]).cpu() for name in ("predicted", "labels"))
        correct = (predicted == labels).double()
        shuffled = correct[seeded_permutation(len(correct), seed, "test batches")]
        return {
            "confusion_matrix": multiclass_confusion_matrix(predicted, labels, self.classes).tolist(),
            "test_batch_accuracy": [part.mean().item() for part in shuffled.split(REPORT_BATCH)],
        }

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Return codes, (N, code), probabilities, (N, classes), and the most probable labels, int64 (N,)."""
        code = self.encode(batch[0])
        probabilities = self.head(code).softmax(1)
        return {"code": code, "probabilities": probabilities, "label": probabilities.argmax(1)}
