"""How a stage is optimized: its optimizer and schedule, from their nodes in the configuration."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from aeprobe.config.nodes import bound
from aeprobe.config.schema import interval
from aeprobe.errors import AeprobeError

RATES = ("base_lr", "max_lr")  # of CyclicLR and OneCycleLR: one number for all groups of weights, or a list


class Optimization:
    """How a stage is optimized: makes its optimizer and learning-rate schedule.

    Args:
        stage: "autoencoder" or "classifier".
        optimizer: `_target_`, `_partial_: true` and arguments, as in conf/optimizer.
        scheduler: the same, as in conf/scheduler; `_target_: null` for none. `interval` says whether it counts
            optimizer steps or epochs; an argument that is "auto" becomes their number in the whole training.
        batches: that train in an epoch.
        epochs: of the training.
        accumulate: batches whose gradients make one optimizer step; the last of an epoch may have fewer.
        second_lr: the learning rate of the second group of weights, if it is another than the first's.

    Attributes:
        interval: "step" or "epoch".

    Raises:
        AeprobeError: there is no such class, it is of another kind, or it takes no such argument.
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
        self.accumulate, self.second_lr = accumulate, second_lr
        self.interval = interval(scheduler)
        self._stage = stage
        self._length = epochs if self.interval == "epoch" else -(-batches // accumulate) * epochs
        self._optimizer = bound(optimizer, f"{stage}.optimizer", Optimizer)
        self._scheduler: partial[Any] | None = None
        if scheduler["_target_"]:
            plain = {key: value for key, value in scheduler.items() if key != "interval"}
            self._scheduler = bound(plain, f"{stage}.scheduler", LRScheduler)

    def configure(self, first: Iterable[nn.Parameter], second: Iterable[nn.Parameter] = ()) -> Any:
        """Return what `configure_optimizers` does, for one or two groups of weights.

        Raises:
            AeprobeError: the optimizer's class or the schedule's refuses its arguments or these weights.
        """
        with _refused(f"{self._stage}.optimizer", self._optimizer):
            optimizer = self._make(first, second)
        with _refused(f"{self._stage}.scheduler", self._scheduler):
            scheduler = self._schedule(optimizer)
        if scheduler is None:
            return optimizer
        schedule = {"scheduler": scheduler, "interval": self.interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            schedule |= {"monitor": "val/loss", "strict": False}  # not measured in every epoch
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _make(self, first: Iterable[nn.Parameter], second: Iterable[nn.Parameter]) -> Optimizer:
        if self.second_lr is None:
            return self._optimizer([*first, *second])
        return self._optimizer([{"params": [*first]}, {"params": [*second], "lr": self.second_lr}])

    def _schedule(self, optimizer: Optimizer) -> Any:
        if self._scheduler is None:
            return None
        given: dict[str, Any] = {
            key: self._length for key, value in self._scheduler.keywords.items() if value == "auto"
        }
        first, *others = (group["lr"] for group in optimizer.param_groups)
        for key in RATES if others else ():  # a cycle's rates replace the optimizer's, in every group
            if isinstance(rate := self._scheduler.keywords.get(key), int | float):
                given[key] = [rate, *(rate * other / first for other in others)]
        return self._scheduler(optimizer, **given)


@contextmanager
def _refused(key: str, made: "partial[Any] | None") -> Iterator[None]:
    """Tell any error of a class in one line that names its key and it."""
    try:
        yield
    except Exception as error:
        what = f" ({made.func.__name__})" if made else ""
        raise AeprobeError(f"{key}{what}: {str(error).partition(chr(10))[0] or type(error).__name__}") from error
