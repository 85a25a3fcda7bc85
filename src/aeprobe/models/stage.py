"""What the two stages' LightningModules have in common."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric, MetricCollection

from aeprobe.data.sampler import Batch
from aeprobe.errors import AeprobeError
from aeprobe.models.optimization import Optimization
from aeprobe.models.quick_hooks import QuickModule
from aeprobe.models.structure import evaluating
from aeprobe.processes.collectives import gather_in_sample_order

AT_ONCE = 1_000  # images whose activations are in memory together
ROUNDING = 1e-3  # by which a pixel may leave [0, 1], and by which two equal means may differ


class SampleMean(Metric):
    """A mean over samples, of all processes together. torchmetrics' MeanMetric gives other last bits."""

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


class StageModule(QuickModule):
    """A LightningModule that can be trained by several processes with uneven parts of a batch.

    Attributes:
        stage: its name.
        val_metrics: the person's own, of the validation split; none are a part of a checkpoint.
        test_metrics: the same, of the test split.
        optimization: makes the optimizer and the schedule; None where nothing is trained.
        step_metrics: what the last training step measured, by name, each a number on the device.
        test_outputs: what the test computed of each image, by name; one tensor each once it has ended.
        measured: what validation and test measure as means over samples, by name.
    """

    stage: str
    measured: tuple[str, ...] = ("loss",)
    optimization: Optimization | None

    def __init__(self) -> None:
        super().__init__()
        self.val_metrics, self.test_metrics = MetricCollection({}), MetricCollection({})
        self.step_metrics: dict[str, Tensor] = {}
        self.test_outputs: dict[str, list[Tensor]] = {}
        names = [f"{split}_{name}" for split in ("val", "test") for name in self.measured]
        self.means = nn.ModuleDict({name: SampleMean() for name in names})

    def add_metrics(self, metrics: Mapping[str, Metric]) -> None:
        """Has the person's own metrics measured on validation and test images too, by their names."""
        added = MetricCollection(dict(metrics), compute_groups=False)
        self.val_metrics, self.test_metrics = added.clone(prefix="val/"), added.clone(prefix="test/")

    def loss_of(self, batch: Batch) -> Tensor:
        """Return what is minimised, as validation measures it."""
        raise NotImplementedError

    @torch.no_grad()
    def require_mean_loss(self, images: Tensor, labels: Tensor) -> None:
        """Try the loss on a batch and on the same batch twice over, which have the same mean.

        Raises:
            AeprobeError: the loss does not take them, or it is no mean over images, so that it would depend on the
                batch size.
        """
        losses = []
        for batch in ((images, labels), (torch.cat([images] * 2), torch.cat([labels] * 2))):
            module = deepcopy(self).eval()  # a loss may keep something of each call
            try:
                loss = module.loss_of(batch)
            except Exception as error:  # whatever a person's own ends in
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise AeprobeError(f"{self.stage}.loss: does not fit the {self.stage}: {reason}") from error
            if not isinstance(loss, Tensor) or loss.ndim:
                shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise AeprobeError(
                    f"{self.stage}.loss: gives {shape} for {len(images)} images: expected their mean, a tensor of "
                    "shape () (reduction: mean)"
                )
            losses.append(loss.double())
        once, twice = losses
        if not torch.isclose(once, twice, rtol=ROUNDING, atol=1e-6, equal_nan=True):
            raise AeprobeError(
                f"{self.stage}.loss: is no mean over images: {once:.5g} for some, {twice:.5g} for the same twice "
                "over, so that it depends on the batch size; give their mean (reduction: mean)"
            )

    def checked(self, images: Tensor) -> Tensor:
        """Return images that a person gives; in training mode noise may leave [0, 1].

        Raises:
            ValueError: floats outside of [0, 1].
        """
        ours = self.training or (self._trainer is not None and self._trainer.evaluating)
        if ours or not images.is_floating_point() or not images.numel() or torch.compiler.is_compiling():
            return images
        low, high = images.detach().aminmax()
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # nor not a number
            raise ValueError(
                f"images are floats from {low:.4g} to {high:.4g}: expected floats in [0, 1], or uint8"
            )
        return images

    def record(self, **metrics: Tensor) -> None:
        """Keeps what a training step measured, for `train/NAME`: self.log would take a millisecond a step."""
        self.step_metrics = {name: value.detach() for name, value in metrics.items()}

    def log_mean(self, split: str, name: str, mean: Tensor, samples: int) -> None:
        """Logs SPLIT/NAME, the mean over all samples of all processes, of which this is that of so many."""
        metric = self.get_submodule(f"means.{split}_{name}")
        assert isinstance(metric, SampleMean)
        metric.update(mean, samples)
        self.log(f"{split}/{name}", metric, on_epoch=True, logger=False)

    def measure(self, split: str, predicted: Tensor, target: Tensor) -> None:
        """Logs the person's own metrics of a batch; they are computed over all samples of all processes."""
        metrics = self.val_metrics if split == "val" else self.test_metrics
        if not len(metrics):
            return
        if len(target):  # torchmetrics takes no empty part of a batch
            metrics.update(predicted, target)
        self.log_dict(metrics, on_epoch=True, logger=False)

    def on_test_start(self) -> None:
        """Forgets an earlier test."""
        self.test_outputs.clear()

    def keep(self, **outputs: Tensor) -> None:
        """Keeps what a test step computed of each image of its batch, in `test_outputs`."""
        for name, values in outputs.items():
            self.test_outputs.setdefault(name, []).append(values)

    def on_test_epoch_end(self) -> None:
        """Brings together what several processes computed."""
        for values in self.test_outputs.values():
            values[:] = [gather_in_sample_order(values)]

    def backward(self, loss: Tensor) -> None:
        """Weighs the loss of a batch before its gradients are added to those of the others.

        Lightning divides it by `accumulate_grad_batches`, although an epoch's last window may have fewer batches,
        and DDP takes the plain mean over processes, although their parts of a batch may differ in size.
        """
        trainer = self.trainer
        batch, accumulate = trainer.fit_loop.batch_idx, trainer.accumulate_grad_batches
        window = min(accumulate, int(trainer.num_training_batches) - batch // accumulate * accumulate)
        weight = trainer.train_dataloader.sampler.share(batch) * accumulate / window  # type: ignore[union-attr]
        (loss if weight == 1 else loss * weight).backward()

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """What `predict_step` gives, of any number of images, on the module's device, and in eval mode.

        Args:
            images: uint8, or floats in [0, 1], (N, channels, height, width).
        """
        images = torch.as_tensor(images)  # such as NumPy's, whose floats are double
        if images.is_floating_point():
            images = images.to(next(self.parameters()).dtype)
        with evaluating(self):
            found = [self.predict_step((part.to(self.device), part)) for part in images.split(AT_ONCE)]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}

    def configure_optimizers(self) -> Any:
        """All that is not frozen trains."""
        assert self.optimization is not None, "a stage trains with an Optimization"
        return self.optimization.configure(p for p in self.parameters() if p.requires_grad)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clips; Lightning's own refuses a fused optimizer under bf16-mixed, where nothing is scaled."""
        if gradient_clip_val is not None:
            plugin = self.trainer.precision_plugin
            by_value = gradient_clip_algorithm == GradClipAlgorithmType.VALUE
            (plugin.clip_grad_by_value if by_value else plugin.clip_grad_by_norm)(optimizer, gradient_clip_val)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Takes a schedule's step; one that follows a metric has taken it already, in `on_validation_end`."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_validation_end(self) -> None:
        """A schedule that follows val/loss looks at it; Lightning lets it after the checkpoints are saved."""
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(self.trainer.callback_metrics["val/loss"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names the stage, so that the file is complete by itself."""
        checkpoint["stage"] = self.stage
