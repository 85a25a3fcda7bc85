"""How a stage is optimized: its optimizer and schedule, from their nodes in the configuration."""

import inspect
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import aeprobe.runtime  # noqa: F401

import torch
from hydra.utils import instantiate
from torch import nn
from torch.optim import Optimizer

from aeprobe.config import nearest
from aeprobe.errors import AeprobeError


class Optimization:
    """How a stage is optimized: makes its optimizer and learning-rate schedule.

    Args:
        optimizer: `_target_`, `_partial_: true` and arguments, as in conf/optimizer.
        scheduler: the same, as in conf/scheduler; `_target_: null` for none. It steps once per optimizer
            step; an argument that is "auto" becomes the number of optimizer steps of the whole training.
        clip: the norm that gradients are clipped to; None: they are not.
        accumulate: batches whose gradients make one optimizer step; the last of an epoch may have fewer.

    Raises:
        AeprobeError: the classes refuse the arguments, or the optimizer takes no dense gradients.
    """

    def __init__(
        self,
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any],
        clip: float | None = None,
        accumulate: int = 1,
    ) -> None:
        self.clip, self.accumulate = clip, accumulate
        self._optimizer = _make_partial(optimizer, "optimizer")
        self._scheduler = _make_partial(scheduler, "scheduler") if scheduler["_target_"] else None
        weight = nn.Parameter(torch.zeros(1))
        try:  # refuse a bad value now, not after the run directory is made
            probe = self._optimizer([weight])
            self._schedule(probe, total=1000)
        except (TypeError, ValueError, RuntimeError) as error:
            text = str(error).partition("\n")[0]
            raise AeprobeError(f"optimizer and scheduler cannot be made: {text}") from error
        self._require_step(optimizer)

    def configure(self, parameters: Iterable[nn.Parameter], total: int) -> Any:
        """What `configure_optimizers` returns, for a training of `total` optimizer steps."""
        optimizer = self._optimizer(parameters)
        scheduler = self._schedule(optimizer, total)
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _require_step(self, node: Mapping[str, Any]) -> None:
        """Raises AeprobeError where the optimizer can be made, but takes no dense gradients, as all are here."""
        # A step for a GPU's graphs cannot be tried on a CPU.
        device = "cuda" if node.get("capturable") and torch.cuda.is_available() else "cpu"
        weight = nn.Parameter(torch.zeros(1, device=device))
        weight.grad = torch.zeros_like(weight)
        try:
            self._optimizer([weight]).step()
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            text = str(error).partition("\n")[0]
            raise AeprobeError(f"optimizer._target_={node['_target_']}: takes no step here: {text}") from error

    def _schedule(self, optimizer: Optimizer, total: int) -> Any:
        if self._scheduler is None:
            return None
        auto = {key: total for key, value in self._scheduler.keywords.items() if value == "auto"}
        return self._scheduler(optimizer, **auto)


def _make_partial(node: Mapping[str, Any], name: str) -> "partial[Any]":
    """The class that `_target_` names, with the arguments bound; validate() has checked that it is torch's."""
    try:
        made: partial[Any] = instantiate(dict(node), _convert_="all")  # plain lists: a checkpoint holds them
    except Exception as error:
        raise AeprobeError(f"{name}._target_={node['_target_']}: there is no such class in this torch") from error
    known = inspect.signature(made.func).parameters
    for key in made.keywords:
        if key not in known:
            raise AeprobeError(f"{name}.{key}: {node['_target_']} takes no such argument; {nearest(key, known)}")
    return made
