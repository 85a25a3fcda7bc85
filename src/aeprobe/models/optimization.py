"""How a stage is optimized: its optimizer and schedule, from their nodes in the configuration."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from aeprobe.config.nodes import bound
from aeprobe.config.schema import interval
from aeprobe.errors import AeprobeError

RATES = ("base_lr", "max_lr")  # of CyclicLR and OneCycleLR: one number for all groups of weights, or a list
TRIED = 20_000  # of a schedule's steps before the training begins: a tenth of a second


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
        idle: a schedule that leaves the rate as it is for the whole training, in words; None: it does something.

    Raises:
        AeprobeError: the classes refuse the arguments, the optimizer takes no dense gradients, or the schedule
            comes to a rate that nothing trains with.
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
        self.idle: str | None = None
        self._try(optimizer)

    def configure(self, first: Iterable[nn.Parameter], second: Iterable[nn.Parameter] = ()) -> Any:
        """What `configure_optimizers` returns, for one or two groups of weights."""
        optimizer = self._make(first, second)
        scheduler = self._schedule(optimizer)
        if scheduler is None:
            return optimizer
        # One that follows val/loss takes its steps in StageModule: Lightning would warn in an epoch without it.
        schedule = {"scheduler": scheduler, "interval": self.interval, "reduce_on_plateau": False}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def require_own_numbers(self) -> None:
        """Refuses a schedule that replaces a number of the optimizer's, which would be typed in vain.

        A number that is the same in both places is accepted: the highest rate, or the highest momentum.

        Raises:
            AeprobeError: names both keys.
        """
        for key in self._optimizer.keywords:
            alone, theirs = self._alone.get(key), self._replacements(key)
            if not theirs or alone in theirs.values():
                continue
            argument, number = next(iter(theirs.items()))
            other = "" if key == "lr" else f", or ++{self._stage}.scheduler.cycle_momentum=false"
            raise AeprobeError(
                f"{self._stage}.optimizer.{key}={alone}: has no effect, since {self._stage}.scheduler "
                f"({_described(self._scheduler)}) makes it {number}, its {argument}; "
                f"give {self._stage}.optimizer.{key}={number}{other}"
            )

    def _replacements(self, key: str) -> dict[str, Any]:
        """What the schedule has for a number of the optimizer's, by its own argument; torch notes it there."""
        alone, scheduled = self._alone.get(key), self._scheduled
        if key == "lr":
            notes = {"max_lr": scheduled.get("max_lr"), "base_lr": scheduled.get("initial_lr")}
            return {argument: rate for argument, rate in notes.items() if rate is not None}
        if alone == scheduled.get(key):
            return {}
        momentum = scheduled.get("max_momentum")
        return {"max_momentum": [momentum, *alone[1:]] if isinstance(alone, list) else momentum}

    def _try(self, node: Mapping[str, Any]) -> None:
        """Takes a step and goes through the schedule on a weight of its own, so that no later epoch fails."""
        # A step for a GPU's graphs cannot be tried on a CPU.
        device = "cuda" if node.get("capturable") and torch.cuda.is_available() else "cpu"
        weight = nn.Parameter(torch.zeros(1, device=device))
        weight.grad = torch.zeros_like(weight)
        unscheduled = f"{self._stage}.scheduler: {_described(self._scheduler)} does not work"
        with _refused(f"{self._stage}.optimizer cannot be made"):
            optimizer = self._make([weight], [nn.Parameter(weight.detach().clone())] if self.second_lr else [])
        self._alone = _numbers(optimizer)
        with _refused(unscheduled):
            schedule = self._schedule(optimizer)
        self._scheduled = _numbers(optimizer)  # as the schedule begins with them
        with _refused(f"{self._stage}.optimizer._target_={node['_target_']}: takes no step here"):
            optimizer.step()  # after the schedule is made: torch warns of one that is the first to step
        with _refused(unscheduled):
            self._walk(optimizer, schedule)

    def _walk(self, optimizer: Optimizer, schedule: Any) -> None:
        if schedule is None or isinstance(schedule, ReduceLROnPlateau):
            return
        if (total := getattr(schedule, "total_steps", self._length)) < self._length:
            raise ValueError(f"total_steps={total} are less than the training's {self._length} {self.interval}s")
        rates = set()
        for number in range(min(self._length, TRIED)):
            rate = optimizer.param_groups[0]["lr"]
            if not 0 <= rate < math.inf:
                raise ValueError(f"the rate is {rate:g} in {self.interval} {number + 1}")
            rates.add(rate)
            schedule.step()
        if len(rates) == 1 and self._length <= TRIED:
            length = f"{self._length} {self.interval}{'s'[: self._length > 1]}"
            self.idle = f"{_described(self._scheduler)} does not change the rate in {length}"

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


def _numbers(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's arguments as it has them now."""
    group = optimizer.param_groups[0]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in group.items()}


def _described(made: "partial[Any] | None") -> str:
    """Such as `StepLR(step_size=3)`."""
    arguments = ", ".join(f"{key}={value}" for key, value in made.keywords.items()) if made else ""
    return f"{made.func.__name__}({arguments})" if made else "none"


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Tells any error in one line."""
    try:
        yield
    except Exception as error:
        raise AeprobeError(f"{what}: {str(error).partition(chr(10))[0] or type(error).__name__}") from error
