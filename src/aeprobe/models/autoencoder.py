"""Stage 1: an autoencoder that learns to reconstruct its images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from aeprobe.data.sampler import Batch
from aeprobe.models.networks import Normalize, mlp
from aeprobe.models.optimization import Optimization
from aeprobe.models.regularizers import Regularizer
from aeprobe.models.stage import StageModule


class Autoencoder(StageModule):
    """Encodes an image as a short code and reconstructs it from there.

    Images are uint8 or floats in [0, 1]. Reconstructions and the MSE are in [0, 1], whatever `mean` and `std` are.

    Args:
        widths: units of the encoder's layers, from the pixels to the code; the decoder mirrors them.
        activation: between layers, the name of a class in torch.nn; none follows the code, and a Sigmoid
            follows the decoder's last layer.
        initialization: of all layers, as in `mlp`.
        mean: what the encoder sees of a pixel in [0, 1] is (pixel - mean) / std.
        std: above 0.
        corruption: changes what the encoder sees while training, float (N, 1, 28, 28) in [0, 1]; the images as
            they were are reconstructed.
        regularizer: what is added to the MSE while training.
        optimization: makes the optimizer and the schedule; needed to train, not to use.
    """

    stage = "autoencoder"

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "ReLU",
        initialization: str = "torch",
        mean: float = 0.0,
        std: float = 1.0,
        corruption: nn.Module | None = None,
        regularizer: Regularizer | None = None,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__()
        widths = list(widths)  # a checkpoint holds plain values
        self.save_hyperparameters("widths", "activation", "mean", "std", logger=False)
        self.normalize = Normalize(mean, std)
        self.encoder = mlp(widths, activation, initialization=initialization)
        self.decoder = mlp(widths[::-1], activation, nn.Sigmoid(), initialization)
        self.corruption = corruption or nn.Identity()
        self.regularizer = regularizer
        self.optimization = optimization

    def encode(self, images: Tensor) -> Tensor:
        """The codes, (N, code), of images, uint8 or float in [0, 1], (N, 1, 28, 28)."""
        code: Tensor = self.encoder(self.normalize(images).flatten(1))
        return code

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions in [0, 1], float (N, 1, 28, 28), of images of the same shape."""
        pixels: Tensor = self.decoder(self.encode(images))
        return pixels.view_as(images)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean squared error over a batch's pixels, plus what the regularizer adds."""
        images = self.normalize.pixels(batch[0])
        code = self.encode(self.corruption(images))
        loss = mse_loss(self.decoder(code).view_as(images), images)
        self.record(loss=loss)
        if self.regularizer is None:
            return loss
        penalty, metrics = self.regularizer(self, images, code)
        self.record(loss=loss, **metrics)
        total: Tensor = loss + penalty
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs val/loss."""
        images = self.normalize.pixels(batch[0])
        reconstruction = self(images)
        self.log_loss("val", mse_loss(reconstruction, images), len(images))
        self.measure("val", reconstruction, images)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs test/loss; keeps each image's code and its mean squared error."""
        images = self.normalize.pixels(batch[0])
        code = self.encode(images)
        reconstruction = self.decoder(code).view_as(images)
        self.log_loss("test", mse_loss(reconstruction, images), len(images))
        self.measure("test", reconstruction, images)
        self.keep(codes=code, errors=(reconstruction - images).square().mean((1, 2, 3)))

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Codes, (N, code), and reconstructions in [0, 1], (N, 1, 28, 28)."""
        code = self.encode(batch[0])
        return {"code": code, "reconstruction": self.decoder(code).view_as(batch[0])}

    @torch.no_grad()
    def start_at(self, image: Tensor) -> None:
        """Sets the output's biases so that no signal at all decodes to `image`, float in [0, 1], (1, 28, 28)."""
        output = self.decoder[-2]
        assert isinstance(output, nn.Linear)
        output.bias.copy_(image.flatten().logit(eps=0.01))
