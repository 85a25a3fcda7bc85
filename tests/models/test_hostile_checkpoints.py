"""Checkpoints that ask for more than they are large: refused in a line, in little time and memory."""

import resource
import time
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch
from conftest import run_here
from refusals import refused

from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints

MOST_SECONDS = 30
MOST_KB = 300 * 1024  # of memory beyond what the process had before


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, root: Path) -> dict[str, Any]:
    run = tmp_path_factory.mktemp("small") / "run"
    small = ["stage=autoencoder", "autoencoder.network.widths=[784,2,2]", "autoencoder.max_epochs=1"]
    limits = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    run_here(run, [*small, *limits, "trainer.figures=false", f"data.root={root}"])
    return checkpoints.read(run / "checkpoints" / "last.ckpt")


@pytest.mark.slow
def test_hostile_checkpoints_are_refused_within_the_limits(tmp_path: Path, honest: dict[str, Any]) -> None:
    files = hostile.checkpoints(tmp_path, honest)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, file in files.items():
        began = time.monotonic()
        with pytest.raises(AeprobeError) as raised:
            checkpoints.load(file)
        assert str(raised.value).startswith(f"ckpt={file}: "), name
        assert "\n" not in str(raised.value), name
        assert time.monotonic() - began < MOST_SECONDS, name
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KB, name


WRONG = [None, True, -1, 2**70, 1.5, float("nan"), "text", "", [], [1], {}, {"a": 1}, (), torch.zeros(2)]
GONE = object()


@pytest.mark.slow
def test_a_checkpoint_of_wrong_types_is_none_of_ours(tmp_path: Path, honest: dict[str, Any]) -> None:
    """Every field of its first two levels, replaced by every kind of plain value, or gone."""
    file = tmp_path / "wrong.ckpt"
    inner = [(key, name) for key in honest if isinstance(honest[key], dict) for name in honest[key]]
    for path in [*((key,) for key in honest), *inner]:
        for value in [*WRONG, GONE]:
            content = dict(honest)
            owner = content
            for key in path[:-1]:
                owner[key] = dict(owner[key])
                owner = owner[key]
            owner[path[-1]] = value
            if value is GONE:
                del owner[path[-1]]
            torch.save(content, file)
            refused(lambda: checkpoints.load(file), f"ckpt={file}: ")
