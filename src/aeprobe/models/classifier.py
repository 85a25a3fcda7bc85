"""Stage 2: a classifier on the codes of a frozen encoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from aeprobe.data.sampler import Batch
from aeprobe.models.networks import GaussianNoise, Normalize, Standardize, mlp
from aeprobe.models.optimization import Optimization
from aeprobe.models.stage import StageModule


class Classifier(StageModule):
    """A small head on an encoder that never changes.

    Args:
        encoder_widths: units of the encoder's layers, from the pixels to the code.
        encoder_activation: between the encoder's layers, the name of a class in torch.nn.
        widths: units of the head's layers, from the code to the classes.
        activation: between the head's layers.
        standardize: whether the head sees codes of mean 0 and standard deviation 1, by the statistics that
            `fit_standardization` took; they are part of the checkpoint.
        code_noise: standard deviation of normal noise on the head's input, while training.
        initialization: of the head, as in `mlp`.
        class_weights: "balanced" for a loss in which a class with few images weighs as much as any other, by the
            training labels that `fit_class_weights` took; the weights are part of the checkpoint.
        loss_on: what the cross-entropy is given: "logits", or "softmax" as in the report's code.
        mean: the encoder's: what it sees of a pixel in [0, 1] is (pixel - mean) / std.
        std: the encoder's, above 0.
        optimization: makes the optimizer and the schedule; needed to train, not to use.
    """

    stage = "classifier"
    class_weights: Tensor | None

    def __init__(
        self,
        encoder_widths: Sequence[int],
        encoder_activation: str,
        widths: Sequence[int],
        activation: str = "ReLU",
        standardize: bool = False,
        code_noise: float = 0.0,
        initialization: str = "torch",
        loss_on: str = "logits",
        class_weights: str | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__()
        encoder_widths, widths = list(encoder_widths), list(widths)  # a checkpoint holds plain values
        self.save_hyperparameters(ignore=["initialization", "optimization"], logger=False)
        self.normalize = Normalize(mean, std)
        self.encoder = mlp(encoder_widths, encoder_activation).requires_grad_(False)
        first: list[nn.Module] = [Standardize(widths[0])] if standardize else []
        first += [GaussianNoise(code_noise)] if code_noise else []
        self.head = nn.Sequential(*first, *mlp(widths, activation, initialization=initialization))
        self.loss_on = loss_on
        self.register_buffer("class_weights", torch.ones(widths[-1]) if class_weights else None)
        self.optimization = optimization
        self.val_accuracy = MulticlassAccuracy(widths[-1], average="micro")
        self.test_accuracy = MulticlassAccuracy(widths[-1], average="micro")
        self.confusion_matrix = MulticlassConfusionMatrix(widths[-1])

    def train(self, mode: bool = True) -> "Classifier":
        """Lightning calls this before every epoch; the frozen encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def fit_standardization(self, codes: Tensor) -> None:
        """Takes the statistics of the training codes, (N, code), where the head standardises."""
        if isinstance(self.head[0], Standardize):
            self.head[0].fit(codes)

    def fit_class_weights(self, labels: Tensor) -> None:
        """Takes the weight of each class, N / (classes · its images), from the training labels, int64 (N,)."""
        if self.class_weights is not None:
            counts = labels.bincount(minlength=len(self.class_weights))
            present = (counts > 0).sum()
            self.class_weights.copy_(torch.where(counts > 0, len(labels) / (present * counts), 0))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The codes, (N, code), of images, uint8 or float in [0, 1], (N, 1, 28, 28). Codes pass as they are."""
        codes: Tensor = images if images.ndim == 2 else self.encoder(self.normalize(images).flatten(1))
        return codes

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes), of images, as `encode` takes them, or of codes, (N, code)."""
        logits: Tensor = self.head(self.encode(images))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The cross-entropy of a batch, whose inputs are codes, computed once by MNISTDataModule.encode."""
        codes, labels = batch
        logits = self(codes)
        loss = self.loss(logits, labels)
        self.record(loss=loss, accuracy=(logits.argmax(1) == labels).float().mean())
        if self.trainer.is_last_batch:  # what the report prints of an epoch, whatever the loss is on
            self.step_metrics["softmax_loss_last"] = cross_entropy(logits.detach().softmax(1), labels)
        return loss

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy, a mean over samples, of logits, (N, classes), and labels, int64 (N,)."""
        inputs = logits.softmax(1) if self.loss_on == "softmax" else logits
        if self.class_weights is None:
            return cross_entropy(inputs, labels)
        # torch's own mean divides by the batch's weights, and several processes' means would not be the batch's.
        return cross_entropy(inputs, labels, self.class_weights, reduction="none").mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs val/loss and val/accuracy."""
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs test/loss and test/accuracy; fills `confusion_matrix`, and keeps which images are `correct`."""
        logits, labels = self._evaluate(batch, "test", self.test_accuracy), batch[1]
        if len(labels):
            self.confusion_matrix.update(logits, labels)
        self.keep(correct=logits.argmax(1) == labels)

    def _evaluate(self, batch: Batch, split: str, accuracy: MulticlassAccuracy) -> Tensor:
        inputs, labels = batch
        logits: Tensor = self(inputs)
        if len(labels):  # torchmetrics takes no empty part of a batch
            accuracy.update(logits, labels)
        self.log_loss(split, self.loss(logits, labels), len(labels))
        self.log(f"{split}/accuracy", accuracy, on_epoch=True, logger=False)
        self.measure(split, logits.softmax(1), labels)
        return logits

    def on_test_start(self) -> None:
        """Forgets an earlier test."""
        super().on_test_start()
        self.confusion_matrix.reset()

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Class probabilities in [0, 1], (N, classes), and the most probable labels, int64 (N,)."""
        probabilities = self(batch[0]).softmax(1)
        return {"probabilities": probabilities, "label": probabilities.argmax(1)}
