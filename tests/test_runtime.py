import aeprobe.runtime

import torch


def test_denormal_numbers_are_flushed_in_the_worker_threads_too() -> None:
    """Large enough to be split over all threads: a single one that does not flush leaves numbers above zero."""
    denormal = torch.full((4_000_000,), 1e-38) * 1e-3
    assert torch.count_nonzero(denormal) == 0
    weights = torch.full((2000, 500), 1e-20)
    assert torch.count_nonzero(weights @ weights.T * 1e-3) == 0


def test_torchvision_works_beside_this_torch() -> None:
    from torchvision.transforms import v2

    assert hasattr(torch.ops.torchvision, "nms")
    assert v2.ToDtype(torch.float32, scale=True)(torch.full((1, 2, 2), 255, dtype=torch.uint8)).max() == 1


def test_the_number_of_threads_is_set_or_left() -> None:
    before = torch.get_num_threads()
    try:
        assert aeprobe.runtime.threads(None) == before
        assert aeprobe.runtime.threads(1) == 1
    finally:
        aeprobe.runtime.threads(before)
