"""`aeprobe encode` and `aeprobe decode`: pictures to a file of codes and back, and files that are none."""

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

from aeprobe import load
from aeprobe.errors import AeprobeError
from aeprobe_tools.use import codes
from aeprobe_tools.use.codes import file_names

Arrays = dict[str, NDArray[Any]]
Call = Callable[..., Result]


@pytest.fixture
def aeprobe(capsys: pytest.CaptureFixture[str]) -> Call:
    """A command in this process."""

    def call(name: str, *arguments: str | Path) -> Result:
        return Result(getattr(codes, f"{name}_command")([*map(str, arguments)]), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage=all run on made-up grey images, and seven of them as pictures, in `digits`."""
    path = tmp_path_factory.mktemp("grey")
    write_folder(path / "own")
    done = train(*TINY, "data=folder", "data.root=own", "data.val_size=100", "hydra.run.dir=run", cwd=path)
    assert done.status == 0, done.err
    (path / "digits").mkdir()
    for i, image in enumerate(idx_images(path)[:7, 0]):
        Image.fromarray(image).save(path / "digits" / f"{i}.png")
    return path


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stage 1, a convolutional one, on made-up pictures in colours."""
    path = tmp_path_factory.mktemp("colours")
    write_pictures(path / "own", 6)
    chosen = ("data=images", "data.root=own", "data.source.size=16", "data.val_size=3")
    conv = ("stage=autoencoder", "network@autoencoder.network=conv", "autoencoder.batch_size=5")
    done = train(*TINY, *chosen, *conv, "hydra.run.dir=run", cwd=path)
    assert done.status == 0, done.err
    return path


def idx_images(path: Path) -> NDArray[np.uint8]:
    content = (path / "own" / "t10k-images-idx3-ubyte").read_bytes()
    return np.frombuffer(content[16:], np.uint8).reshape(-1, 1, 28, 28).copy()


def pixels(files: list[Path]) -> torch.Tensor:
    images = [np.atleast_3d(np.asarray(Image.open(file))).transpose(2, 0, 1) for file in files]
    return torch.from_numpy(np.stack(images))


def arrays(file: Path) -> Arrays:
    """As others read it."""
    with np.load(file, allow_pickle=False) as stored:  # noqa: TID251
        return dict(stored)


def refused(done: Result) -> str:
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert done.err.startswith("error: ")
    return done.err


@torch.no_grad()
def test_without_bits_a_picture_comes_back_as_its_reconstruction(
    digits: Path, tmp_path: Path, aeprobe: Call
) -> None:
    file, out = tmp_path / "codes.npz", tmp_path / "out"
    done = aeprobe("encode", digits / "run", digits / "digits", "-o", file)
    assert (done.status, done.err) == (0, "")
    assert "codes.npz: 7 codes" in done.out
    made = load(digits / "run" / "autoencoder").predict(pixels(sorted((digits / "digits").iterdir())))
    stored = arrays(file)
    assert torch.equal(torch.from_numpy(stored["codes"]), made["code"])
    assert [*stored["names"]] == [f"{i}.png".encode() for i in range(7)]
    out.mkdir()
    done = aeprobe("decode", digits / "run", file, "-o", out)
    assert (done.status, done.err) == (0, "")
    files = sorted(out.iterdir())
    assert [one.name for one in files] == [f"{i}.png" for i in range(7)]
    assert ((pixels(files) / 255 - made["reconstruction"]).abs() <= 0.5001 / 255).all()
    assert {Image.open(one).mode for one in files} == {"L"}


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_with_bits_a_code_takes_as_many_and_changes_by_half_a_cell(
    bits: int, digits: Path, tmp_path: Path, aeprobe: Call
) -> None:
    file = tmp_path / "codes.npz"
    idx = digits / "own" / "t10k-images-idx3-ubyte"
    assert aeprobe("encode", digits / "run", idx, "-o", file, "--bits", str(bits)).status == 0
    exact = load(digits / "run" / "autoencoder").predict(torch.from_numpy(idx_images(digits)))["code"]
    stored = arrays(file)["codes"]
    assert (stored.dtype, stored.shape) == (np.uint8, (300, -(-30 * bits // 8)))
    read = codes.read(file)
    assert read.names[-1] == "t10k-images-idx3-ubyte-00299"
    cell = (exact.amax(0) - exact.amin(0)) / 2**bits
    error = (read.codes - exact).abs()
    assert (error <= cell * 0.501 + 1e-6).all()
    assert error.max() > cell.max() / 4


def test_pictures_of_another_size_and_a_run_in_colours(colours: Path, tmp_path: Path, aeprobe: Call) -> None:
    """A folder, its pictures by name, and a grey one that is twice as wide."""
    wide = np.zeros((32, 64), np.uint8)
    wide[:, 12:52] = 200  # the middle, and what its last pixels blend with
    Image.fromarray(wide).save(tmp_path / "wide.png")
    file, out, run = tmp_path / "codes.npz", tmp_path / "out", colours / "run"
    done = aeprobe("encode", run, tmp_path / "wide.png", colours / "own", tmp_path / "wide.png", "-o", file)
    assert done.status == 0, done.err
    read = codes.read(file)
    assert len(read.names) == 20
    assert (read.names[0], read.names[1], read.names[-1]) == ("wide.png", "blue sky/000.png", "wide.png")
    grey = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)
    assert torch.allclose(read.codes[:1], load(run).predict(grey)["code"], atol=1e-3)
    assert torch.equal(read.codes[0], read.codes[-1])
    assert aeprobe("decode", run, file, "-o", out).status == 0
    names = {one.name for one in out.iterdir()}
    assert {"wide.png", "wide-2.png", "000.png", "000-2.png", "000-3.png"} <= names
    assert len(names) == 20
    assert (Image.open(out / "wide.png").mode, Image.open(out / "wide.png").size) == ("RGB", (16, 16))


def test_codes_are_decoded_by_the_run_that_made_them_into_a_directory_of_their_own(
    digits: Path, colours: Path, tmp_path: Path, aeprobe: Call
) -> None:
    file, out, by_classifier = tmp_path / "codes.npz", tmp_path / "out", digits / "run" / "classifier"
    assert aeprobe("encode", digits / "run", digits / "digits", "-o", file).status == 0
    said = refused(aeprobe("decode", colours / "run", file, "-o", out))
    assert f"was made by a checkpoint with SHA-256 {codes.read(file).run:.12}" in said
    assert aeprobe("encode", by_classifier, digits / "digits", "-o", tmp_path / "other.npz").status == 0
    assert torch.equal(codes.read(tmp_path / "other.npz").codes, codes.read(file).codes)
    said = refused(aeprobe("decode", by_classifier, tmp_path / "other.npz", "-o", out))
    assert "is a classifier's, which has no decoder: give the autoencoder's run" in said
    assert not out.exists()
    out.mkdir()
    (out / "0.png").write_text("mine")
    assert f"{out} exists: give another path" in refused(aeprobe("decode", digits / "run", file, "-o", out))
    assert (out / "0.png").read_text() == "mine"


def test_what_cannot_be_encoded_is_said_in_a_line_and_nothing_written(
    digits: Path, tmp_path: Path, aeprobe: Call
) -> None:
    broken, good, run = tmp_path / "broken.png", digits / "digits" / "0.png", digits / "run"
    broken.write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    small = write_folder(tmp_path / "small", side=9)
    (tmp_path / "old.npz").write_text("mine")
    file = tmp_path / "new.npz"
    for images, output, said in (
        ([good, broken], file, "broken.png cannot be used"),
        ([tmp_path / "none.png"], file, "none.png: there is no such file or directory"),
        ([tmp_path / "empty"], file, "the directory has no picture"),
        ([small / "t10k-images-idx3-ubyte"], file, "has images of (1, 9, 9), and the run is of (1, 28, 28)"),
        ([small / "t10k-labels-idx1-ubyte"], file, "is no complete IDX file of 3 dimensions"),
        (["a" * 300], file, "File name too long"),
        ([good], tmp_path / "old.npz", "old.npz exists: give another path"),
        ([good], tmp_path / "nowhere" / "a.npz", "cannot be written (No such file or directory)"),
    ):
        assert said in refused(aeprobe("encode", run, *images, "-o", output))
    assert "there is no such file" in refused(aeprobe("encode", tmp_path / "no", good, "-o", file))
    assert not file.exists()
    assert (tmp_path / "old.npz").read_text() == "mine"


def test_what_fails_halfway_leaves_nothing(
    digits: Path, tmp_path: Path, aeprobe: Call, monkeypatch: pytest.MonkeyPatch
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
    names = [*file_names(hostile)]
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
    zeros = np.zeros((2, 3), np.float32)
    bits: Arrays = {"low": zeros[0], "high": zeros[0] + 1, "bits": np.array(8, np.uint8)}
    cells = zeros.astype(np.uint8)
    wrong: dict[str, Arrays] = {
        "a pickle": {"codes": zeros, "names": np.array([Marked(), None], object)},
        "not finite": {"codes": zeros + np.float32("nan")},
        "doubles": {"codes": zeros.astype(float)},
        "one dimension": {"codes": zeros[:, 0]},
        "more names": {"codes": zeros, "names": np.array([b"a", b"b", b"c"])},
        "200 bits": {"codes": cells} | bits | {"bits": np.array(200, np.uint8)},
        "more ranges": {"codes": cells} | bits | {"low": np.zeros(4, np.float32)},
        "an infinite range": {"codes": cells} | bits | {"high": zeros[0] + np.float32("inf")},
    }
    file = tmp_path / "codes.npz"
    for what, stored in wrong.items():
        np.savez(file, allow_pickle=True, **(honest | stored))
        with pytest.raises(AeprobeError, match=r"codes\.npz is no file of codes"):
            codes.read(file), what
    assert not (tmp_path / "ran").exists()
    np.savez(file, codes=zeros, **honest)
    assert codes.read(file).names == ["a", "b"]
    content = bytearray(file.read_bytes())
    content[content.index(b"codes.npy") + 150] ^= 1
    for damaged in (bytes(content), bytes(content[:300]), b"mine"):
        file.write_bytes(damaged)
        with pytest.raises(AeprobeError, match=r"codes\.npz is no file of codes"):
            codes.read(file)
    np.savez_compressed(file, codes=np.zeros((10**5, 30), np.float32), **honest)
    monkeypatch.setattr(codes, "MOST_BYTES", 10**7)
    with pytest.raises(AeprobeError, match="it has more than 10,000,000 bytes"):
        codes.read(file)
