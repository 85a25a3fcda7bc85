"""Another dataset than the encoder's, where it is typed; and images without labels, for stage 1 alone."""

from pathlib import Path

import pytest
from conftest import metrics, run_here, train
from images import write_folder
from page_reader import made
from pictures_made import write_pictures

from aeprobe.data.mnist import FILES
from aeprobe.errors import AeprobeError
from aeprobe_tools.report.page import write_report

SHORT = ("trainer.limit_train_batches=3", "trainer.limit_epochs=1")
LABELS = [names[1] for names in FILES.values()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "other")


@pytest.mark.slow
def test_stage_2_and_a_test_take_images_that_are_typed_and_say_whose_encoder_it_is(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    other = ("data=folder", f"data.root={folder}", "data.val_size=20")
    typed = ("stage=classifier", f"ckpt={trained}/autoencoder", "data.mean=0.0", *other, *SHORT)
    done = train(*typed, "hydra.run.dir=run", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "images: folder; the encoder was trained on mnist" in done.out
    found = metrics(tmp_path / "run")
    assert (found["encoder_data"], found["data"]["name"]) == ("mnist", "folder")
    assert found["data"]["images"] == {"train": 280, "val": 20, "test": 300}
    assert len(found["confusion_matrix"]) == 3
    write_report([tmp_path / "run"])
    assert "The encoder was trained on" in made(tmp_path / "run").text
    tested = train(
        "stage=test", f"ckpt={trained}", *other, "trainer.figures=false", "hydra.run.dir=test", cwd=tmp_path
    )
    assert tested.status == 0, tested.err
    assert metrics(tmp_path / "test")["encoder_data"] == "mnist"
    # The classifier's own images are in its checkpoint from now on.
    again = train("stage=test", "ckpt=run", "trainer.figures=false", "hydra.run.dir=again", cwd=tmp_path)
    assert again.status == 0, again.err
    assert metrics(tmp_path / "again")["final"]["test/loss"] == found["final"]["test/loss"]
    resumed = train("resume=run", cwd=tmp_path)
    assert "nothing is left to do" in resumed.out


def test_images_of_another_shape_are_refused(trained: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "small", side=20)
    with pytest.raises(AeprobeError, match=r"images are \(1, 20, 20\), but the encoder of .* takes \(1, 28, 28\)"):
        run_here(
            tmp_path / "run",
            ["stage=test", f"ckpt={trained}", "data=folder", f"data.root={folder}", "data.val_size=9"],
        )
    assert not (tmp_path / "run").exists()


def unlabelled(tmp_path: Path, kind: str) -> list[str]:
    """What to type for a folder of images without labels."""
    if kind == "idx":
        folder = write_folder(tmp_path / "own")
        for name in LABELS:
            (folder / name).unlink()
        return ["data=folder", f"data.root={folder}", "data.val_size=20"]
    write_pictures(tmp_path / "all", 4)
    (tmp_path / "own").mkdir()
    for i, file in enumerate(sorted((tmp_path / "all").rglob("*.*"))):
        file.rename(tmp_path / "own" / f"{i}{file.suffix}")
    return ["data=images", f"data.root={tmp_path / 'own'}", "data.source.size=16", "data.val_size=4"]


@pytest.mark.parametrize("kind", ["idx", "pictures"])
def test_stage_1_needs_no_labels_and_stage_2_says_that_it_does(kind: str, tmp_path: Path) -> None:
    typed = [*unlabelled(tmp_path, kind), *SHORT]
    done = train("stage=autoencoder", *typed, "hydra.run.dir=run", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    found = metrics(tmp_path / "run")
    assert (found["status"], found["not_drawn"]) == ("completed", {})
    figures = {file.stem for file in (tmp_path / "run" / "figures").glob("*.png")}
    assert {"samples", "reconstructions", "codes"} <= figures
    assert "class_histogram" not in figures
    for more in (["stage=classifier", "ckpt=run"], ["stage=all"]) if kind == "idx" else ():
        refused = train(*more, *typed, cwd=tmp_path)
        assert refused.status == 1
        assert "have no labels, and a classifier learns from them" in refused.err
        assert len(refused.err.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
