"""What every process does first."""

import subprocess
import sys

import aeprobe.runtime

import pytest
import torch

COUNT = """
import torch
torch.set_num_threads(4)
denormal = torch.full((4_000_000,), 1e-38) * 1e-3
weights = torch.full((2000, 500), 1e-20)
print(torch.get_num_threads(), int(denormal.count_nonzero()), int((weights @ weights.T * 1e-3).count_nonzero()))
"""
# In a notebook whose first line was `import torchvision`, where its wheel is for CUDA and torch is not.
OURS = """
try:
    import torchvision
except RuntimeError:
    pass
import aeprobe.runtime
from torchvision.transforms.v2.functional import to_dtype
"""


@pytest.mark.parametrize(("first", "left"), [(OURS, 0), ("", 4_000_000)])  # the latter is what the runtime is for
def test_denormal_numbers_are_flushed_in_the_worker_threads_too(first: str, left: int) -> None:
    """Large enough to be split over four threads: a single one that does not flush leaves numbers above zero."""
    command = [sys.executable, "-c", f"{first}\n{COUNT}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [*map(int, printed.split())] == [4, left, left]


def test_torchvision_works_beside_this_torch() -> None:
    from torchvision.transforms import v2

    assert hasattr(torch.ops.torchvision, "nms")
    assert v2.ToDtype(torch.float32, scale=True)(torch.full((1, 2, 2), 255, dtype=torch.uint8)).max() == 1


def test_the_number_of_threads_is_set_or_left() -> None:
    before = torch.get_num_threads()
    try:
        aeprobe.runtime.threads(1)
        assert torch.get_num_threads() == 1
        aeprobe.runtime.threads(None)
        assert torch.get_num_threads() == aeprobe.runtime.CHOICE
    finally:
        aeprobe.runtime.threads(before)
