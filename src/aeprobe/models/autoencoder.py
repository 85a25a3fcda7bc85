"""Stage 1: an autoencoder that learns to reconstruct its images."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from aeprobe.data.sampler import Batch
from aeprobe.models.networks import Normalize
from aeprobe.models.optimization import Optimization
from aeprobe.models.regularizers import Regularizer
from aeprobe.models.stage import StageModule
from aeprobe.models.structure import Structure, output_of, structure

LOSS_NAMES = {
    "MSELoss": "MSE per pixel",
    "L1Loss": "mean absolute error per pixel",
    "BinaryCrossEntropy": "binary cross-entropy per pixel",
}


class Autoencoder(StageModule):
    """Encodes an image as a short code and reconstructs it from there.

    Images are uint8 or floats in [0, 1]. Reconstructions and the MSE are in [0, 1], whatever `mean` and `std` are.

    Args:
        network: has an `encoder`, from (N, channels, height, width) to codes, (N, code), and a `decoder` back,
            to floats in [0, 1].
        shape: of an image: channels, height and width.
        loss: of (reconstructions, images), a mean over them; the MSE by default.
        mean: what the encoder sees of a pixel in [0, 1] is (pixel - mean) / std.
        std: above 0.
        corruption: changes what the encoder sees while training, float in [0, 1]; the images as they were are
            reconstructed.
        regularizer: what is added to the loss while training.
        optimization: makes the optimizer and the schedule; needed to train, not to use.

    Attributes:
        code_size: how many numbers an image becomes.

    Raises:
        ValueError: the network does not fit images of the shape.
    """

    stage = "autoencoder"
    measured: tuple[str, ...] = ("loss", "mse")
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
        super().__init__()
        self.shape = tuple(shape)
        self.normalize = Normalize(mean, std)
        self.encoder, self.decoder = network.get_submodule("encoder"), network.get_submodule("decoder")
        self.code_size = _size_of_code(self.encoder, self.decoder, self.shape)
        self.loss = loss or nn.MSELoss()
        self.corruption = corruption or nn.Identity()
        self.regularizer = regularizer
        self.optimization = optimization

    @property
    def loss_name(self) -> str:
        """What is minimised, as figures and tables call it."""
        name = type(self.loss).__name__
        return LOSS_NAMES.get(name, name)

    def structures(self) -> dict[str, Structure]:
        """Its networks, by their names."""
        decoder = structure(self.decoder, (self.code_size,))
        return {"encoder": structure(self.encoder, self.shape), "decoder": decoder}

    def encode(self, images: Tensor) -> Tensor:
        """The codes, (N, code), of images, uint8 or float in [0, 1], (N, channels, height, width).

        Raises:
            ValueError: floats outside of [0, 1], but in training mode.
        """
        code: Tensor = self.encoder(self.normalize(self.checked(images)))
        return code

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions in [0, 1], float, of images of the same shape."""
        reconstruction: Tensor = self.decoder(self.encode(images))
        return reconstruction

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch's reconstructions, plus what the regularizer adds."""
        images = self.normalize.pixels(batch[0])
        code = self.encode(self.corruption(images))
        reconstruction = self.decoder(code)
        loss = self.objective(reconstruction, images, code)
        self.record(loss=loss, **self.beside(reconstruction, images))
        if self.regularizer is None:
            return loss
        penalty, metrics = self.regularizer(self, images, code)
        self.record(**self.step_metrics, **metrics)
        total: Tensor = loss + penalty
        return total

    def loss_of(self, batch: Batch) -> Tensor:
        """Return what is minimised, without corruption and regularizer."""
        images = self.normalize.pixels(batch[0])
        code = self.encode(images)
        return self.objective(self.decoder(code), images, code)

    def objective(self, reconstruction: Tensor, images: Tensor, code: Tensor) -> Tensor:
        """What is minimised, a mean over the images."""
        loss: Tensor = self.loss(reconstruction, images)
        return loss

    def beside(self, reconstruction: Tensor, images: Tensor) -> dict[str, Tensor]:
        """The mean squared error of pixels in [0, 1], as "mse"; nothing where the loss is just that."""
        if type(self.loss) is nn.MSELoss and type(self).objective is Autoencoder.objective:
            return {}
        return {"mse": mse_loss(reconstruction.detach(), images)}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs val/loss and val/mse."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs test/loss and test/mse; keeps each image's code and its mean squared error."""
        images, code, reconstruction = self._evaluate(batch, "test")
        self.keep(codes=code, errors=(reconstruction - images).square().mean((1, 2, 3)))

    def _evaluate(self, batch: Batch, split: str) -> tuple[Tensor, Tensor, Tensor]:
        images = self.normalize.pixels(batch[0])
        code = self.encode(images)
        reconstruction = self.decoder(code)
        loss = self.objective(reconstruction, images, code)
        self.log_mean(split, "loss", loss, len(images))
        self.log_mean(split, "mse", self.beside(reconstruction, images).get("mse", loss), len(images))
        self.evaluate_more(split, code)
        self.measure(split, reconstruction, images)
        return images, code, reconstruction

    def evaluate_more(self, split: str, code: Tensor) -> None:
        """For subclasses: logs what else they measure of codes, (N, code), by `log_mean`."""

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Codes, (N, code), and reconstructions in [0, 1], of the images' shape."""
        code = self.encode(batch[0])
        return {"code": code, "reconstruction": self.decoder(code)}


def _size_of_code(encoder: nn.Module, decoder: nn.Module, shape: tuple[int, ...]) -> int:
    try:
        code = output_of(encoder, shape)
    except Exception as error:  # whatever a network ends in
        raise ValueError(f"its encoder takes no images of {_words(shape)} ({_first_line(error)})") from error
    if not isinstance(code, Tensor) or code.ndim != 2 or len(code) != 2:
        raise ValueError(f"its encoder makes {_shape_of(code)} of two images: expected (2, numbers of a code)")
    try:
        image = output_of(decoder, tuple(code.shape[1:]))
    except Exception as error:
        raise ValueError(
            f"its decoder takes no codes of {code.shape[1]} numbers ({_first_line(error)})"
        ) from error
    if _shape_of(image) != str((2, *shape)):
        raise ValueError(
            f"its decoder makes {_shape_of(image)} of two codes: expected {(2, *shape)}, as the images"
        )
    return int(code.shape[1])


def _shape_of(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
