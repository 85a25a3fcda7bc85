"""Stage 2: a classifier on the codes of a frozen encoder."""

from collections.abc import Sequence

import aeprobe.runtime  # noqa: F401

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from aeprobe.data.sampler import Batch
from aeprobe.models.networks import GaussianNoise, Normalize, Standardize, mlp
from aeprobe.models.optimization import Optimization
from aeprobe.models.stage import StageModule
from aeprobe.processes.collectives import in_order


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
        loss_on: what the cross-entropy is given: "logits", or "softmax" as in the report's code.
        mean: the encoder's: what it sees of a pixel in [0, 1] is (pixel - mean) / std.
        std: the encoder's, above 0.
        optimization: makes the optimizer and the schedule; needed to train, not to use.
    """

    stage = "classifier"

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
        mean: float = 0.0,
        std: float = 1.0,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(
            {
                "encoder_widths": list(encoder_widths),
                "encoder_activation": encoder_activation,
                "widths": list(widths),
                "activation": activation,
                "standardize": standardize,
                "code_noise": code_noise,
                "loss_on": loss_on,
                "mean": mean,
                "std": std,
            },
            logger=False,
        )
        self.normalize = Normalize(mean, std)
        self.encoder = mlp(encoder_widths, encoder_activation).requires_grad_(False)
        first: list[nn.Module] = [Standardize(widths[0])] if standardize else []
        first += [GaussianNoise(code_noise)] if code_noise else []
        self.head = nn.Sequential(*first, *mlp(widths, activation, initialization=initialization))
        self.loss_on = loss_on
        self.optimization = optimization
        self.val_accuracy = MulticlassAccuracy(widths[-1], average="micro")
        self.test_accuracy = MulticlassAccuracy(widths[-1], average="micro")
        self.confusion_matrix = MulticlassConfusionMatrix(widths[-1])
        self.test_correct: list[Tensor] = []

    def train(self, mode: bool = True) -> "Classifier":
        """Lightning calls this before every epoch; the frozen encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def fit_standardization(self, codes: Tensor) -> None:
        """Takes the statistics of the training codes, (N, code), where the head standardises."""
        if isinstance(self.head[0], Standardize):
            self.head[0].fit(codes)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The codes, (N, code), of images, uint8 or float in [0, 1], (N, 1, 28, 28). Codes pass as they are."""
        codes: Tensor = images if images.ndim == 2 else self.encoder(self.normalize(images).flatten(1))
        return codes

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes), of images, as `encode` takes them, or of codes, (N, code)."""
        logits: Tensor = self.head(self.encode(images))
        return logits

    def _step(self, batch: Batch, split: str) -> dict[str, Tensor]:
        inputs, labels = batch  # images, or their codes, computed once by MNISTDataModule.encode
        logits = self(inputs)
        scores = logits.softmax(1) if self.loss_on == "softmax" else logits
        loss = cross_entropy(scores, labels)
        correct = logits.argmax(1) == labels
        if split == "train":  # train/* is gathered by callbacks.Recorder
            metrics = {"loss": loss, "accuracy": correct.float().mean()}
            if self.last_batch:  # what the report prints of an epoch, whatever the loss is on
                metrics["softmax_loss_last"] = cross_entropy(logits.detach().softmax(1), labels)
            return metrics
        accuracy = self.val_accuracy if split == "val" else self.test_accuracy
        if len(labels):  # torchmetrics takes no empty part of a batch
            accuracy.update(logits, labels)
        self.log_loss(split, loss, len(labels))
        self.log(f"{split}/accuracy", accuracy, on_epoch=True, logger=False)
        if split == "test":
            if len(labels):
                self.confusion_matrix.update(logits, labels)
            self.test_correct.append(correct)
        return {"loss": loss}

    def validation_step(self, batch: Batch, _: int) -> None:
        """Logs val/loss and val/accuracy."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, _: int) -> None:
        """Logs test/loss and test/accuracy; fills `confusion_matrix` and `test_correct`."""
        self._step(batch, "test")

    def on_test_start(self) -> None:
        """Forgets an earlier test."""
        self.confusion_matrix.reset()
        self.test_correct.clear()

    def on_test_epoch_end(self) -> None:
        """Brings together what several processes measured."""
        self.test_correct[:] = [in_order(self.test_correct)]

    def predict_step(self, batch: Batch, _: int = 0) -> dict[str, Tensor]:
        """Class probabilities in [0, 1], (N, classes), and the most probable labels, int64 (N,)."""
        probabilities = self(batch[0]).softmax(1)
        return {"probabilities": probabilities, "label": probabilities.argmax(1)}
