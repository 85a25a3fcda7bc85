"""What a run directory holds, damaged in any way, anywhere: refused in a line, or read; never a crash."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest
from command import command
from conftest import FIGURES, TINY
from damage import Damage, damaged, damages
from finished_runs import write_run
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from refusals import refused

from aeprobe.cli.resume import resume
from aeprobe.report.write import write_report
from aeprobe.runs.stage_run import StageRun
from aeprobe.tables.folding import find_runs, summarize


def damage_file(file: Path, original: Path, damage: Damage) -> None:
    before = original.read_bytes()
    after = damaged(before, damage)
    assume(after != before)
    file.write_bytes(after)


def count(what: str, was_read: object) -> None:
    FIGURES[f"damages {'read as other values' if was_read else 'refused'} in {what}"] += 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and its original."""
    folder = tmp_path_factory.mktemp("finished")
    return write_run(folder / "run"), write_run(folder / "original")


@given(damage=damages())
def test_damaged_metrics(finished: tuple[Path, Path], damage: Damage) -> None:
    run, original = finished
    name = "classifier/metrics.json"
    damage_file(run / name, original / name, damage)
    with contextlib.redirect_stdout(io.StringIO()):
        table = refused(lambda: summarize(find_runs([run])), "")
        refused(lambda: write_report([run]), "")
    count("metrics.json", table)
    shutil.copy(original / name, run / name)


@given(damage=damages())
def test_a_damaged_figure(finished: tuple[Path, Path], damage: Damage) -> None:
    run, original = (path / "classifier" for path in finished)
    for kind in ("png", "json"):
        name = f"figures/confusion_matrix.{kind}"
        damage_file(run / name, original / name, damage)
        stage = StageRun(run, json.loads((original / "metrics.json").read_text()))
        count(f"figures ({kind})", stage.picture("confusion_matrix"))
        shutil.copy(original / name, run / name)


@pytest.mark.slow
@given(damage=damages(), name=st.sampled_from(["config.yaml", "overrides.yaml"]))
def test_a_damaged_configuration(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage, name: str
) -> None:
    run = tmp_path_factory.getbasetemp() / "damaged_run"
    if not run.exists():
        shutil.copytree(trained / "autoencoder", run)
    original = trained / "autoencoder" / ".hydra" / name
    damage_file(run / ".hydra" / name, original, damage)
    count(name, refused(lambda: resume([f"resume={run}"]), ""))
    shutil.copy(original, run / ".hydra" / name)


@pytest.mark.slow
@settings(max_examples=8)  # of a command each; `make soak` damages other files more often
@given(damage=damages())
def test_a_damaged_study(root: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage) -> None:
    """Of a search with nothing left to run."""
    sweep = tmp_path_factory.getbasetemp() / "search"
    search = ("-m", "search=optuna", "seed=0,1", "hydra.sweeper.n_trials=1", f"hydra.sweep.dir={sweep}")
    typed = [*search, "stage=autoencoder", *TINY, f"data.root={root}"]
    original = sweep.with_name("study.db")
    if not original.exists():
        assert command(*typed).status == 0
        shutil.copy(sweep / "study.db", original)
    damage_file(sweep / "study.db", original, damage)
    done = command(*typed)
    assert done.status in (0, 1)
    assert done.err.count("\n") == done.status, done.err
    count("study.db", done.status == 0)
