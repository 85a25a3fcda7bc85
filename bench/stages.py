"""The two stages, step by step and epoch by epoch, all loops in turns: a ratio holds on a noisy machine too."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.contender import Contender

Round = dict[str, float]  # seconds by the loop's name
EPOCH = 550  # steps: 55,000 images in batches of 100


@dataclass
class Plan:
    """The extent of a measurement.

    Attributes:
        rounds: of segments at each of the two places; each round has one segment of every loop.
        segment: steps in it.
        epoch: steps in an epoch.
    """

    rounds: int
    segment: int
    epoch: int = EPOCH

    @property
    def warmup(self) -> int:
        """Steps before the first segment."""
        return max(2, self.segment // 2)


QUICK = Plan(rounds=5, segment=4, epoch=24)
DEFAULT = Plan(rounds=7, segment=50)


def measure(plan: Plan, threads: int | None) -> dict[str, Any]:
    """Measure both stages.

    Returns:
        For each stage `start`, `later` (after six epochs) and `epoch` (each of epochs 2 to 6, its end included):
        for each loop the milliseconds of a step, or the seconds of an epoch, as in `summary`; and its `ratios`
        of one loop to another, taken round by round.

    Raises:
        AeprobeError: a loop failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = {stage: Path(folder) / stage for stage in ("autoencoder", "classifier")}
        ckpt = str(outputs["autoencoder"] / "checkpoints" / "last.ckpt")
        return {
            stage: _stage(
                stage,
                plan,
                threads,
                {
                    "batches": None if plan.epoch == EPOCH else plan.epoch,
                    "ckpt": ckpt if stage == "classifier" else None,
                    "outputs": str(path),
                },
            )
            for stage, path in outputs.items()
        }


def _stage(stage: str, plan: Plan, threads: int | None, settings: dict[str, Any]) -> dict[str, Any]:
    loops = [Contender(name, stage, threads, settings) for name in ("floor", "bare", "ours", "report")]
    try:
        _turns(loops, 1, plan.warmup)
        start = _turns(loops, plan.rounds, plan.segment)
        epochs = _turns(loops, 5, plan.epoch)  # from the middle of one epoch to the middle of the next
        done = plan.warmup + plan.rounds * plan.segment + 5 * plan.epoch
        _turns(loops, 1, 6 * plan.epoch + plan.warmup - done)
        later = _turns(loops, plan.rounds, plan.segment)
    finally:
        for loop in loops:
            loop.stop()
    return {
        "start": _table(start, 1000 / plan.segment),
        "later": _table(later, 1000 / plan.segment),
        "epoch": _table(epochs, 1),
    }


def _turns(loops: Sequence[Contender], rounds: int, steps: int) -> list[Round]:
    return [{loop.name: loop.advance(steps) for loop in loops} for _ in range(rounds)]


def _table(rounds: Sequence[Round], scale: float) -> dict[str, Any]:
    pairs = (("ours", "bare"), ("ours", "floor"), ("bare", "floor"), ("report", "ours"))
    return {name: summary([scale * row[name] for row in rounds]) for name in rounds[0]} | {
        "ratios": {f"{a} / {b}": summary([row[a] / row[b] for row in rounds]) for a, b in pairs}
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of some values, and their number n."""
    return {"median": median(values), "low": min(values), "high": max(values), "n": len(values)}


def drift(stage: Mapping[str, Any]) -> dict[str, float]:
    """Ours after six epochs ÷ ours at the start, each over the floor beside it, which has no state to age."""
    start, later = (stage[place]["ratios"]["ours / floor"] for place in ("start", "later"))
    return {
        "median": later["median"] / start["median"],
        "low": later["low"] / start["high"],
        "high": later["high"] / start["low"],
        "n": min(start["n"], later["n"]),
    }
