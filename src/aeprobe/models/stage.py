"""What the two stages' LightningModules have in common."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from aeprobe.data.sampler import Batch, EpochBatches
from aeprobe.models.optimization import Optimization


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
        """Adds the mean of so many samples; of none it is not a number, and is not added."""
        if count:
            self.total += mean * count
            self.count += count

    def compute(self) -> Tensor:
        """The mean of all."""
        return self.total / self.count


class StageModule(L.LightningModule):
    """A LightningModule that takes several optimizer steps at a time, and whose checkpoint says what it is.

    What the Trainer does around a `training_step` takes longer than the arithmetic of a step of stage 2. So
    it is given `trainer.steps_per_execution` batches at once, by Lightning's manual optimization.

    Attributes:
        stage: its name.
        optimization: makes the optimizer and the schedule; None where nothing is trained.
        val_loss: the mean loss of the validation split.
        test_loss: of the test split.
        last_batch: whether a step is the last of its epoch.
    """

    stage: str
    optimization: Optimization | None

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.last_batch = False
        self.val_loss, self.test_loss = SampleMean(), SampleMean()

    def _step(self, batch: Batch, split: str) -> dict[str, Tensor]:
        """The metrics of a batch, "loss" among them."""
        raise NotImplementedError

    def objective(self, metrics: dict[str, Tensor]) -> Tensor:
        """What a step makes smaller, from the metrics of its batch."""
        return metrics["loss"]

    def training_step(self, block: Iterable[Batch], number: int) -> dict[str, Tensor]:
        """Takes the optimizer steps of a block of batches.

        Args:
            block: batches, each of which is made when it is asked for.
            number: of the block, in the epoch.

        Returns:
            The metrics of every batch, and its learning rate "lr": (batches,).
        """
        optimizer, loader = self.optimizers(), self.trainer.train_dataloader
        assert isinstance(optimizer, LightningOptimizer)
        assert self.optimization is not None
        schedule = self.lr_schedulers() if self.optimization.interval == "step" else None
        assert loader is not None
        batches: EpochBatches = loader.sampler
        accumulate = self.optimization.accumulate
        arrives = self.trainer.precision_plugin.convert_input  # Lightning's own call has seen no batch yet
        full_precision = torch.autocast(self.device.type, enabled=False)  # only `_step` is for autocast
        measured: dict[str, list[Tensor]] = defaultdict(list)
        rates = []
        for step, batch in enumerate(block, start=number * loader.batch_size):
            self.last_batch = step + 1 == len(batches)
            metrics = self._step(arrives(batch), "train")
            window = min(accumulate, len(batches) - step // accumulate * accumulate)  # the last may have fewer
            weight = batches.share(step) / window
            objective = self.objective(metrics)
            for key, value in metrics.items():
                measured[key].append(value.detach())
            rates.append(optimizer.param_groups[0]["lr"])
            with full_precision:
                self.manual_backward(objective if weight == 1 else objective * weight)
                if self.last_batch or (step + 1) % accumulate == 0:
                    optimizer.step()
                    optimizer.zero_grad()
                    if schedule is not None:
                        schedule.step()  # type: ignore[union-attr]
        made = {key: torch.stack(values) for key, values in measured.items()}
        return made | {"lr": torch.tensor(rates, dtype=torch.float64)}

    def on_validation_end(self) -> None:
        """A schedule that follows the validation loss looks at it."""
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(self.trainer.callback_metrics["val/loss"])

    def on_train_epoch_end(self) -> None:
        """A schedule that counts epochs steps: before the checkpoints are saved, which hold its state."""
        schedule = self.lr_schedulers()
        by_epoch = self.optimization is not None and self.optimization.interval == "epoch"
        if by_epoch and schedule is not None and not isinstance(schedule, ReduceLROnPlateau):
            schedule.step()  # type: ignore[union-attr]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips the gradients, whose scale is their own by now."""
        assert self.optimization is not None
        if self.optimization.clip is not None:
            # Not self.clip_gradients, which refuses a fused optimizer under bf16-mixed, where nothing is scaled.
            self.trainer.precision_plugin.clip_grad_by_norm(optimizer, self.optimization.clip)

    def configure_optimizers(self) -> Any:
        """All that is not frozen trains."""
        assert self.optimization is not None, "a stage trains with an Optimization"
        return self.optimization.configure(p for p in self.parameters() if p.requires_grad)

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
