"""A folder of pictures: any size and mode, decoded once, and what is broken or hostile in it."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures_made import COLOURS, picture, write_pictures
from PIL import Image

from aeprobe.data import image_folder
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.image_folder import ImageFolder, decoded
from aeprobe.errors import AeprobeError

NAMES = list(COLOURS)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(root: str | Path, val_size: float = 0, **arguments: object) -> ImageDataModule:
    data = ImageDataModule("images", str(root), val_size, source=ImageFolder(str(root), **arguments))  # type: ignore[arg-type]
    data.setup()
    return data


def colour_of(image: torch.Tensor) -> list[int]:
    return [round(value) for value in image.float().mean((1, 2)).tolist()]


def test_train_and_test_folders_in_colours_with_their_names(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("test", 2)):
        write_pictures(tmp_path / "own" / split, count)
    data = read(tmp_path / "own", size=40)
    train, test = data.splits["train"], data.splits["test"]
    assert (data.class_names, data.shape) == (NAMES, (3, 40, 40))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0] * 6 + [1] * 6 + [2] * 6, [0, 0, 1, 1, 2, 2])
    for i, (name, label) in enumerate((name, label) for label, name in enumerate(NAMES) for _ in range(6)):
        stored = np.asarray(Image.open(tmp_path / "own" / "train" / name / f"{i % 6:03}.png"))
        assert train.images[i].movedim(0, 2).tolist() == stored.tolist(), label  # of this size, nothing is resized


def test_one_folder_is_divided_class_by_class_and_for_every_seed_alike(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own", 30)
    Image.new("RGB", (9, 9)).save(tmp_path / "own" / "red" / "zzz.png")
    data = read(tmp_path / "own", size=8)
    assert {k: v.labels.bincount().tolist() for k, v in data.splits.items() if k != "val"} == {
        "train": [25, 25, 26],
        "test": [5, 5, 5],
    }
    other = read(tmp_path / "own", size=8, split_seed=1)
    assert not torch.equal(other.splits["test"].images, data.splits["test"].images)
    again = ImageDataModule("images", ".", 0.2, split_seed=9, source=ImageFolder(str(tmp_path / "own"), 8))
    again.setup()
    assert again.files == data.files  # runs of other seeds are of the same images
    third = read(tmp_path / "own", size=8, test_share=1 / 3)
    assert third.splits["test"].labels.bincount().tolist() == [10, 10, 10]


def test_any_mode_and_form(tmp_path: Path) -> None:
    red = tmp_path / "own" / "red"
    write_pictures(tmp_path / "own", 3)
    plain = picture((210, 30, 30), 60, 90)
    plain.save(red / "a.JPG", quality=95)
    plain.convert("RGBA").save(red / "b.webp", lossless=True)
    plain.convert("P").save(red / "c.gif")
    plain.convert("CMYK").save(red / "d.tiff")
    plain.convert("L").save(red / "e.bmp")
    wide = np.full((60, 90), 30_000, np.uint16)
    Image.fromarray(wide).save(red / "f.png")  # 16 bits
    clear = Image.new("RGBA", (60, 90), (0, 0, 0, 0))
    clear.save(red / "g.png")
    grid = np.zeros((80, 40, 3), np.uint8)
    grid[20:60] = 200
    Image.fromarray(grid).save(red / "h.png")  # the middle of a high picture
    turned = Image.fromarray(grid.transpose(1, 0, 2))
    exif = Image.Exif()
    exif[0x112] = 6
    turned.save(red / "i.png", exif=exif)
    Image.fromarray(wide.astype(">u2")).save(red / "j.tif")
    Image.fromarray(wide.astype(np.float32) / 2**16).save(red / "k.tif")
    Image.fromarray(wide).save(red / "l.png", transparency=30_000)
    ink = np.zeros((60, 90, 4), np.uint8)
    ink[:, 45:] = 255
    Image.fromarray(ink).save(red / "m.png")  # white ink on nothing
    colours = {path.name: decoded(path, 3, 40, 40).mean((1, 2)).round().tolist() for path in red.iterdir()}
    for name in ("a.JPG", "b.webp", "c.gif", "d.tiff"):
        assert colours[name] == pytest.approx([210, 30, 30], abs=6), name
    assert colours["e.bmp"] == pytest.approx([84] * 3, abs=4)
    assert colours["f.png"] == [117] * 3  # 30,000 / 256
    assert colours["j.tif"] == colours["k.tif"] == [117] * 3
    assert colours["g.png"] == colours["l.png"] == [255] * 3
    assert colours["m.png"] == pytest.approx([127.5] * 3, abs=4)
    assert colours["h.png"] == colours["i.png"] == [200] * 3
    grey = read(tmp_path / "own", size=8, channels=1)
    assert grey.shape == (1, 8, 8)

    Image.fromarray(np.full((9, 9), 30.0, np.float32)).save(tmp_path / "high.tif")
    with pytest.raises(ValueError, match="not from 0 to 1: save it with 8 bits"):
        decoded(tmp_path / "high.tif", 1, 9, 9)


def test_they_are_decoded_once_and_again_when_a_picture_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(image_folder, "decoded", lambda *given: seen.append(given[0]) or decoded(*given))
    own = write_pictures(tmp_path / "own", 6)
    first = read(own, size=8)
    assert len(seen) == 18
    assert read(own, size=8).files == first.files
    assert len(seen) == 18
    picture((0, 0, 0)).save(own / "red" / "new.png")
    changed = read(own, size=8)
    assert len(seen) == 18 + 19
    assert len(changed.splits["train"]) + len(changed.splits["test"]) == 19
    os.utime(own / "red" / "new.png", ns=(1, 1))
    read(own, size=8)
    assert len(seen) == 18 + 19 + 19
    (own / "red" / "new.png").unlink()
    assert read(own, size=8).files == first.files
    read(own, size=9)
    assert len([*Path("data/images").glob("*.npz")]) == 2  # a file for each size


@pytest.mark.parametrize("damage", ["a byte", "cut"])
def test_a_damaged_file_of_images_is_made_again(tmp_path: Path, damage: str) -> None:
    own = write_pictures(tmp_path / "own", 6)
    before = read(own, size=8)
    (cache,) = Path("data/images").glob("*.npz")
    content = bytearray(cache.read_bytes())
    place = content.index(before.splits["train"].images[3].numpy().tobytes())
    content[place] ^= 1
    cache.write_bytes(content if damage == "a byte" else content[:-9])
    after = read(own, size=8)
    assert torch.equal(after.splits["train"].images, before.splits["train"].images)
    assert after.files == before.files


def test_broken_and_hostile_pictures_are_named_and_the_others_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write_pictures(tmp_path / "own", 12)
    before = read(own, size=8, test_share=0.01)
    red, buffer = own / "red", io.BytesIO()
    picture((210, 30, 30), seed=99).save(buffer, "PNG")
    (red / "cut.png").write_bytes(buffer.getvalue()[:900])
    (red / "empty.png").write_bytes(b"")
    (red / "text.jpg").write_bytes(b"no picture")
    (red / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # no program is started
    (red / "inside.png").symlink_to(red / "000.png")
    os.mkfifo(red / "pipe.png")
    Image.new("1", (50, 50)).save(red / "huge.png")
    for ignored in (".hidden.png", ".DS_Store", "notes.txt"):
        (red / ignored).write_bytes(b"?")
    for hidden in (own / ".cache", red / ".cache"):
        hidden.mkdir()
        (hidden / "thumb.png").write_bytes(b"?")
    monkeypatch.setattr(image_folder, "MOST_PIXELS", 2000)
    for _ in range(2):  # also when they are not decoded again
        caplog.clear()
        data = read(own, size=8, test_share=0.01)
        told = {
            r.getMessage().split(" is left out: ")[0].rpartition("/")[2]: r.getMessage() for r in caplog.records
        }
        broken = {"cut", "empty", "huge", "script"}
        assert set(told) == {f"{name}.png" for name in broken} | {"text.jpg"}
        assert all("\n" not in message for message in told.values())
        assert "50 x 50 pixels, more than 2000" in told["huge.png"]
        counts = [data.splits[name].labels.bincount() for name in ("train", "test")]
        assert sum(counts).tolist() == [12, 12, 13]
    assert len(before.splits["train"]) == 33


def test_a_class_without_a_picture_that_can_be_read_is_refused(tmp_path: Path) -> None:
    own = write_pictures(tmp_path / "own", 2)
    for path in (own / "red").iterdir():
        path.write_bytes(b"")
    with pytest.raises(AeprobeError, match=r"no training picture of class red in .* can be read"):
        read(own)


BAD = {
    "no folder": (lambda _own: None, "data.root=.*nowhere: there is no such directory"),
    "no classes": (lambda own: own.mkdir(), "nowhere has no picture"),
    "an empty class": (lambda own: (write_pictures(own, 2) / "violet").mkdir(), "violet has no picture"),
    "train alone": (lambda own: write_pictures(own / "train", 2), "has a folder train or test, but not the other"),
    "a class of test alone": (
        lambda own: (write_pictures(own / "train", 2), write_pictures(own / "test" / "more", 2)),
        "test/more is of a class that train does not have",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_of_another_form_is_told_in_a_line(tmp_path: Path, case: str) -> None:
    make, words = BAD[case]
    make(tmp_path / "nowhere")
    with pytest.raises(AeprobeError, match=words) as caught:
        read(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)
    assert not [*Path("data/images").glob("*.npz")]
