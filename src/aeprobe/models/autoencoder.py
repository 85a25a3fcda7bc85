"""Stage 1: an autoencoder that learns to reconstruct its images."""

from collections.abc import Sequence

import aeprobe.runtime  # noqa: F401

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, mse_loss

from aeprobe.data.augmentation import randomly_deformed
from aeprobe.data.sampler import Batch
from aeprobe.models.networks import Normalize, mlp, mutual_information
from aeprobe.models.optimization import Optimization
from aeprobe.models.stage import StageModule
from aeprobe.processes.collectives import in_order

SHARPNESS = 3.0  # of the clusters: what a code's numbers are multiplied by to be their logits


class Autoencoder(StageModule):
    """Encodes an image as a short code and reconstructs it from there.

    Images are uint8 or floats in [0, 1]. Reconstructions and the MSE are in [0, 1], whatever `mean` and `std` are.

    Args:
        widths: units of the encoder's layers, from the pixels to the code; the decoder mirrors them.
        activation: between layers, the name of a class in torch.nn; none follows the code, and a Sigmoid
            follows the decoder's last layer.
        initialization: of all layers, as in `mlp`.
        pixel_dropout: share of the pixels that the encoder does not see while training; all are reconstructed.
        clusters: the first so many numbers of a code are also the logits of a soft clustering that deformations
            of the image should not change; it sees no label.
        cluster_weight: of the mutual information between the clusters of an image and of a deformed copy, beside
            the MSE, times the square of the share of epochs that are left: 1 in the first, 0.01 in the last of
            ten. 0: no clustering.
        mean: what the encoder sees of a pixel in [0, 1] is (pixel - mean) / std.
        std: above 0.
        optimization: makes the optimizer and the schedule; needed to train, not to use.
    """

    stage = "autoencoder"

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "ReLU",
        initialization: str = "torch",
        pixel_dropout: float = 0.0,
        clusters: int = 10,
        cluster_weight: float = 0.0,
        mean: float = 0.0,
        std: float = 1.0,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__()
        architecture = {"widths": list(widths), "activation": activation, "mean": mean, "std": std}
        self.save_hyperparameters(architecture, logger=False)
        self.normalize = Normalize(mean, std)
        self.encoder = mlp(widths, activation, initialization=initialization)
        self.decoder = mlp(widths[::-1], activation, nn.Sigmoid(), initialization)
        self.pixel_dropout = pixel_dropout
        self.clusters = clusters
        self.cluster_weight = cluster_weight
        self.optimization = optimization
        self.test_codes: list[Tensor] = []
        self.test_errors: list[Tensor] = []

    @torch.no_grad()
    def start_at(self, image: Tensor) -> None:
        """Sets the output's biases so that no signal at all decodes to `image`, float in [0, 1], (1, 28, 28)."""
        output = self.decoder[-2]
        assert isinstance(output, nn.Linear)
        output.bias.copy_(image.flatten().logit(eps=0.01))

    def encode(self, images: Tensor) -> Tensor:
        """The codes, (N, code), of images, uint8 or float in [0, 1], (N, 1, 28, 28)."""
        code: Tensor = self.encoder(self.normalize(images).flatten(1))
        return code

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions in [0, 1], float (N, 1, 28, 28), of images of the same shape."""
        pixels: Tensor = self.decoder(self.encode(images))
        return pixels.view_as(images)

    def _step(self, batch: Batch, split: str) -> dict[str, Tensor]:
        images = self.normalize.pixels(batch[0])
        hide = split == "train" and self.pixel_dropout > 0
        code = self.encode(dropout(images, self.pixel_dropout) if hide else images)
        reconstruction = self.decoder(code).view_as(images)
        loss = mse_loss(reconstruction, images)  # mean over pixels and images
        if split == "train" and self.cluster_weight:
            views = (code, self.encode(randomly_deformed(images)))
            agreement = mutual_information(*(SHARPNESS * view[:, : self.clusters] for view in views))
            return {"loss": loss, "agreement": agreement}
        if split != "train":  # train/* is gathered by callbacks.Recorder
            self.log_loss(split, loss, len(images))
        if split == "test":
            self.test_codes.append(code)
            self.test_errors.append((reconstruction - images).square().mean((1, 2, 3)))
        return {"loss": loss}

    def objective(self, metrics: dict[str, Tensor]) -> Tensor:
        """The MSE, less the clusters' weighted mutual information."""
        if not self.cluster_weight:
            return metrics["loss"]
        left = 1 - self.trainer.current_epoch / (self.trainer.max_epochs or 1)
        return metrics["loss"] - self.cluster_weight * left**2 * metrics["agreement"]

    def validation_step(self, batch: Batch, _: int) -> None:
        """Logs val/loss."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, _: int) -> None:
        """Logs test/loss; keeps each image's code and MSE in `test_codes` and `test_errors`."""
        self._step(batch, "test")

    def on_test_start(self) -> None:
        """Forgets an earlier test."""
        self.test_codes.clear()
        self.test_errors.clear()

    def on_test_epoch_end(self) -> None:
        """Brings together what several processes measured."""
        self.test_codes[:] = [in_order(self.test_codes)]
        self.test_errors[:] = [in_order(self.test_errors)]

    def predict_step(self, batch: Batch, _: int = 0) -> dict[str, Tensor]:
        """Codes, (N, code), and reconstructions in [0, 1], (N, 1, 28, 28)."""
        code = self.encode(batch[0])
        return {"code": code, "reconstruction": self.decoder(code).view_as(batch[0])}
