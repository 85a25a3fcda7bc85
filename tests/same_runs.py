"""Whether two runs ended with the same bits."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from conftest import metrics, scalars

from aeprobe.cli.resume import resume
from aeprobe.models import checkpoints
from aeprobe.training import run as runner

SETTINGS = (
    "seed=7",
    "experiment=best",
    "autoencoder.max_epochs=4",
    "autoencoder.augmentation.epochs=3",
    "classifier.max_epochs=3",
    "classifier.code_noise=0.1",
    "trainer.limit_train_batches=30",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.figures=false",
)


def without_times(directory: Path) -> dict[str, Any]:
    found = metrics(directory)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in found["epochs"]]
    del found["config"]["sweep"]  # the time
    return {k: v for k, v in found.items() if k not in ("seconds", "epochs", "ckpt", "overrides")} | {"rows": rows}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def assert_equal_stages(one: Path, other: Path) -> None:
    assert scalars(one) == scalars(other)
    for name in ("best", "last"):
        a, b = (checkpoints.read(run / "checkpoints" / f"{name}.ckpt") for run in (one, other))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
            assert same(a[key], b[key]), (one, name, key)


def assert_equal_runs(one: Path, other: Path) -> None:
    for stage in ("autoencoder", "classifier"):
        assert without_times(one / stage) == without_times(other / stage)
        assert_equal_stages(one / stage, other / stage)


def wait_for(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def resume_here(run: Path, *more: str, callbacks: Sequence[Any] = ()) -> None:
    """`resume=RUN`, in this process."""
    found = resume([f"resume={run}", *more])
    request = runner.Request(found.config, found.directory, found.overrides, resume=True, callbacks=callbacks)
    runner.run(request)
