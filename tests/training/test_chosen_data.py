"""Images that a person chooses by `data=NAME`, or by a class of their own: from the command to the page."""

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY, metrics, run_here, train
from page_reader import made
from pictures_made import COLOURS, write_pictures
from same_runs import resume_here

import aeprobe
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe_tools.results.folding import find_runs, summarize
from aeprobe_tools.results.stage_run import StageRun

FEW = ("autoencoder.max_epochs=2", "classifier.max_epochs=2")
FIRST = ("stage=autoencoder", "trainer.figures=false", "data.val_size=6")
PICTURES = ("data=images", "data.root=own", "data.source.size=32", "data.source.channels=3")
NAMES = list(COLOURS)
MINE = """
import torch
from aeprobe.data.sources import Source

class Stripes(Source):
    class_names = ("dark", "light")
    def __init__(self, root: str, count: int = 60) -> None:
        super().__init__()
        self.root, self.count = root, count
    def read(self, split):
        labels = torch.arange(self.count) % 2
        images = torch.zeros(self.count, 2, 12, 10, dtype=torch.uint8) + 200 * labels.view(-1, 1, 1, 1)
        return images.to(torch.uint8), labels
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a folder of pictures, `own`, and a finished run on it with all its figures, `run`."""
    path = tmp_path_factory.mktemp("chosen")
    write_pictures(path / "own")
    (path / "own" / "red" / "broken.png").write_bytes(b"")
    done = train(*PICTURES, *FEW, "autoencoder.network.widths=[auto,64,16]", "hydra.run.dir=run", cwd=path)
    assert done.status == 0, done.err
    assert done.out.count("is left out") == 3, done.out  # once a stage, and once for the playground
    return path


def test_pictures_are_trained_on_in_their_colours_and_by_their_names(own: Path) -> None:
    for stage in ("autoencoder", "classifier"):
        said = metrics(own / "run" / stage)
        assert (said["status"], said["not_drawn"]) == ("completed", {})
        assert said["data"]["class_names"] == NAMES
        assert said["data"]["val_size"] == 8  # a tenth of 75
        assert said["data"]["images"] == {"train": 67, "val": 8, "test": 15}
        stored = checkpoints.read(own / "run" / stage / "checkpoints" / "last.ckpt")["datamodule_hyper_parameters"]
        assert (stored["class_names"], stored["source"]) == (NAMES, said["config"]["data"]["source"])
    assert metrics(own / "run" / "autoencoder")["networks"]["encoder"]["sizes"] == ["3072", "64", "16"]
    assert len(metrics(own / "run" / "classifier")["confusion_matrix"]) == 3
    classifier, autoencoder = aeprobe.load(own / "run"), aeprobe.load(own / "run" / "autoencoder")
    pictures = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert classifier(pictures).shape == (4, 3)
    assert autoencoder(pictures).shape == (4, 3, 32, 32)


def test_figures_and_page_call_the_classes_by_their_names(own: Path) -> None:
    said = {}
    for file in (own / "run").glob("*/figures/*.json"):
        said[file.stem] = json.loads(file.read_text())["alt"]
    assert "digit" not in " ".join(said.values())
    assert any(name in said["class_histogram"] for name in NAMES)
    assert any(name in said["samples"] for name in NAMES)
    assert any(name in said["confusion_matrix"] for name in NAMES)
    page = made(own / "run")
    assert "An autoencoder, and a small classifier on its code: images own" in page.text
    run = StageRun(own / "run" / "classifier", metrics(own / "run" / "classifier"))
    assert [run.class_name(label) for label in (0, 1, 2, 3)] == [*NAMES, "3"]
    row = page.text[page.text.index("Best recognised class") :][:60]
    assert any(name in row for name in NAMES), row
    words = (own / "run" / "autoencoder" / "tensorboard").rglob("metadata.tsv")
    assert {*next(words).read_text().splitlines()} == {*NAMES}


def test_a_test_and_a_second_stage_need_only_the_checkpoint(own: Path) -> None:
    done = train("stage=test", "ckpt=run", "hydra.run.dir=test", "trainer.figures=false", cwd=own)
    assert done.status == 0, done.err
    again, before = metrics(own / "test"), metrics(own / "run" / "classifier")
    assert again["final"]["test/loss"] == before["final"]["test/loss"]
    assert again["data"] == before["data"]
    second = ("stage=classifier", "ckpt=run/autoencoder", "hydra.run.dir=second", "trainer.figures=false")
    done = train(*second, "classifier.max_epochs=2", cwd=own)
    assert done.status == 0, done.err
    assert metrics(own / "second")["final"] == before["final"]
    for typed, words in (
        (
            ["data=images", "data.source.size=16"],
            "data.source.size=16: the checkpoint .* was trained with data.source.size=32",
        ),
        (["data.name=mine"], "data.name=mine: the checkpoint .* was trained with data.name=images"),
        (["data.val_size=3"], "data.val_size=3: .* data.val_size=8; drop the override"),
    ):
        with pytest.raises(AeprobeError, match=words):
            run_here(own / "none", ["stage=classifier", f"ckpt={own}/run/autoencoder", *typed])
    assert not (own / "none").exists()


def test_a_run_does_not_go_on_with_a_changed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "own", 12)
    run_here(Path("run"), [*PICTURES[:2], "data.source.size=8", *FIRST, "autoencoder.max_epochs=1"])
    write_pictures(tmp_path / "own", 12, first=5)
    with pytest.raises(AeprobeError, match=r"^data: train-images in own has .*: give that file back"):
        resume_here(Path("run"), "autoencoder.max_epochs=3")


@pytest.mark.slow
def test_two_folders_are_no_two_seeds_of_one_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even under the same place and name."""
    monkeypatch.chdir(tmp_path)
    for first in (0, 50):
        write_pictures(tmp_path / "own", 6, first=first)
        for seed in (0, 1):
            options = [f"seed={seed}", "stage=autoencoder", "data.val_size=4", *TINY]
            run_here(tmp_path / "runs" / f"{first}_{seed}", [*PICTURES[:2], "data.source.size=8", *options])
    rows = summarize(find_runs([tmp_path / "runs"]))
    assert [(row["n"], row["seeds"]) for row in rows] == [(2, ["0", "1"])] * 2


@pytest.mark.slow
def test_a_class_of_one_s_own_in_any_shape(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    typed = ("data.name=mine", "data.source._target_=mine.Stripes", "+data.source.count=40", "data.val_size=0.2")
    done = train(*typed, *FEW, "hydra.run.dir=run", cwd=tmp_path)
    assert done.status == 0, done.err
    said = metrics(tmp_path / "run" / "classifier")
    assert (said["not_drawn"], said["data"]["class_names"]) == ({}, ["dark", "light"])
    assert said["data"]["images"] == {"train": 32, "val": 8, "test": 40}
    assert metrics(tmp_path / "run" / "autoencoder")["not_drawn"] == {}
    refused = train("stage=test", "ckpt=run", cwd=tmp_path)
    assert "data.source._target_=mine.Stripes: a stored configuration names no other class" in refused.err
    done = train("stage=test", "ckpt=run", "plugins=[mine]", "trainer.figures=false", cwd=tmp_path)
    assert done.status == 0, done.err


WRONG = {
    "data.source={_target_: os.system} data.name=x": "data.source._target_=os.system: is no Source",
    "data.source={_target_: mine.Nothing} data.name=x": "mine.Nothing: there is no such class",
    "data.source={_target_: aeprobe.data.mnist.KMNIST}": "data.name=mnist: must be another name",
    "data=images +data.source.sise=3": "data.source.sise: .*takes no such argument; did you mean size?",
    "data=images data.source.channels=2": r"data.source: channels=2: must be 1 \(greyscale\) or 3 \(colours\)",
    "data=images data.root=nowhere": "data.root=nowhere: there is no such directory",
    "data.name=a/b": "data.name=a/b: must be a name of at most 40 letters",
}


@pytest.mark.parametrize("typed", WRONG)
def test_what_is_wrong_is_told_before_anything_is_written(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = typed.replace("} ", "}|").replace("images ", "images|").split("|")
    with pytest.raises(AeprobeError, match=WRONG[typed]) as caught:
        run_here(tmp_path / "run", parts)
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.iterdir()]


def test_a_single_class_is_refused_for_a_classifier_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path / "all", 12)
    (tmp_path / "own").mkdir()
    (tmp_path / "all" / "red").rename(tmp_path / "own" / "red")
    done = train(*PICTURES, "data.val_size=2", *TINY, cwd=tmp_path)
    (line,) = done.err.splitlines()
    assert line.startswith("error: classifier.head ")
    assert "expected (2, classes), two classes or more" in line
    assert not (tmp_path / "outputs").exists()
    done = train("stage=autoencoder", *PICTURES, "data.val_size=2", *TINY, cwd=tmp_path)
    assert done.status == 0, done.err
