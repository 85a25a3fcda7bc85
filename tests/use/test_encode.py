"""`aeprobe encode` and `aeprobe decode`: pictures to a file of codes and back, and files that are none."""

import gzip
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Result, train
from images import write_folder
from numpy.typing import NDArray
from pictures_made import write_pictures
from PIL import Image

from aeprobe.__main__ import main as command_line
from aeprobe.errors import AeprobeError
from aeprobe.files import checksum
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe_tools.use import codes_file, decode, encode
from aeprobe_tools.use.decode import _file_names

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def aeprobe(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """A command in this process."""

    def call(name: str, *arguments: str | Path) -> Result:
        status = {"encode": encode, "decode": decode}[name].main([*map(str, arguments)])
        return Result(status, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage=all run on made-up grey images, and some of them as pictures, in `digits`."""
    path = tmp_path_factory.mktemp("grey")
    write_folder(path / "own")
    done = train(*TINY, "data=folder", "data.root=own", "data.val_size=100", "hydra.run.dir=run", cwd=path)
    assert done.status == 0, done.err
    (path / "digits").mkdir()
    pixels = np.frombuffer((path / "own" / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    for i, image in enumerate(pixels.reshape(-1, 28, 28)[:7]):
        Image.fromarray(image).save(path / "digits" / f"{i}.png")
    return path


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stage 1, a convolutional one, on made-up pictures in colours."""
    path = tmp_path_factory.mktemp("colours")
    write_pictures(path / "own", 6)
    chosen = ("data=images", "data.root=own", "data.source.size=16", "data.val_size=3")
    own = ("stage=autoencoder", "network@autoencoder.network=conv", "autoencoder.batch_size=5")
    done = train(*TINY, *chosen, *own, "hydra.run.dir=run", cwd=path)
    assert done.status == 0, done.err
    return path


def module_of(run: Path) -> Autoencoder:
    module = checkpoints.load(run)
    assert isinstance(module, Autoencoder)
    return module


def pixels(files: list[Path]) -> torch.Tensor:
    images = [np.atleast_3d(np.asarray(Image.open(file))).transpose(2, 0, 1) for file in files]
    return torch.from_numpy(np.stack(images))


def arrays(file: Path) -> Arrays:
    """As others read it."""
    with np.load(file, allow_pickle=False) as stored:  # noqa: TID251
        return dict(stored)


@torch.no_grad()
def test_without_bits_a_picture_comes_back_as_its_reconstruction(
    digits: Path, tmp_path: Path, aeprobe: Callable[..., Result]
) -> None:
    file, out = tmp_path / "codes.npz", tmp_path / "out"
    done = aeprobe("encode", digits / "run", digits / "digits", "-o", file)
    assert (done.status, done.err) == (0, "")
    assert "codes.npz: 7 codes" in done.out
    module = module_of(digits / "run" / "autoencoder")
    own = pixels(sorted((digits / "digits").iterdir()))
    stored = arrays(file)
    assert torch.equal(torch.from_numpy(stored["codes"]), module.encode(own))
    assert [*stored["names"]] == [f"{i}.png".encode() for i in range(7)]
    out.mkdir()
    number = out.stat().st_ino
    done = aeprobe("decode", digits / "run", file, "-o", out)
    assert (done.status, done.err) == (0, "")
    assert out.stat().st_ino == number  # it may be one that is mounted, or shared
    made = sorted(out.iterdir())
    assert [one.name for one in made] == [f"{i}.png" for i in range(7)]
    assert ((pixels(made) / 255 - module(own)).abs() <= 0.5001 / 255).all()
    assert {Image.open(one).mode for one in made} == {"L"}


@torch.no_grad()
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_with_bits_a_code_takes_as_many_and_changes_by_half_a_cell(
    bits: int, digits: Path, tmp_path: Path, aeprobe: Callable[..., Result]
) -> None:
    file = tmp_path / "codes.npz"
    idx = digits / "own" / "t10k-images-idx3-ubyte"
    assert aeprobe("encode", digits / "run", idx, "-o", file, "--bits", str(bits)).status == 0
    module = module_of(digits / "run" / "autoencoder")
    own = np.frombuffer(idx.read_bytes()[16:], np.uint8).reshape(-1, 1, 28, 28)
    codes = module.encode(torch.from_numpy(own.copy()))
    stored = arrays(file)["codes"]
    assert (stored.dtype, stored.shape) == (np.uint8, (300, -(-30 * bits // 8)))
    read = codes_file.read(file)
    assert read.names[-1] == "t10k-images-idx3-ubyte-00299"
    cell = (codes.amax(0) - codes.amin(0)) / 2**bits
    error = (read.codes - codes).abs()
    assert (error <= cell * 0.501 + 1e-6).all()
    assert error.max() > cell.max() / 4


def test_pictures_of_another_size_and_a_run_in_colours(
    colours: Path, tmp_path: Path, aeprobe: Callable[..., Result]
) -> None:
    """A folder, its pictures by name, and a grey one that is twice as wide."""
    wide = np.zeros((32, 64), np.uint8)
    wide[:, 12:52] = 200  # the middle, and what its last pixels blend with
    Image.fromarray(wide).save(tmp_path / "wide.png")
    file, out = tmp_path / "codes.npz", tmp_path / "out"
    run = colours / "run"
    done = aeprobe("encode", run, tmp_path / "wide.png", colours / "own", tmp_path / "wide.png", "-o", file)
    assert done.status == 0, done.err
    read = codes_file.read(file)
    assert len(read.names) == 20
    assert (read.names[0], read.names[1], read.names[-1]) == ("wide.png", "blue sky/000.png", "wide.png")
    grey = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(read.codes[:1], module_of(run).encode(grey), atol=1e-3)
    assert torch.equal(read.codes[0], read.codes[-1])
    assert aeprobe("decode", run, file, "-o", out).status == 0
    names = {one.name for one in out.iterdir()}
    assert {"wide.png", "wide-2.png", "000.png", "000-2.png", "000-3.png"} <= names
    assert len(names) == 20
    assert (Image.open(out / "wide.png").mode, Image.open(out / "wide.png").size) == ("RGB", (16, 16))


def test_a_classifier_encodes_alike_and_does_not_decode(
    digits: Path, tmp_path: Path, aeprobe: Callable[..., Result]
) -> None:
    file = tmp_path / "codes.npz"
    assert aeprobe("encode", digits / "run" / "classifier", digits / "digits", "-o", file).status == 0
    assert aeprobe("encode", digits / "run", digits / "digits", "-o", tmp_path / "both.npz").status == 0
    read = codes_file.read(file)
    assert torch.equal(read.codes, codes_file.read(tmp_path / "both.npz").codes)
    said = refused(aeprobe("decode", digits / "run" / "classifier", file, "-o", tmp_path / "out"))
    assert "is a classifier's, which has no decoder: give the run of its autoencoder" in said
    (checkpoint,) = [
        one for one in (digits / "run" / "classifier" / "checkpoints").iterdir() if checksum(one) == read.run
    ][:1]
    assert checkpoint.suffix == ".ckpt"


def refused(done: Result) -> str:
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert done.err.startswith("error: ")
    return done.err


def test_what_cannot_be_encoded_is_said_in_a_line_and_nothing_written(
    digits: Path, tmp_path: Path, aeprobe: Callable[..., Result]
) -> None:
    broken, good, run = tmp_path / "broken.png", digits / "digits" / "0.png", digits / "run"
    broken.write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    small = write_folder(tmp_path / "small", side=9)
    (tmp_path / "old.npz").write_text("mine")
    file = tmp_path / "new.npz"
    for images, output, said in (
        ([good, broken], file, "broken.png cannot be read as a picture"),
        ([tmp_path / "none.png"], file, "none.png: there is no such file or directory"),
        ([tmp_path / "empty"], file, "the directory has no picture"),
        (
            [small / "t10k-images-idx3-ubyte"],
            file,
            "has images of (1, 9, 9), and the run is of (1, 28, 28)",
        ),
        ([small / "t10k-labels-idx1-ubyte"], file, "is no complete IDX file of 3 dimensions"),
        ([good], tmp_path / "old.npz", "old.npz is there already"),
        ([good], tmp_path / "nowhere" / "a.npz", "cannot be written (No such file or directory)"),
    ):
        assert said in refused(aeprobe("encode", run, *images, "-o", output))
    assert "File name too long" in refused(aeprobe("encode", run, "a" * 300, "-o", file))
    assert "there is no such file" in refused(aeprobe("encode", tmp_path / "no", good, "-o", file))
    assert not file.exists()
    assert (tmp_path / "old.npz").read_text() == "mine"


def test_codes_of_another_run_and_a_directory_that_holds_something_are_refused(
    digits: Path, colours: Path, tmp_path: Path, aeprobe: Callable[..., Result]
) -> None:
    file, out = tmp_path / "codes.npz", tmp_path / "out"
    assert aeprobe("encode", digits / "run", digits / "digits", "-o", file).status == 0
    said = refused(aeprobe("decode", colours / "run", file, "-o", out))
    assert f"was made by a checkpoint with SHA-256 {codes_file.read(file).run:.12}" in said
    assert not out.exists()
    out.mkdir()
    (out / "0.png").write_text("mine")
    assert "is there already and no empty directory" in refused(aeprobe("decode", digits / "run", file, "-o", out))
    assert (out / "0.png").read_text() == "mine"
    (out / "0.png").unlink()
    assert aeprobe("decode", digits / "run", file, "-o", out).status == 0  # empty now
    assert len([*out.iterdir()]) == 7
    assert [*tmp_path.glob(".*")] == []


def test_images_of_an_idx_file_keep_their_numbers(
    digits: Path, tmp_path: Path, aeprobe: Callable[..., Result]
) -> None:
    content = (digits / "own" / "t10k-images-idx3-ubyte").read_bytes()
    head = struct.pack(">4I", 2051, 5, 28, 28)
    (tmp_path / "few.gz").write_bytes(gzip.compress(head + content[16 : 16 + 5 * 784]))
    few = [tmp_path / "few.gz", "-o", tmp_path / "few.npz"]
    assert aeprobe("encode", digits / "run", *few).status == 0
    assert aeprobe("decode", digits / "run", tmp_path / "few.npz", "-o", tmp_path / "few").status == 0
    assert sorted(one.name for one in (tmp_path / "few").iterdir()) == [f"few-{i:05}.png" for i in range(5)]


def test_links_that_lead_out_of_a_directory_are_left_out(
    digits: Path, tmp_path: Path, aeprobe: Callable[..., Result]
) -> None:
    own = Path(shutil.copytree(digits / "digits", tmp_path / "own"))
    (own / "out.png").symlink_to(digits / "digits" / "0.png")
    (own / "in.png").symlink_to("1.png")
    (own / "folder.png").mkdir()
    assert aeprobe("encode", digits / "run", own, "-o", tmp_path / "codes.npz").status == 0
    assert codes_file.read(tmp_path / "codes.npz").names == [*(f"{i}.png" for i in range(7)), "in.png"]


def test_what_fails_halfway_leaves_nothing(
    digits: Path, tmp_path: Path, aeprobe: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, save, saved = tmp_path / "codes.npz", Image.Image.save, []
    assert aeprobe("encode", digits / "run", digits / "digits", "-o", file).status == 0

    def fails(image: Image.Image, *arguments: Any) -> None:
        saved.append(1)
        if len(saved) == 4:
            raise OSError(28, "No space left on device")
        save(image, *arguments)

    monkeypatch.setattr(Image.Image, "save", fails)
    said = refused(aeprobe("decode", digits / "run", file, "-o", tmp_path / "out"))
    assert "cannot be written (No space left on device)" in said
    assert {one.name for one in tmp_path.iterdir()} == {"codes.npz"}


def test_a_name_leads_nowhere_and_hides_no_other() -> None:
    hostile = [
        "../../a.png",
        "/etc/a",
        "C:\\a.txt",
        "A",
        "a-2",
        ".a",
        "-a",
        "..",
        "",
        "a/..",
        "\0\x1b[31m",
        "é" * 300,
    ]
    names = [*_file_names(hostile)]
    assert len({name.casefold() for name in names}) == len(hostile)
    for name in names:
        assert Path(name).name == name
        assert name[0] not in ".-"
        assert name.isprintable()
        assert len(name.encode()) < 200
    assert names[:4] == ["a.png", "a-2.png", "a.txt.png", "A-3.png"]


def test_files_of_somebody_else_are_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Marked:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    honest: Arrays = {"names": np.array([b"a", b"b"]), "run": np.array("0" * 64)}
    codes = np.zeros((2, 3), np.float32)
    bits: Arrays = {"low": codes[0], "high": codes[0] + 1, "bits": np.array(8, np.uint8)}
    wrong: dict[str, Arrays] = {
        "a pickle": {"codes": codes, "names": np.array([Marked(), None], object)},
        "not finite": {"codes": codes + np.float32("nan")},
        "doubles": {"codes": codes.astype(float)},
        "one dimension": {"codes": codes[:, 0]},
        "more names": {"codes": codes, "names": np.array([b"a", b"b", b"c"])},
        "another array": {"codes": codes, "more": codes},
        "no SHA-256": {"codes": codes, "run": np.array("z" * 64)},
        "200 bits": {"codes": codes.astype(np.uint8)} | bits | {"bits": np.array(200, np.uint8)},
        "more ranges": {"codes": codes.astype(np.uint8)} | bits | {"low": np.zeros(4, np.float32)},
        "an infinite range": {"codes": codes.astype(np.uint8)} | bits | {"high": codes[0] + np.float32("inf")},
    }
    file = tmp_path / "codes.npz"
    for what, arrays in wrong.items():
        np.savez(file, allow_pickle=True, **(honest | arrays))
        with pytest.raises(AeprobeError, match=r"codes\.npz is no file of codes"):
            codes_file.read(file), what
    assert not (tmp_path / "ran").exists()
    np.savez(file, codes=codes, **honest)
    assert codes_file.read(file).names == ["a", "b"]
    content = bytearray(file.read_bytes())
    content[content.index(b"codes.npy") + 150] ^= 1
    for damaged in (bytes(content), bytes(content[:300]), b"mine"):
        file.write_bytes(damaged)
        with pytest.raises(AeprobeError, match=r"codes\.npz is no file of codes"):
            codes_file.read(file)
    np.savez_compressed(file, codes=np.zeros((10**5, 30), np.float32), **honest)
    monkeypatch.setattr(codes_file, "MOST_BYTES", 10**7)
    with pytest.raises(AeprobeError, match="it has more than 10,000,000 bytes"):
        codes_file.read(file)


@pytest.mark.parametrize("name", ["encode", "decode"])
def test_the_commands_are_there(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["aeprobe", name, "--help"])
    with pytest.raises(SystemExit) as end:
        command_line()
    assert end.value.code == 0
    assert f"usage: aeprobe {name}" in capsys.readouterr().out
