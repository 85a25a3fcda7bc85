"""What stage 1 may minimise beside the MSE. `conf/regularizer` has a file for each."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aeprobe.data.augmentation import randomly_deformed

if TYPE_CHECKING:
    from aeprobe.models.autoencoder import Autoencoder

SHARPNESS = 3.0  # of the clusters: what a code's numbers are multiplied by to be their logits


class Regularizer(nn.Module):
    """A term that is added to the MSE of a training step.

    Attributes:
        fades: whether it depends on the number of epochs, so that a run with it cannot be lengthened.
    """

    fades = False

    def require_code(self, numbers: int) -> None:
        """Raises ValueError where a code of so many numbers is too short for it."""

    def forward(self, module: "Autoencoder", images: Tensor, code: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The term, and what to record of it by name.

        Args:
            module: that is trained.
            images: float in [0, 1], (N, channels, height, width), before any corruption.
            code: what the step encoded them as, (N, code).
        """
        raise NotImplementedError


class ClusterAgreement(Regularizer):
    """Minus the mutual information between soft clusters of an image and of a deformed copy; it sees no label.

    The first numbers of a code are also the logits of the clusters, so that no layer is added.

    Args:
        weight: of the mutual information, times the square of the share of epochs that are left: 1 in the first,
            0.01 in the last of ten.
        clusters: 2 or more.
    """

    fades = True

    def __init__(self, weight: float, clusters: int = 10) -> None:
        super().__init__()
        if not weight > 0 or clusters < 2:
            raise ValueError(
                f"weight={weight} clusters={clusters}: expected a weight above 0, and 2 clusters or more"
            )
        self.weight, self.clusters = weight, clusters

    def require_code(self, numbers: int) -> None:
        """Raises ValueError where the code has fewer numbers than there are clusters."""
        if self.clusters > numbers:
            raise ValueError(
                f"clusters={self.clusters}: a code has {numbers} numbers; give as many clusters or fewer"
            )

    def forward(self, module: "Autoencoder", images: Tensor, code: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The term, and the mutual information as "agreement", in nats."""
        views = (code, module.encode(randomly_deformed(images)))
        agreement = mutual_information(*(SHARPNESS * view[:, : self.clusters] for view in views))
        left = 1 - module.trainer.current_epoch / (module.trainer.max_epochs or 1)
        return -self.weight * left**2 * agreement, {"agreement": agreement}


def mutual_information(first: Tensor, second: Tensor) -> Tensor:
    """How much a soft cluster of one view of an image says of the cluster of another view, in nats.

    Invariant information clustering (Ji, Henriques & Vedaldi, ICCV 2019, equation 3): it is largest,
    log(clusters), where both views are in one cluster, every time, and all clusters are equally large.

    Args:
        first: logits of the clusters for one view of N images, (N, clusters).
        second: for another view of the same images, the same.
    """
    with torch.autocast(first.device.type, enabled=False):  # half precision has no number as small as 1e-8
        joint = first.float().softmax(1).t() @ second.float().softmax(1) / len(first)
        joint = ((joint + joint.t()) / 2).clamp_min(1e-8)
        return (joint * (joint / (joint.sum(0, keepdim=True) * joint.sum(1, keepdim=True))).log()).sum()
