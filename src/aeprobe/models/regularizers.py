"""Terms that stage 1 may minimise beside its loss. `conf/regularizer` has a file for each."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aeprobe.data.augmentation import randomly_deformed

if TYPE_CHECKING:
    from aeprobe.models.autoencoder import Autoencoder

TINY = 1e-8  # a probability of 0 counts as this one, which has a logarithm
PROBING = 10.0  # the length of the noise that tells where the clusters change: as far as two digits are apart
SHARPNESS = 3.0  # of the clusters, whose logits are a code's numbers times this


class Regularizer(nn.Module):
    """A term that is added to the loss of a training step."""

    fades = False  # with the share of epochs that are left, so that a run cannot be lengthened

    def require_code(self, numbers: int) -> None:
        """Raise ValueError where a code of so many numbers is too short for it."""

    def forward(self, module: "Autoencoder", images: Tensor, code: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the term, and its metrics by name, for the module that is trained.

        Images are float in [0, 1], (N, channels, height, width), before any corruption, and `code` are the step's
        codes of them, (N, code).
        """
        raise NotImplementedError


class Clusters(Regularizer):
    """Soft clusters that an image shares with changed copies of itself; no label is seen.

    The first numbers of a code are also the logits of the clusters, so that no layer is added.

    Args:
        weight: of the term, times the square of the share of epochs that are left: 1 in the first, 0.01 in the
            last of ten.
        clusters: 2 or more.
    """

    fades = True

    def __init__(self, weight: float, clusters: int = 10) -> None:
        super().__init__()
        if not weight > 0 or clusters < 2:
            raise ValueError(f"weight={weight} clusters={clusters}: expected above 0, and 2 clusters or more")
        self.weight, self.clusters = weight, clusters

    def require_code(self, numbers: int) -> None:
        """Raise ValueError where the code has fewer numbers than there are clusters."""
        if self.clusters > numbers:
            raise ValueError(f"clusters={self.clusters}: a code has {numbers} numbers; give as many or fewer")

    def weight_now(self, module: "Autoencoder") -> float:
        """Return the weight in this epoch."""
        left: float = 1 - module.trainer.current_epoch / (module.trainer.max_epochs or 1)
        return self.weight * left**2


class ClusterAgreement(Clusters):
    """Minus the mutual information between the clusters of an image and of a deformed copy; see `Clusters`."""

    def forward(self, module: "Autoencoder", images: Tensor, code: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the term, and the mutual information as "agreement", in nats."""
        views = (code, module.encode(randomly_deformed(images)))
        agreement = mutual_information(*(SHARPNESS * view[:, : self.clusters] for view in views))
        return -self.weight_now(module) * agreement, {"agreement": agreement}


class InformationMaximization(Clusters):
    """Clusters that are sure, used equally, and the same for a deformed and for an adversarial copy of an image.

    Information maximizing self-augmented training (Hu et al., ICML 2017, equations 5 to 7, with their 0.1 and 4),
    with the adversarial copies of Miyato et al. (TPAMI 2018, algorithm 1): noise of a given length, turned to
    where it changes the clusters most. Other arguments as those of `Clusters`.

    Args:
        radius: the noise's length, above 0, of pixels in [0, 1].
    """

    def __init__(self, weight: float, clusters: int = 10, radius: float = 1.3) -> None:
        super().__init__(weight, clusters)
        if not radius > 0:
            raise ValueError(f"radius={radius}: must be above 0")
        self.radius = radius

    def forward(self, module: "Autoencoder", images: Tensor, code: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the term, and the mutual information of images and clusters as "information", in nats."""

        def clusters_of(changed: Tensor) -> Tensor:
            return self._clusters(module.encode(changed))

        clusters = self._clusters(code)
        target = clusters.detach()
        adversarial = images + self._adversarial(images, target, clusters_of)
        changed = sum(divergence(target, clusters_of(copy)) for copy in (randomly_deformed(images), adversarial))
        balance, doubt = entropy(clusters.mean(0, keepdim=True)), entropy(clusters)
        term = self.weight_now(module) * (changed + 0.1 * (doubt - 4 * balance))
        return term, {"information": balance - doubt}

    def _clusters(self, code: Tensor) -> Tensor:
        return code[:, : self.clusters].float().softmax(1)

    def _adversarial(self, images: Tensor, target: Tensor, clusters_of: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            noise = _of_length(torch.randn_like(images), PROBING).requires_grad_()
            (turned,) = torch.autograd.grad(divergence(target, clusters_of(images + noise)), noise)
        return _of_length(turned, self.radius)


def _of_length(noise: Tensor, length: float) -> Tensor:
    """Stretch each image's noise to a length."""
    stretched: Tensor = noise * (length / (noise.flatten(1).norm(dim=1) + TINY).view(-1, 1, 1, 1))
    return stretched


def divergence(target: Tensor, other: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence, in nats, of distributions from others, both (N, clusters)."""
    return (target * (target.clamp_min(TINY).log() - other.clamp_min(TINY).log())).sum(1).mean()


def entropy(distributions: Tensor) -> Tensor:
    """Return the mean entropy, in nats, of distributions, (N, clusters)."""
    return -(distributions * distributions.clamp_min(TINY).log()).sum(1).mean()


def mutual_information(first: Tensor, second: Tensor) -> Tensor:
    """Return the mutual information of the soft clusters of two views of N images, in nats.

    Invariant information clustering (Ji, Henriques & Vedaldi, ICCV 2019, equation 3): it is largest,
    log(clusters), where both views are in one cluster, every time, and all clusters are equally large.
    The views are given as logits, (N, clusters).
    """
    with torch.autocast(first.device.type, enabled=False):  # half precision has no number as small as 1e-8
        joint = first.float().softmax(1).t() @ second.float().softmax(1) / len(first)
        joint = ((joint + joint.t()) / 2).clamp_min(1e-8)
        return (joint * (joint / (joint.sum(0, keepdim=True) * joint.sum(1, keepdim=True))).log()).sum()
