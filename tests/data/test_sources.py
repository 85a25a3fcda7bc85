"""Sources: what they must give, IDX files in every form, and torchvision's datasets from files of their form."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from images import write_folder
from pictures_made import LETTERS, idx, write_emnist
from torchvision import datasets

from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.mnist import EMNIST, FILES, KMNIST, MNIST, FashionMNIST, IdxFolder
from aeprobe.data.sampler import seeded_permutation
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError

RANDOM = np.random.default_rng(0)


class Made(Source):
    """Two splits of images of two classes in two channels; `change` alters what `read` gives."""

    class_names = ("dark", "light")

    def __init__(self, change: Callable[[str, torch.Tensor, torch.Tensor], Any] | None = None) -> None:
        super().__init__()
        self.change = change
        self.images = torch.arange(20 * 2 * 3 * 4, dtype=torch.uint8).view(20, 2, 3, 4)

    def read(self, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.images[: 20 if split == "train" else 8], torch.arange(20)[:8] % 2
        labels = torch.arange(len(images)) % 2
        return self.change(split, images, labels) if self.change else (images, labels)


def read(source: Source, val_size: float = 0, name: str = "made") -> ImageDataModule:
    data = ImageDataModule(name, "here", val_size, source=source)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("val_size", [0, 6, 0.3])
def test_any_source_is_split_by_the_same_permutation_and_left_as_it_was(val_size: float) -> None:
    source = Made()
    before = source.images.clone()
    data = read(source, val_size)
    held_out = 6 if val_size else 0
    order = seeded_permutation(20, 0, "validation")
    for name, part in (("val", order[:held_out]), ("train", order[held_out:])):
        if len(part):
            assert torch.equal(data.splits[name].images, before[part.sort().values])
            assert torch.equal(data.splits[name].labels, part.sort().values % 2)
    assert (data.shape, data.classes, data.class_names) == ((2, 3, 4), 2, ["dark", "light"])
    assert data.hparams["val_size"] == data.identity["val_size"] == held_out
    assert torch.equal(source.images, before)


def test_a_source_without_files_is_told_apart_by_its_images_and_its_names() -> None:
    files = read(Made()).files
    assert sorted(files) == ["test-images", "test-labels", "train-images", "train-labels"]
    assert read(Made()).files == files
    other = Made()
    other.images = other.images + 1
    assert read(other).files["train-images"] != files["train-images"]
    other = Made()
    other.class_names = ("light", "dark")
    assert read(other).files["train-labels"] != files["train-labels"]


WRONG = {
    "floats": (lambda _s, x, y: (x.float(), y), r"train: gives torch.float32 \[20, 2, 3, 4\] and "),
    "no channels": (lambda _s, x, y: (x[:, 0], y), r"gives torch.uint8 \[20, 3, 4\] and .*expected images, uint8"),
    "int32": (lambda _s, x, y: (x, y.int()), r"and torch.int32 \[20\]: expected .*labels, int64 \(N,\)"),
    "a list": (lambda _s, x, y: (x, y.tolist()), "and <class 'list'> .*: expected"),
    "fewer labels": (lambda _s, x, y: (x, y[1:]), r"and torch.int64 \[19\]: expected"),
    "none": (lambda _s, x, y: (x[:0], y[:0]), "at least one of each"),
    "a label too many": (lambda _s, x, y: (x, y + 1), "labels from 1 to 2: expected 0 to 1"),
    "a negative label": (lambda _s, x, y: (x, y - 1), "labels from -1 to 0"),
    "other test images": (
        lambda s, x, y: (x[..., s == "test" :], y),
        r"are \(2, 3, 4\) of .* test images \(2, 3, 3\)",
    ),
    "an error": (lambda _s, x, _y: x.nothing, "train: AttributeError: 'Tensor' object has no attribute 'nothing'"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_a_source_gives_wrong_is_named_in_a_line(fault: str) -> None:
    change, words = WRONG[fault]
    with pytest.raises(AeprobeError, match=words) as caught:
        read(Made(change))
    assert str(caught.value).startswith("data.source (Made)")
    assert "\n" not in str(caught.value)


def test_images_are_called_as_their_source_says(tmp_path: Path) -> None:
    """With their folder where that alone tells them apart; their classes by the source's noun."""
    folder = str(tmp_path)
    own, clothes, digits = (
        ImageDataModule(name, folder, source=source(folder))
        for name, source in (("folder", IdxFolder), ("clothes", FashionMNIST), ("mnist", MNIST))
    )
    assert (own.title, clothes.title, digits.title) == (f"folder {folder}", "clothes", "mnist")
    told = [(data.identity["noun"], data.identity["handwritten"]) for data in (own, clothes, digits)]
    assert told == [("class", False), ("class", False), ("digit", True)]
    assert digits.hparams["title"] == "mnist"


def test_idx_files_packed_dotted_and_of_any_size(tmp_path: Path) -> None:
    plain = IdxFolder(str(write_folder(tmp_path / "plain", 30)))
    whole = read(plain)
    other = write_folder(tmp_path / "other", 30)
    for i, name in enumerate(name for names in FILES.values() for name in names):
        content = (other / name).read_bytes()
        (other / name).unlink()
        new = name.replace("-idx", ".idx") if i % 2 else name
        (other / f"{new}.gz").write_bytes(gzip.compress(content))
    packed = read(IdxFolder(str(other)))
    assert torch.equal(packed.splits["train"].images, whole.splits["train"].images)
    assert packed.files == whole.files  # unpacking a file does not make it another one
    wide = tmp_path / "wide"
    wide.mkdir()
    pixels = RANDOM.integers(0, 256, (5, 3, 7))
    for images, labels in FILES.values():
        (wide / images).write_bytes(idx(pixels))
        (wide / labels).write_bytes(idx(np.arange(5)))
    found = read(IdxFolder(str(wide)))
    assert found.shape == (1, 3, 7)
    assert found.splits["test"].images[:, 0].tolist() == pixels.tolist()


def test_idx_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    name = FILES["train"][0]
    folder = write_folder(tmp_path / "own", 30)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    packed = gzip.compress(content)
    for damaged, words in (
        (packed[:-200], "cannot be read"),
        (gzip.compress(content[:-1]), "is no complete IDX file of 3 dimensions"),
        (gzip.compress(content + b"x"), "is no complete IDX file"),
        (b"no gzip at all, but long enough", "cannot be read"),
        (gzip.compress(content[:2] + b"\x08\x03" + b"\xff" * 12), "is no complete IDX file"),  # of 2**96 bytes
    ):
        (folder / f"{name}.gz").write_bytes(damaged)
        with pytest.raises(AeprobeError, match=words) as caught:
            read(IdxFolder(str(folder)))
        assert f"{name}.gz" in str(caught.value)
        assert "\n" not in str(caught.value)
    (folder / f"{name}.gz").unlink()
    with pytest.raises(AeprobeError, match=f"{name} cannot be read .No such file"):
        read(IdxFolder(str(folder)))


def test_emnist_s_letters_stand_upright_from_a_to_z(tmp_path: Path) -> None:
    write_emnist(tmp_path / "EMNIST" / "raw")
    data = read(EMNIST(str(tmp_path)))
    assert data.splits["train"].images[:, 0].tolist() == LETTERS.tolist()
    assert data.splits["test"].labels.tolist() == [i % 26 for i in range(52)]
    assert data.class_names == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_clothes_and_hiragana_have_torchvision_s_names_and_files(tmp_path: Path) -> None:
    for kind, theirs in ((FashionMNIST, datasets.FashionMNIST), (KMNIST, datasets.KMNIST)):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        write_folder(folder / "raw", 30)
        (folder / "raw" / f"{FILES['train'][0]}.gz").write_bytes(b"what torchvision leaves beside it")
        data = read(kind(str(tmp_path)))
        assert data.class_names == theirs.classes
        own = theirs(str(tmp_path), train=False)
        assert torch.equal(data.splits["test"].images[:, 0], own.data)
        assert torch.equal(data.splits["test"].labels, own.targets)


def test_a_download_is_whole_or_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    asked = []

    def download(folder: str, split: str, download: bool) -> None:
        asked.append((split, download))
        raw = Path(folder, "EMNIST", "raw")
        if len(asked) == 1:
            raw.mkdir(parents=True)
            (raw / "emnist-letters-train-images-idx3-ubyte").write_bytes(b"half")
            raise URLError("no network")
        write_emnist(raw)

    monkeypatch.setattr(datasets, "EMNIST", download)
    with pytest.raises(
        AeprobeError, match=r"data: EMNIST cannot be downloaded to .*no network.*by hand"
    ) as caught:
        read(EMNIST(str(root)))
    assert "\n" not in str(caught.value)
    assert not [*root.rglob("*-ubyte")]
    assert read(EMNIST(str(root))).shape == (1, 28, 28)
    read(EMNIST(str(root)))
    assert asked == [("letters", True)] * 2
    names = sorted(path.name for path in (root / "EMNIST" / "raw").iterdir() if path.name[0] != ".")
    assert names == sorted(name for names in EMNIST.names.values() for name in names)
    assert not [*root.rglob(".download-*")]
