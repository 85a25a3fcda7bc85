"""Stage 1: an autoencoder that learns to reconstruct its images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, mse_loss

from aeprobe.data.sampler import Batch
from aeprobe.models.networks import Structure, structure, tried
from aeprobe.models.regularizers import Regularizer
from aeprobe.models.stage import Measures, Optimization, StageModule

LOSS_NAMES = {
    "MSELoss": "MSE per pixel",
    "L1Loss": "mean absolute error per pixel",
    "BinaryCrossEntropy": "binary cross-entropy per pixel",
}


class BinaryCrossEntropy(nn.Module):
    """The mean cross-entropy of pixels as probabilities, in nats; grey ones keep it above 0."""

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        """Return the loss of reconstructions in [0, 1] of images of the same shape."""
        with torch.autocast(reconstruction.device.type, enabled=False):  # torch's refuses half precision
            return binary_cross_entropy(reconstruction.float(), images.float())


class Autoencoder(StageModule):
    """Encodes an image as a short code and reconstructs it from there.

    Images are uint8 or floats in [0, 1]. Reconstructions and the MSE are in [0, 1], whatever `mean` and `std` are.

    Args:
        network: has an `encoder`, from (N, channels, height, width) to codes, (N, code), and a `decoder` back,
            to floats in [0, 1].
        shape: of an image: channels, height and width.
        loss: of (reconstructions, images), a mean over them; the MSE by default.
        mean: the encoder's input is (pixel - mean) / std of each pixel in [0, 1].
        std: above 0.
        corruption: changes the encoder's input while training, float in [0, 1]; the images as they were are
            reconstructed.
        regularizer: a term that is added to the loss while training.
        optimization: makes the optimizer and the schedule; needed to train, not to use.

    Attributes:
        code_size: how many numbers an image becomes.
    """

    stage = "autoencoder"
    measured: tuple[str, ...] = ("loss", "mse")
    of_each = ("mse", "errors")
    encoder: nn.Module
    decoder: nn.Module
    loss: nn.Module

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int] = (1, 28, 28),
        loss: nn.Module | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        corruption: nn.Module | None = None,
        regularizer: Regularizer | None = None,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__(shape, mean, std, optimization)
        self.encoder, self.decoder = network.get_submodule("encoder"), network.get_submodule("decoder")
        self.code_size = _size_of_code(self.encoder, self.decoder, self.shape)
        self.loss = loss or nn.MSELoss()
        self.corruption = corruption or nn.Identity()
        self.regularizer = regularizer
        if regularizer is not None:
            regularizer.require_code(self.code_size)

    @property
    def loss_name(self) -> str:
        """The name of what is minimised, in figures and tables."""
        name = type(self.loss).__name__
        return LOSS_NAMES.get(name, name)

    @property
    def layers(self) -> str:
        """The layers of its encoder, such as "784-500-200-100-30 with ReLU"."""
        return str(self.structures()["encoder"])

    def structures(self) -> dict[str, Structure]:
        """Read the layers of its networks, by their names."""
        return {
            "encoder": structure(self.encoder, self.shape),
            "decoder": structure(self.decoder, (self.code_size,)),
        }

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes, (N, code), of images, uint8 or float in [0, 1], (N, channels, height, width).

        Raises:
            ValueError: floats outside of [0, 1], but in a Trainer's own steps.
        """
        code: Tensor = self.encoder(self.normalize(self.checked(images)))
        return code

    def forward(self, images: Tensor) -> Tensor:
        """Return reconstructions in [0, 1], float, of images of the same shape."""
        reconstruction: Tensor = self.decoder(self.encode(images))
        return reconstruction

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch's reconstructions, plus the regularizer's term."""
        images = self.normalize.pixels(batch[0])
        code = self.encoder(self.normalize(self.corruption(images)))
        reconstruction = self.decoder(self.sampled(code))
        loss = self.objective(reconstruction, images, code)
        metrics = {"loss": loss, **self.beside(reconstruction, images, code)}
        if self.regularizer is not None:
            penalty, added = self.regularizer(self, images, code)
            loss, metrics = loss + penalty, metrics | added
        self.record(**metrics)
        return loss

    def objective(self, reconstruction: Tensor, images: Tensor, code: Tensor) -> Tensor:
        """Return the loss, a mean over the images."""
        loss: Tensor = self.loss(reconstruction, images)
        return loss

    def sampled(self, code: Tensor) -> Tensor:
        """Return the codes that a training step decodes: these, unless a subclass draws others near them."""
        return code

    def beside(self, reconstruction: Tensor, images: Tensor, code: Tensor) -> dict[str, Tensor]:
        """Return the measures beside the loss: "mse", of pixels in [0, 1], unless the loss is just that."""
        if type(self.loss) is nn.MSELoss and type(self).objective is Autoencoder.objective:
            return {}
        return {"mse": mse_loss(reconstruction.detach(), images)}

    def measures(self, batch: Batch) -> Measures:
        """Measure the loss and the MSE of a batch, without corruption and regularizer."""
        images = self.normalize.pixels(batch[0])
        code = self.encode(images)
        reconstruction = self.decoder(code)
        loss = self.objective(reconstruction, images, code)
        means = {"loss": loss, "mse": loss, **self.beside(reconstruction, images, code)}
        errors = (reconstruction - images).square().mean((1, 2, 3))
        return Measures(means, reconstruction, images, {"codes": code, "errors": errors})

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Return codes, (N, code), and reconstructions in [0, 1], of the images' shape."""
        code = self.encode(batch[0])
        return {"code": code, "reconstruction": self.decoder(code)}


def _size_of_code(encoder: nn.Module, decoder: nn.Module, shape: tuple[int, ...]) -> int:
    """Encode and decode two images of zeros; return how many numbers a code has."""
    code = tried("encoder", encoder, shape)
    if len(code) != 2:
        raise ValueError(f"the encoder makes {code} of two images: expected (2, numbers of a code)")
    if (images := tried("decoder", decoder, code[1:])) != (2, *shape):
        raise ValueError(f"the decoder makes {images} of two codes: expected {(2, *shape)}")
    return code[1]
