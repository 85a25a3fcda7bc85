"""What the two stages' LightningModules have in common."""

from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from torch import Tensor
from torchmetrics import Metric

from aeprobe.optimization import Optimization


class SampleMean(Metric):
    """A mean over samples, of all processes together.

    A value that is logged with `sync_dist` would be divided by a mean number of samples, rounded down.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, mean: Tensor, count: int) -> None:
        """Adds the mean of so many samples."""
        self.total += mean * count
        self.count += count

    def compute(self) -> Tensor:
        """The mean of all."""
        return self.total / self.count


class StageModule(L.LightningModule):
    """A LightningModule whose checkpoint says what it is.

    Attributes:
        stage: its name.
        optimization: makes the optimizer and the schedule; None where nothing is trained.
        val_loss: the mean loss of the validation split.
        test_loss: of the test split.
    """

    stage: str
    optimization: Optimization | None

    def __init__(self) -> None:
        super().__init__()
        self.val_loss, self.test_loss = SampleMean(), SampleMean()

    def log_loss(self, split: str, loss: Tensor, samples: int) -> None:
        """Logs val/loss or test/loss, the mean over a batch's samples."""
        metric = self.val_loss if split == "val" else self.test_loss
        metric.update(loss, samples)
        self.log(f"{split}/loss", metric, on_epoch=True, logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names the class, so that the file is complete by itself."""
        checkpoint["stage"] = self.stage

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook 44 times a step, and nn.Module takes 2 µs to look for a parameter in it.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)
