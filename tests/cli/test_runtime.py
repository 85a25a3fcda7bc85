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


@pytest.mark.parametrize("first", ["import aeprobe.runtime", "import torch"])
def test_denormal_numbers_are_flushed_in_the_worker_threads_too(first: str) -> None:
    """Large enough to be split over four threads: a single one that does not flush leaves numbers above zero."""
    command = [sys.executable, "-c", f"{first}\n{COUNT}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    threads, elements, products = map(int, printed.split())
    assert threads == 4
    if first == "import torch":  # what the runtime is for
        assert (elements, products) == (4_000_000, 4_000_000)
    else:
        assert (elements, products) == (0, 0)


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


def test_torchvision_that_failed_beside_a_cpu_only_torch_imports_after_us() -> None:
    """In a notebook whose first line was `import torchvision`, where its wheel is for CUDA and torch is not."""
    code = """
try:
    import torchvision
except RuntimeError:
    pass
import aeprobe.runtime
from torchvision.transforms.v2.functional import to_dtype
print(to_dtype.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "to_dtype\n"), done.stderr
