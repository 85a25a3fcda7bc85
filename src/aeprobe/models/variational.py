"""Another kind of stage 1: a variational autoencoder, whose decoder also makes images of random codes."""

from typing import Any

import torch
from torch import Tensor, nn

from aeprobe.models.autoencoder import Autoencoder


class VariationalAutoencoder(Autoencoder):
    """Encodes an image as a normal distribution of codes that is kept near the standard one.

    Kingma & Welling, ICLR 2014; beta as of Higgins et al., ICLR 2017. The code that a classifier, the figures and
    the validation see is the distribution's mean, so that no number of theirs depends on chance.

    Args:
        beta: the weight of the Kullback-Leibler divergence, above 0. The reconstruction loss is a mean over an
            image's numbers, so the divergence is divided by how many they are: with loss=bce and beta=1 it
            minimises the negative evidence lower bound, in nats for each number.
        autoencoder: the arguments of `Autoencoder`, without a regularizer.
    """

    measured = ("loss", "mse", "kl")

    def __init__(self, beta: float = 1.0, **autoencoder: Any) -> None:
        super().__init__(**autoencoder)
        if not beta > 0:
            raise ValueError(f"beta={beta}: must be above 0")
        if self.regularizer is not None:
            raise ValueError("a variational autoencoder takes no regularizer beside its own divergence")
        self.beta, self.numbers = beta, torch.Size(self.shape).numel()
        self.log_variance = nn.Linear(self.code_size, self.code_size)  # of a code, from its mean

    @property
    def loss_name(self) -> str:
        """The name of what is minimised, in figures and tables."""
        return f"{super().loss_name}, plus {self.beta:g} KL / {self.numbers}"

    def sampled(self, code: Tensor) -> Tensor:
        """Draw codes around their means."""
        deviation: Tensor = (self.log_variance(code) / 2).exp()
        return code + torch.randn_like(code) * deviation

    def objective(self, reconstruction: Tensor, images: Tensor, code: Tensor) -> Tensor:
        """Return the loss plus beta times the divergence of the codes, which are means."""
        loss = super().objective(reconstruction, images, code)
        return loss + self.beta * self.divergence(code) / self.numbers

    def divergence(self, mean: Tensor) -> Tensor:
        """Return the divergence from the standard normal distribution, in nats, a mean over the images."""
        log_variance: Tensor = self.log_variance(mean)
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()

    def beside(self, reconstruction: Tensor, images: Tensor, code: Tensor) -> dict[str, Tensor]:
        """Return the divergence as "kl", and the mean squared error."""
        return {"kl": self.divergence(code), **super().beside(reconstruction, images, code)}

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Return images, float in [0, 1], (count, *shape), of codes drawn by torch's generator."""
        codes = torch.randn(count, self.code_size).to(self.log_variance.weight)
        images: Tensor = self.decoder(codes)
        return images
