"""The parts that the two stages' LightningModules share."""

from collections.abc import Mapping
from copy import deepcopy
from math import nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric, MetricCollection

from aeprobe.data.sampler import Batch
from aeprobe.errors import AeprobeError
from aeprobe.models.optimization import Optimization
from aeprobe.models.quick_hooks import QuickModule
from aeprobe.models.structure import evaluating
from aeprobe.processes.collectives import gather_in_sample_order

AT_ONCE = 1_000  # images whose activations are in memory together
ROUNDING = 1e-3  # by which a pixel may leave [0, 1], and by which two equal means may differ


class StageModule(QuickModule):
    """A LightningModule that can be trained by several processes with uneven parts of a batch.

    Attributes:
        stage: its name.
        measured: what validation and test measure as means over samples, by name.
        of_each: a metric whose value for each test image is kept, and its name in `test_outputs`.
        optimization: makes the optimizer and the schedule; None where nothing is trained.
        val_metrics: the person's own, of the validation split; none are a part of a checkpoint.
        test_metrics: the same, of the test split.
        step_metrics: the numbers of the last training step, by name, on the device.
        test_outputs: the test's results for each image, by name; one tensor each once it has ended.
    """

    stage: str
    measured: tuple[str, ...] = ("loss",)
    of_each: tuple[str, str]
    optimization: Optimization | None

    def __init__(self) -> None:
        super().__init__()
        self.val_metrics, self.test_metrics = MetricCollection({}), MetricCollection({})
        self.step_metrics: dict[str, Tensor] = {}
        self.test_outputs: dict[str, list[Tensor]] = {}
        names = [f"{split}_{name}" for split in ("val", "test") for name in self.measured]
        # A NaN stays one; the strategy "disable" would drop the weights (torchmetrics 1.9.0).
        self.means = nn.ModuleDict({name: MeanMetric(nan_strategy=nan) for name in names})

    def add_metrics(self, metrics: Mapping[str, Metric]) -> None:
        """Measure the person's own metrics, by their names, on validation and test images too."""
        added = MetricCollection(dict(metrics), compute_groups=False)
        self.val_metrics, self.test_metrics = added.clone(prefix="val/"), added.clone(prefix="test/")

    def loss_of(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, as validation measures it."""
        raise NotImplementedError

    @torch.no_grad()
    def require_mean_loss(self, images: Tensor, labels: Tensor) -> None:
        """Raise AeprobeError where the loss of a batch is not that of the same batch twice over, as a mean is."""
        losses = []
        for times in (1, 2):
            module = deepcopy(self).eval()  # a loss may keep something of each call
            try:
                loss = module.loss_of((torch.cat([images] * times), torch.cat([labels] * times)))
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
        """Return images that a person gives; a Trainer's are right already, and its noise may leave [0, 1].

        Raises:
            ValueError: floats outside of [0, 1].
        """
        ours = self._trainer is not None and (self._trainer.training or self._trainer.evaluating)
        if ours or not images.is_floating_point() or not images.numel() or torch.compiler.is_compiling():
            return images
        low, high = images.detach().aminmax()
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # nor not a number
            raise ValueError(
                f"images are floats from {low:.4g} to {high:.4g}: expected floats in [0, 1], or uint8"
            )
        return images

    def record(self, **metrics: Tensor) -> None:
        """Keep a training step's numbers, for `train/NAME`: self.log would take a millisecond a step."""
        self.step_metrics = {name: value.detach() for name, value in metrics.items()}

    def log_mean(self, split: str, name: str, mean: Tensor, samples: int) -> None:
        """Log SPLIT/NAME, a mean over all samples of all processes; this one is of so many."""
        metric = self.get_submodule(f"means.{split}_{name}")
        assert isinstance(metric, MeanMetric)
        if samples:  # the mean of none is not a number
            metric.update(mean, samples)
        self.log(f"{split}/{name}", metric, on_epoch=True, logger=False)

    def measure(self, split: str, predicted: Tensor, target: Tensor) -> None:
        """Log the person's own metrics of a batch; they are computed over all samples of all processes."""
        metrics = self.val_metrics if split == "val" else self.test_metrics
        if not len(metrics):
            return
        if len(target):  # torchmetrics takes no empty part of a batch
            metrics.update(predicted, target)
        self.log_dict(metrics, on_epoch=True, logger=False)

    def on_test_start(self) -> None:
        """Forget an earlier test."""
        self.test_outputs.clear()

    def keep(self, **outputs: Tensor) -> None:
        """Keep a test step's results for each image of its batch, in `test_outputs`."""
        for name, values in outputs.items():
            self.test_outputs.setdefault(name, []).append(values)

    def on_test_epoch_end(self) -> None:
        """Bring together the results of all processes."""
        for values in self.test_outputs.values():
            values[:] = [gather_in_sample_order(values)]

    def backward(self, loss: Tensor) -> None:
        """Weigh the loss of a batch before its gradients are added to those of the others.

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
        """Return the outputs of `predict_step` for any number of images, on the module's device and in eval mode.

        Args:
            images: uint8, or floats in [0, 1], (N, channels, height, width).
        """
        images = torch.as_tensor(images)  # such as NumPy's, whose floats are double
        if images.is_floating_point():
            images = images.to(next(self.parameters()).dtype)
        with evaluating(self):
            parts = [self.predict_step((part.to(self.device), part)) for part in images.split(AT_ONCE)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def configure_optimizers(self) -> Any:
        """Train all weights that are not frozen."""
        assert self.optimization is not None, "a stage trains with an Optimization"
        return self.optimization.configure(p for p in self.parameters() if p.requires_grad)

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, **more: Any) -> None:
        """Clip; Lightning's own refuses a fused optimizer under bf16-mixed, although nothing is scaled there."""
        if gradient_clip_val:
            optimizer._step_supports_amp_scaling = False
            self.clip_gradients(optimizer, gradient_clip_val, **more)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Take a schedule's step; one that follows a metric has taken it already, in `on_validation_end`."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_validation_end(self) -> None:
        """Show val/loss to a schedule that follows it; Lightning would do so after it saved the checkpoints."""
        if isinstance(schedule := self.lr_schedulers(), ReduceLROnPlateau):
            schedule.step(self.trainer.callback_metrics["val/loss"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the stage, so that the file is complete by itself."""
        checkpoint["stage"] = self.stage
