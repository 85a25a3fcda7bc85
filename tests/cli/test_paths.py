"""Names and paths as they are typed: `~`, names that look like numbers, names that a grammar stumbles over."""

import contextlib
import os
import shlex
import shutil
from pathlib import Path

import pytest
from command import command
from conftest import REPO, metrics, only
from images import write_folder

from aeprobe.config.overrides import override
from aeprobe_tools.report import page as report
from aeprobe_tools.results import table as results

SMALL = ("data=folder", "data.val_size=50", "trainer.limit_epochs=1", "trainer.figures=false")
ONE = ("stage=autoencoder", *SMALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `images` in it; the home directory lies beside it, and holds the same images."""
    (tmp_path / "work").mkdir()
    write_folder(tmp_path / "work" / "images")
    shutil.copytree(tmp_path / "work", tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "work"


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.name != "images")


@pytest.mark.parametrize("typed", [["outputs=~/runs"], ["-m", "hydra.sweep.dir=~/runs", "seed=0"]])
def test_a_tilde_is_the_home_directory(place: Path, typed: list[str]) -> None:
    with contextlib.chdir(place):
        result = command(*typed, *ONE, "data.root=~/images")
    assert result.status == 0, result.err
    assert names(place) == []
    assert names(place.parent / "home") == ["runs"]
    runs = results.find_runs([place.parent / "home" / "runs"])
    assert {run.status for run in runs} == {"completed"}
    assert metrics(runs[0].path)["data"]["root"] == str(place.parent / "home" / "images")


def test_tables_and_pages_take_a_tilde(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(place):
        assert command("outputs=~/runs", *ONE, "data.root=images").status == 0
        assert results.main(["~/runs", "--csv"]) == 0
        run = only(place.parent / "home" / "runs" / "autoencoder")
        assert report.main([f"~/runs/autoencoder/{run.name}", "--output", "~/page.html"]) == 0
        assert (place.parent / "home" / "page.html").exists()
        (place / "mine.html").write_text("<html>mine</html>")
        assert report.main([str(run), "--output", "mine.html"]) == 1
        assert (place / "mine.html").read_text() == "<html>mine</html>"
        assert report.main([str(run), "--output", str(run / "metrics.json")]) == 1
        assert metrics(run)["status"] == "completed"
        assert report.main([str(run), "--output", "~/page.html"]) == 0
    assert "~" not in capsys.readouterr().out


UGLY = ["-quote\" and ' and \\ a=b,[1] {x}\nline", "~tilde HOME #1 ä::b*?%41:c"]


@pytest.mark.parametrize("name", UGLY)
def test_printed_commands_work(place: Path, name: str) -> None:
    (argument,) = shlex.split(override("outputs", name))
    with contextlib.chdir(place):
        first = command(*ONE, "data.root=images", argument)
        assert first.status == 0, first.err
        assert names(place) == [name]
        printed = shlex.split(first.out.partition("next: ")[2])
        assert printed[1] == str(REPO / "train.py")
        second = command(*printed[2:], *SMALL, "data.root=images", argument)
        assert second.status == 0, second.err
        assert names(place) == [name]
        assert sorted(names(place / name)) == ["autoencoder", "classifier"]
        run = only(place / name / "autoencoder")
        assert [path.name.partition(".")[0] for path in (run / "tensorboard").iterdir() if ".tf" in path.name]
        before = (run / "metrics.json").read_bytes()
        (resume,) = shlex.split(override("resume", os.path.relpath(run, place)))
        again = command(resume)
        assert again.status == 0, again.err
        assert (run / "metrics.json").read_bytes() == before
        assert names(place) == [name]
