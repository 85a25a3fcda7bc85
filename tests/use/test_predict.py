"""`aeprobe predict`: what a run says of pictures, and of what is no picture."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result, rewrite, train
from images import write_folder
from pictures_made import write_pictures
from PIL import Image, ImageOps

from aeprobe import load
from aeprobe.data.mnist import MNIST
from aeprobe.errors import AeprobeError
from aeprobe_tools.use import predict
from aeprobe_tools.use.trained import load_stage

Say = Callable[..., Result]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """The command in this process."""
    return lambda *arguments: Result(predict.main([*map(str, arguments)]), *capsys.readouterr())


@pytest.fixture(scope="module")
def images(root: Path) -> torch.Tensor:
    return MNIST(str(root)).read("test")[0]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, images: torch.Tensor) -> Path:
    """Eight test images as pictures, the odd ones dark on light and large."""
    path = tmp_path_factory.mktemp("digits")
    for i, image in enumerate(images[:8, 0].numpy()):
        picture = Image.fromarray(image)
        large = ImageOps.invert(picture.resize((280, 280), Image.Resampling.BICUBIC))
        (large if i % 2 else picture).save(path / f"{i}.png")
    return path


def answers(done: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.out)["answers"]
    return found


def test_its_answers_are_the_modules(knows_digits: Path, digits: Path, images: torch.Tensor, say: Say) -> None:
    done = say(knows_digits, digits, "--as-is", "--json")
    assert (done.status, done.err) == (0, "")
    autoencoder, classifier = load(knows_digits / "autoencoder"), load(knows_digits)
    seen = torch.stack([images[i] for i in range(0, 8, 2)])
    made = autoencoder.predict(seen)["reconstruction"]
    errors = (made - seen / 255).square().mean((1, 2, 3)).tolist()
    values, labels = classifier.predict(seen)["probabilities"].topk(2)
    for i, answer in enumerate(answers(done)[::2]):
        assert answer["file"] == str(digits / f"{2 * i}.png")
        assert [answer["digit"], answer["second"]] == [str(label) for label in labels[i].tolist()]
        assert [answer["probability"], answer["second_probability"]] == pytest.approx(values[i].tolist(), rel=1e-4)
        assert answer["mse"] == pytest.approx(errors[i], rel=1e-4)
    whole = autoencoder.predict(images)["reconstruction"]
    largest = np.quantile((whole - images / 255).square().mean((1, 2, 3)).numpy(), 0.999)
    assert json.loads(done.out)["limit"] == pytest.approx(float(largest), rel=1e-4)


def test_a_table_csv_and_json_say_the_same(knows_digits: Path, digits: Path, say: Say) -> None:
    rows = answers(say(knows_digits, digits, "--json"))
    assert len(rows) == 8
    table = say(knows_digits, digits)
    assert (table.status, table.err) == (0, "")
    assert [head in table.out for head in ("digit", "probability", "second guess", "MSE")] == [True] * 4
    from_csv = [*csv.DictReader(io.StringIO(say(knows_digits, digits, "--csv").out))]
    for row, other in zip(rows, from_csv, strict=True):
        assert {name: "" if value is None else str(value) for name, value in row.items()} == other
        (line,) = (line for line in table.out.splitlines() if row["file"] in line)
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        assert cells[:3] == [row["file"], row["digit"], f"{row['probability']:.2%}"]
    prepared = [row["digit"] for row in answers(say(knows_digits, digits / "1.png", digits / "3.png", "--json"))]
    assert prepared == [rows[1]["digit"], rows[3]["digit"]]


def test_what_is_unlike_the_test_images_is_warned_of(knows_digits: Path, tmp_path: Path, say: Say) -> None:
    Image.fromarray(np.indices((28, 28)).sum(0).astype(np.uint8) % 2 * 255).save(tmp_path / "checkers.png")
    done = say(knows_digits, tmp_path / "checkers.png", "--as-is", "--json")
    (answer,) = answers(done)
    assert answer["mse"] > 3 * json.loads(done.out)["limit"]
    assert answer["warning"] == "does not look like what it was trained on"
    assert answer["warning"] in say(knows_digits, tmp_path / "checkers.png", "--as-is").out


@pytest.mark.parametrize(
    ("stage", "given", "lacks"),
    [("autoencoder", "mse", "no digit"), ("classifier/checkpoints/best.ckpt", "digit", "no reconstruction")],
)
def test_a_run_of_one_stage_says_what_it_can(
    stage: str, given: str, lacks: str, knows_digits: Path, digits: Path, say: Say, tmp_path: Path
) -> None:
    done = say(knows_digits / stage, digits, "--json", "--save", tmp_path / "grid.png")
    assert (done.status, (tmp_path / "grid.png").exists()) == (0, True)
    assert done.err.startswith(f"note: {lacks}: {knows_digits / stage}")
    for answer, other in zip(answers(done), answers(say(knows_digits, digits, "--json")), strict=True):
        assert answer[given] == other[given]
        assert (answer["digit"] is None, answer["mse"] is None) == (given == "mse", given == "digit")
    assert say(knows_digits / stage, digits).out.count("–") == 8 * (3 if given == "mse" else 1)


def test_the_grid_shows_what_was_seen(knows_digits: Path, digits: Path, tmp_path: Path, say: Say) -> None:
    output = tmp_path / "grid.png"
    assert say(knows_digits, digits, "--save", output).status == 0
    with Image.open(output) as grid:
        shown = np.asarray(grid.convert("L"))
        assert grid.width > 500
    with Image.open(digits / "0.png") as picture:
        digit = np.asarray(picture).repeat(2, 0).repeat(2, 1)
    tall, wide = digit.shape
    strips = [shown[top : top + tall, 124 : 124 + wide].astype(int) for top in range(shown.shape[0] - tall)]
    assert min(np.abs(strip - digit).mean() for strip in strips) < 3
    done = say(knows_digits, digits, "--save", output)
    assert (done.status, done.out, "grid.png exists: give another path" in done.err) == (1, "", True)
    assert "No such file or directory" in say(knows_digits, digits, "--save", tmp_path / "no" / "grid.png").err


def test_broken_pictures_are_named_and_the_others_answered(
    knows_digits: Path, digits: Path, tmp_path: Path, say: Say
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    Image.new("RGB", (90, 60), "white").save(tmp_path / "empty.png")
    Image.new("1", (12_000, 9_000)).save(tmp_path / "huge.png")
    (tmp_path / "nothing").mkdir()
    odd = ["~$nobody.png", "n" * 300 + ".png"]
    done = say(knows_digits, *sorted(tmp_path.iterdir()), *odd, digits / "0.png", "nowhere.png", "--json")
    assert done.status == 1
    assert [answer["file"] for answer in answers(done)] == [str(digits / "0.png")]
    lines = done.err.splitlines()
    expected = {
        "broken.png": "cannot be used",
        "empty.png": "nothing is drawn on it",
        "huge.png": "it has 12000 x 9000 pixels",
        "nothing": "no picture",
        "nowhere.png": "no such file or directory",
        odd[0]: "no such file or directory",
        odd[1]: "File name too long",
    }
    unread = {Path(path).name: said for path, said in json.loads(done.out)["unread"].items()}
    assert unread.keys() == expected.keys()
    assert lines == [f"error: {said}" for said in unread.values()]
    for name, why in expected.items():
        assert name in unread[name]
        assert why in unread[name]
    nothing = say(knows_digits, tmp_path / "broken.png", "--save", tmp_path / "grid.png")
    assert (nothing.status, nothing.out, (tmp_path / "grid.png").exists()) == (1, "", False)


def test_an_unfinished_run_answers_by_its_best_checkpoint(
    knows_digits: Path, digits: Path, tmp_path: Path, say: Say
) -> None:
    shutil.copytree(knows_digits, tmp_path / "run")
    stage = tmp_path / "run" / "classifier"
    rewrite(stage, lambda found: found.update(status="interrupted", checkpoint=None))
    done = say(tmp_path / "run", digits, "--json")
    assert done.status == 0
    assert done.err.endswith("classifier is interrupted after 3 epochs: its best checkpoint is used\n")
    assert answers(done) == answers(say(knows_digits, digits, "--json"))
    shutil.rmtree(stage / "checkpoints")
    for path, why in (
        (tmp_path / "run", "the directory holds no checkpoint"),
        ("nowhere", "there is no such file"),
    ):
        done = say(path, digits)
        assert (done.status, done.out, done.err.count("\n"), why in done.err) == (1, "", 1, True)


def test_own_pictures_have_their_classes_names(tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "own", 8)
    (tmp_path / "own" / "red").rename(tmp_path / "own" / "[red]<b>\x1b[31m")
    typed = ("data=images", "data.root=own", "data.source.size=16", "data.val_size=3", "trainer=debug")
    done = train(*typed, "trainer.figures=false", "hydra.run.dir=run", cwd=tmp_path)
    assert done.status == 0, done.err
    monkeypatch.chdir(tmp_path)
    done = say("run", "own")
    assert (done.status, done.err) == (0, "")
    assert "\x1b" not in done.out
    rows = answers(say("run", "own", "--json"))
    hostile = {"[red]<b>\\x1b[31m", "[red]<b>\x1b[31m"}
    assert {row["class"] for row in rows} <= {"blue sky", "green $1 and $2"} | hostile
    assert len(rows) == 24
    assert say("run", "own", "--save", "grid.png").status == 0
    shutil.rmtree("own")
    Image.new("RGB", (50, 20), "red").save("one.png")
    done = say("run", "one.png")
    assert done.status == 0
    assert done.err.startswith("note: no warnings of pictures that are unlike the test images: ")


def test_test_images_that_have_another_shape_by_now_are_refused(knows_digits: Path, tmp_path: Path) -> None:
    source, root = {"_target_": "aeprobe.data.mnist.IdxFolder"}, write_folder(tmp_path, 60, side=20)
    trained = load_stage(knows_digits)
    moved = replace(trained, data=trained.data | {"source": source, "root": str(root)})
    with pytest.raises(AeprobeError, match=r"are of \(1, 20, 20\) now, and those of .* are of \(1, 28, 28\)"):
        moved.images("test")
