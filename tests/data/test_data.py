import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from aeprobe.data.datamodule import ImageDataModule, ImageDataset
from aeprobe.data.mnist import checksums, unpack
from aeprobe.data.sampler import EpochBatches, batches_in_order, seeded_permutation, stream
from aeprobe.errors import AeprobeError


@pytest.fixture(scope="module")
def mnist(root: Path) -> ImageDataModule:
    module = ImageDataModule(root=str(root), val_size=5000)
    module.setup()
    return module


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_mnist_is_whole_and_right(mnist: ImageDataModule) -> None:
    sizes = {name: len(split) for name, split in mnist.splits.items()}
    assert sizes == {"train": 55_000, "val": 5_000, "test": 10_000}
    train, val = mnist.splits["train"], mnist.splits["val"]
    assert train.images.dtype == torch.uint8
    counts = torch.bincount(torch.cat([train.labels, val.labels]))
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.splits["test"].labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert {name: file["sha256"] for name, file in mnist.files.items()} == checksums()
    images, labels = next(iter(mnist.val_dataloader()))
    assert (images.shape, images.dtype, labels.dtype) == ((1000, 1, 28, 28), torch.float32, torch.int64)
    torch.testing.assert_close(images, val.images[:1000].float() / 255)


def test_the_split_is_disjoint_complete_and_seeded(root: Path, mnist: ImageDataModule) -> None:
    train, val = rows(mnist.splits["train"].images), rows(mnist.splits["val"].images)
    assert len(train) == 55_000  # MNIST has no image twice
    assert len(val) == 5_000
    assert not train & val
    again, other = (ImageDataModule(root=str(root), split_seed=seed) for seed in (0, 1))
    again.setup()
    other.setup()
    assert torch.equal(again.splits["val"].images, mnist.splits["val"].images)
    assert not torch.equal(other.splits["val"].images, mnist.splits["val"].images)


def test_without_a_validation_split_the_test_set_doubles(root: Path) -> None:
    module = ImageDataModule(root=str(root), val_size=0)
    module.setup()
    assert len(module.splits["train"]) == 60_000
    assert module.splits["val"] is module.splits["test"]
    module.encode(lambda images: images.flatten(1)[:, :30])
    assert module.splits["val"] is module.splits["test"]
    assert module.splits["train"].images.shape == (60_000, 30)


def test_the_loader_asks_for_whole_batches(root: Path) -> None:
    asked: list[int] = []

    class Spy(ImageDataset):
        def __getitem__(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
            asked.append(len(index))
            return super().__getitem__(index)

    module = ImageDataModule(root=str(root), batch_size=10, eval_batch_size=20)
    module.splits = {
        "train": Spy(torch.arange(25.0), torch.arange(25)),
        "val": Spy(torch.zeros(45), torch.arange(45)),
    }
    module.epoch_size = 25
    batches = iter(module.train_dataloader())
    assert asked == [], "a batch is made when its step comes"
    labels = torch.cat([labels for _, labels in batches])
    assert asked == [10, 10, 5]
    assert sorted(labels.tolist()) == list(range(25)) != labels.tolist()
    assert torch.cat([labels for _, labels in module.val_dataloader()]).tolist() == list(range(45))
    assert asked[3:] == [20, 20, 5]
    assert (len(module.train_dataloader()), len(module.val_dataloader())) == (3, 3)


def test_an_epochs_order_depends_on_seed_and_epoch_alone() -> None:
    def batches(seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[list[int]]:
        sampler = EpochBatches(1001, 100, seed, rank, world)
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler) == 10
        return [batch.tolist() for batch in sampler]

    assert batches(0, 3) == batches(0, 3)
    assert batches(0, 3) != batches(0, 4)
    assert batches(0, 3) != batches(1, 3)
    assert sorted(index for batch in batches(0, 3) for index in batch) == list(range(1001))
    first, second = (batches(0, 3, rank, 2) for rank in (0, 1))
    for batch, one, other in zip(batches(0, 3), first, second, strict=True):
        assert (batch[0::2], batch[1::2]) == (one, other)


def test_every_seed_epoch_rank_and_purpose_has_a_random_stream_of_its_own() -> None:
    seeds = [*range(20), *(4096 * n + 1 for n in range(1, 4)), 2**32 - 1, 2**32, 2**40]
    places = [*product(("order", "validation", "labels", "epoch"), seeds, (0, 1, 2, 9, 2**20), range(20))]
    generator = torch.Generator()
    drawn = {tuple(torch.rand(2, generator=generator.manual_seed(stream(*place))).tolist()) for place in places}
    assert len(drawn) == len(places) == 10_400
    orders = {tuple(seeded_permutation(100, seed, "order", e).tolist()) for seed in seeds for e in range(9)}
    assert len(orders) == 9 * len(seeds)
    assert seeded_permutation(100, 0, "order", 1).tolist() == seeded_permutation(100, 0, "order", 1).tolist()


@pytest.mark.slow
def test_two_processes_unpack_at_once_and_a_wrong_file_is_named_with_both_checksums(tmp_path: Path) -> None:
    code = "import pathlib, sys; from aeprobe.data.mnist import unpack; unpack(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "MNIST" / "raw")]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    names = sorted(path.name for path in (tmp_path / "MNIST" / "raw").iterdir())
    assert names == sorted(checksums())  # and no temporary file
    raw = tmp_path / "MNIST" / "raw"
    unpack(raw)
    wrong = (raw / names[0]).read_bytes()[:500]
    (raw / names[0]).write_bytes(wrong)
    with pytest.raises(AeprobeError, match=rf"has SHA-256 \w{{64}}, expected {checksums()[names[0]]}"):
        unpack(raw)
    assert (raw / names[0]).read_bytes() == wrong  # left for the person to look at


@pytest.mark.parametrize(
    ("size", "batch", "sizes"),
    [(100, 33, [33, 33, 34]), (101, 33, [33, 33, 33, 2]), (99, 33, [33, 33, 33]), (1, 33, [1]), (3, 1, [1, 1, 1])],
)
def test_one_image_that_is_left_over_joins_the_last_batch(size: int, batch: int, sizes: list[int]) -> None:
    batches = EpochBatches(size, batch, seed=0)
    assert [len(indices) for indices in batches] == batches.sizes.tolist() == sizes
    assert len(batches) == len(sizes)
    assert torch.cat([*batches]).sort().values.tolist() == list(range(size))


def test_the_images_are_kept_on_a_device_as_bytes(root: Path) -> None:
    module = ImageDataModule(root=str(root), val_size=0)
    module.setup()
    module.to("meta")  # a device that any torch has; only its name can be looked at
    assert {split.images.device.type for split in module.splits.values()} == {"meta"}
    assert {split.labels.device.type for split in module.splits.values()} == {"meta"}
    assert module.splits["train"].images.dtype == torch.uint8
    assert module.splits["val"] is module.splits["test"]
    images, _ = module.splits["train"][torch.arange(7)]
    assert images.device.type == "meta"
    assert images.dtype == torch.float32


def test_a_batch_is_gathered_on_the_device_that_keeps_the_images() -> None:
    with FakeTensorMode():  # tensors that know their device and shape alone, and refuse to be mixed as a GPU does
        images = torch.zeros(50, 1, 28, 28, dtype=torch.uint8, device="cuda")
        split = ImageDataset(images, torch.zeros(50, dtype=torch.int64, device="cuda"))
        for batches in (EpochBatches(50, 20, seed=0), batches_in_order(50, 20)):
            for pixels, numbers in (split[batch] for batch in batches):
                assert (pixels.device.type, numbers.device.type) == ("cuda", "cuda")
                assert pixels.dtype == torch.float32
