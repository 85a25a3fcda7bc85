"""The parts that the two stages' LightningModules share, with their optimizers and schedules."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from math import nan
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric, MetricCollection

from aeprobe.data.datamodule import PART, ImageDataModule
from aeprobe.data.sampler import Batch
from aeprobe.errors import AeprobeError, first_line
from aeprobe.models.networks import Normalize, evaluating
from aeprobe.nodes import bound
from aeprobe.processes.collectives import gather_in_sample_order

ROUNDING = 1e-3  # by which a pixel may leave [0, 1], and by which two equal means may differ
RATES = ("base_lr", "max_lr")  # of CyclicLR and OneCycleLR: one number for all groups of weights, or a list


class Optimization:
    """Makes a stage's optimizer and learning-rate schedule of nodes as in conf/optimizer and conf/scheduler.

    A schedule counts optimizer steps or epochs, as its `interval` says; an argument that is "auto" becomes their
    number in the whole training. So many batches of an epoch make a step as `accumulate` says.
    """

    def __init__(
        self,
        stage: str,
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any],
        batches: int,
        epochs: int,
        accumulate: int = 1,
        second_lr: float | None = None,  # of the second group of weights, if it is another than the first's
    ) -> None:
        self.stage, self.accumulate, self.second_lr = stage, accumulate, second_lr
        self.interval = scheduler.get("interval", "epoch")
        self.optimizer = bound(optimizer, f"{stage}.optimizer", Optimizer)
        self.scheduler: partial[Any] | None = None
        self.automatic: dict[str, Any] = {}
        if scheduler["_target_"]:
            plain = {key: value for key, value in scheduler.items() if key != "interval"}
            self.scheduler = bound(plain, f"{stage}.scheduler", LRScheduler)
            length = epochs if self.interval == "epoch" else -(-batches // accumulate) * epochs
            self.automatic = {key: length for key, value in self.scheduler.keywords.items() if value == "auto"}

    def configure(self, first: Iterable[nn.Parameter], second: Iterable[nn.Parameter] = ()) -> Any:
        """Return the result of `configure_optimizers`, for one or two groups of weights."""
        groups: list[Any] = [*first, *second]
        if self.second_lr is not None:
            groups = [{"params": [*first]}, {"params": [*second], "lr": self.second_lr}]
        optimizer = self._make("optimizer", self.optimizer, groups)
        if self.scheduler is None:
            return optimizer
        given = {**self.automatic}
        rate_of_first, *others = (group["lr"] for group in optimizer.param_groups)
        for key in RATES if others else ():  # a cycle's rates replace the optimizer's, in every group
            if isinstance(rate := self.scheduler.keywords.get(key), int | float):
                given[key] = [rate, *(rate * other / rate_of_first for other in others)]
        scheduler = self._make("scheduler", self.scheduler, optimizer, **given)
        # One that follows val/loss takes its steps in StageModule: Lightning would warn in an epoch without it.
        schedule = {"scheduler": scheduler, "interval": self.interval, "reduce_on_plateau": False}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _make(self, key: str, made: "partial[Any]", *given: Any, **automatic: Any) -> Any:
        """Make one of them; any error of its class becomes one line that names its key and it."""
        try:
            return made(*given, **automatic)
        except Exception as error:
            raise AeprobeError(f"{self.stage}.{key} ({made.func.__name__}): {first_line(error)}") from error


class Measures(NamedTuple):
    """The results of a batch in validation and test."""

    means: dict[str, Tensor]  # by name: a mean over the samples, or a value for each
    predicted: Tensor  # the input of metrics, with the target
    target: Tensor
    of_each: dict[str, Tensor]  # by name: values for each sample


class StageModule(L.LightningModule):
    """A LightningModule that can be trained by several processes with uneven parts of a batch."""

    stage: str
    measured: tuple[str, ...] = ("loss",)  # by validation and test, as means over samples
    of_each: tuple[str, str]  # a metric whose value for each test image is kept, and its name in `test_outputs`

    def __init__(self, shape: Sequence[int], mean: float, std: float, optimization: Optimization | None) -> None:
        super().__init__()
        self.shape, self.normalize, self.optimization = tuple(shape), Normalize(mean, std), optimization
        self.val_metrics, self.test_metrics = MetricCollection({}), MetricCollection({})  # the person's own
        self.step_metrics: dict[str, Tensor] = {}  # the numbers of the last training step, on the device
        self.test_outputs: dict[str, list[Tensor]] = {}  # for each image; one tensor each once the test has ended
        names = [f"{split}_{name}" for split in ("val", "test") for name in self.measured]
        # A NaN stays one; the strategy "disable" would drop the weights (torchmetrics 1.9.0).
        self.means = nn.ModuleDict({name: MeanMetric(nan_strategy=nan) for name in names})

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning notes the running hook, 44 times a step: a tenth of its time
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def add_metrics(self, metrics: Mapping[str, Metric]) -> None:
        """Measure the person's own metrics, by their names, on validation and test images too."""
        added = MetricCollection(dict(metrics), compute_groups=False)
        self.val_metrics, self.test_metrics = added.clone(prefix="val/"), added.clone(prefix="test/")

    def require_fit(self, data: ImageDataModule, *splits: str) -> None:
        """Raise AeprobeError where the module does not fit the images; the encoder's shape is looked at before."""

    def prepare(self, data: ImageDataModule, trains: bool) -> None:
        """Take what training or the test needs of the images, before it begins."""

    def results(self, seed: int) -> dict[str, Any]:
        """Return what metrics.json says of the test, besides means."""
        return {}

    def measures(self, batch: Batch) -> Measures:
        """Measure a batch, as validation and test do."""
        raise NotImplementedError

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log val/NAME for each name in `measured`, and the person's own metrics."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log test/NAME for each name in `measured`, and keep the results for each image in `test_outputs`."""
        for name, values in self._evaluate("test", batch).of_each.items():
            self.test_outputs.setdefault(name, []).append(values)

    def _evaluate(self, split: str, batch: Batch) -> Measures:
        """Log means and metrics over all samples of all processes; this one's part of a batch may be empty."""
        measures = self.measures(batch)
        samples = len(measures.target)
        for name in self.measured:
            metric: Any = self.get_submodule(f"means.{split}_{name}")
            values = measures.means[name]
            if samples:
                metric.update(values, samples / values.numel())
            self.log(f"{split}/{name}", metric, on_epoch=True, logger=False)
        if metrics := self.val_metrics if split == "val" else self.test_metrics:
            if samples:
                metrics.update(measures.predicted, measures.target)
            self.log_dict(metrics, on_epoch=True, logger=False)
        return measures

    @torch.no_grad()
    def require_mean_loss(self, images: Tensor, labels: Tensor) -> None:
        """Raise AeprobeError where the loss of a batch is not that of the same batch twice over, as a mean is."""
        losses = []
        for times in (1, 2):
            module = deepcopy(self).eval()  # a loss may keep something of each call
            try:
                batch = torch.cat([images] * times), torch.cat([labels] * times)
                losses.append(module.measures(batch).means["loss"].double().item())
            except Exception as error:  # whatever a person's own ends in
                what = f"{self.stage}.loss: does not fit the {self.stage}"
                raise AeprobeError(f"{what}: {first_line(error)}") from error
        once, twice = torch.tensor(losses, dtype=torch.float64)
        if not torch.isclose(once, twice, rtol=ROUNDING, atol=1e-6, equal_nan=True):
            raise AeprobeError(
                f"{self.stage}.loss: is no mean over images: {once:.5g} for some, {twice:.5g} for the same twice "
                "over, so that it depends on the batch size; give their mean (reduction: mean)"
            )

    def checked(self, images: Tensor) -> Tensor:
        """Return images that a person gives; a Trainer's are right already, and its noise may leave [0, 1]."""
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

    def on_test_start(self) -> None:
        """Forget an earlier test."""
        self.test_outputs.clear()

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
        weight = trainer.train_dataloader.sampler.shares[batch].item() * accumulate / window  # type: ignore[union-attr]
        (loss if weight == 1 else loss * weight).backward()

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs of `predict_step` for any number of images, on the module's device, in eval mode.

        They are uint8, or floats in [0, 1], (N, channels, height, width).
        """
        images = torch.as_tensor(images)  # such as NumPy's, whose floats are double
        if images.is_floating_point():
            images = images.to(next(self.parameters()).dtype)
        with evaluating(self):
            parts = [self.predict_step((part.to(self.device), part)) for part in images.split(PART)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def configure_optimizers(self) -> Any:
        """Train all weights that are not frozen."""
        assert self.optimization is not None, "a stage trains with an Optimization"
        return self.optimization.configure(p for p in self.parameters() if p.requires_grad)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip; Lightning's own refuses a fused optimizer under bf16-mixed, although nothing is scaled there."""
        if gradient_clip_val:
            optimizer._step_supports_amp_scaling = False
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

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
