"""A figure that cannot be drawn costs no run: the results are written before, and it is named with its reason."""

import errno
import json
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import pytest
from command import command
from conftest import metrics, run_here
from images import write_folder
from page_reader import made

from aeprobe.runs import rundir
from aeprobe.training import recorder
from aeprobe_tools.figures import gallery, pictures
from aeprobe_tools.figures.gallery import Gallery
from aeprobe_tools.report import page as report

SHORT = [
    "data=folder",
    "data.val_size=20",
    "trainer.limit_epochs=1",
    "classifier.head.widths=[30,3]",
    "data.root=own",
]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "own", 120)
    monkeypatch.chdir(tmp_path)


def broken(what: str) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(f"{what} is broken")

    return fail


def test_every_figure_and_part_of_tensorboard_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def show(self: Gallery, *given: Any) -> None:
        seen.append(metrics(self.directory.path))
        original(self, *given)

    original = Gallery.show
    monkeypatch.setattr(Gallery, "show", show)
    monkeypatch.setattr(pictures, "pca_baseline", broken("pca"))
    monkeypatch.setattr(gallery.charts, "batch_accuracy", broken("accuracy"))
    for part in ("add_graph", "add_projector"):
        monkeypatch.setattr(gallery, part, broken(part))
    monkeypatch.setattr(recorder, "hyperparameters", broken("hyperparameters"))
    done = run_here(Path("run"), SHORT)
    for number, (stage, figure) in enumerate((("autoencoder", "pca_baseline"), ("classifier", "batch_accuracy"))):
        found, before = metrics(Path("run") / stage), seen[number]
        assert (found["status"], found["error"]) == ("completed", None)
        assert before["status"] == "completed"  # by the time that the first figure is begun
        for key in ("final", "confusion_matrix", "test_batch_accuracy", "epochs", "checkpoint"):
            assert before.get(key) == found.get(key) == done[stage].get(key)
        assert {"test/loss", "val/loss", "train/loss"} <= found["final"].keys()
        assert before["seconds"]["total"] <= found["seconds"]["total"]
        assert found["seconds"]["figures"] > 0
        parts = {"graph", "projector", "hparams"} if stage == "autoencoder" else {"graph", "hparams"}
        assert found["not_drawn"].keys() == {figure, *parts}
        assert found["not_drawn"]["graph"] == "ZeroDivisionError: add_graph is broken"
        drawn = {path.stem for path in (Path("run") / stage / "figures").glob("*.png")}
        assert figure not in drawn
        assert len(drawn) == (10 if stage == "autoencoder" else 8)
        log = (Path("run") / stage / "train.log").read_text()
        assert f"not drawn: {figure.replace('_', ' ')} (ZeroDivisionError: " in log
        assert log.count("Traceback") == len(found["not_drawn"])
        assert "in fail" in log
    page = made(Path("run"))
    assert page.text.count("lacks what could not be drawn: ") == 2
    assert "pca baseline (ZeroDivisionError: pca is broken)" in page.text
    assert "Not drawn in this run: Figure 20 (batch accuracy)." in page.text
    assert "graph (ZeroDivisionError: add_graph is broken)" in page.text


def test_reconstructions_that_fail_meanwhile_do_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "reconstruct", broken("reconstruct"))
    found = run_here(Path("run"), ["stage=autoencoder", *SHORT])["autoencoder"]
    assert found["status"] == "completed"
    assert found["not_drawn"].keys() == {"reconstructions", "pca_baseline", "best_and_worst"}


def test_a_disk_that_is_full_by_then_costs_the_figures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(path: Path, content: bytes) -> None:
        if path.parent.name == "figures" or b'"not_drawn": {' in content:
            raise full
        original(path, content)

    original, typed = rundir.write_atomically, ["stage=autoencoder", *SHORT]
    with monkeypatch.context() as patch:
        for module in (rundir, gallery):
            patch.setattr(module, "write_atomically", refuse)
        patch.setattr(gallery, "add_png", lambda *_: (_ for _ in ()).throw(full))
        done = run_here(Path("run"), typed)["autoencoder"]
    found = metrics(Path("run"))
    assert (found["status"], found["final"], found["not_drawn"]) == ("completed", done["final"], None)
    assert "OSError: [Errno 28] No space left on device" in done["not_drawn"]["class_histogram"]
    assert len(done["not_drawn"]) >= 11
    assert "has no figures yet: resume= draws them" in made(Path("run")).text
    again = run_here(Path("run"), typed, resume=True)["autoencoder"]
    assert (again["status"], again["not_drawn"]) == ("completed", {})
    assert again["final"] == pytest.approx(done["final"])
    assert again["seconds"]["fit"] > found["seconds"]["fit"] > 0
    assert "has no figures yet" not in made(Path("run")).text


def test_an_interruption_while_drawing_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "best_and_worst", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_here(Path("run"), ["stage=autoencoder", *SHORT])
    found = metrics(Path("run"))
    assert found["status"] == "interrupted"
    assert found["final"]["test/loss"] > 0


def test_a_page_that_cannot_be_made_costs_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "sections", broken("page"))
    done = command(*SHORT, "hydra.run.dir=run", "trainer.figures=false")
    assert done.status == 0
    assert "no report: page is broken; " in done.out
    assert json.loads(Path("run/classifier/metrics.json").read_text())["status"] == "completed"
