"""The optimizer and the learning-rate schedule of a stage, from their nodes in the configuration."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aeprobe.errors import AeprobeError
from aeprobe.nodes import bound

RATES = ("base_lr", "max_lr")  # of CyclicLR and OneCycleLR: one number for all groups of weights, or a list


class Optimization:
    """Makes a stage's optimizer and learning-rate schedule.

    Args:
        stage: "autoencoder" or "classifier".
        optimizer: `_target_`, `_partial_: true` and arguments, as in conf/optimizer.
        scheduler: the same, as in conf/scheduler; `_target_: null` for none. `interval` says whether it counts
            optimizer steps or epochs; an argument that is "auto" becomes their number in the whole training.
        batches: that train in an epoch.
        epochs: of the training.
        accumulate: batches whose gradients make one optimizer step; the last of an epoch may have fewer.
        second_lr: the learning rate of the second group of weights, if it is another than the first's.
    """

    def __init__(
        self,
        stage: str,
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any],
        batches: int,
        epochs: int,
        accumulate: int = 1,
        second_lr: float | None = None,
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
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise AeprobeError(f"{self.stage}.{key} ({made.func.__name__}): {reason}") from error
