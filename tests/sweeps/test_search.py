"""A search looks at one validation metric, and its study goes on."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO, TINY, Result, metrics, train
from same_runs import wait_for

from aeprobe_tools.results import table as results

optuna = pytest.importorskip("optuna")


def search(cwd: Path, root: Path, *arguments: str) -> Result:
    return train(*command(root, *arguments), cwd=cwd)


def command(root: Path, *arguments: str) -> list[str]:
    return ["-m", "search=optuna", "sweep=s", "stage=autoencoder", *TINY, f"data.root={root}", *arguments]


def trials(cwd: Path) -> list[tuple[str, dict[str, object], float | None]]:
    storage = f"sqlite:///{cwd / 'outputs' / 'sweeps' / 's' / 'study.db'}"
    study = optuna.load_study(study_name="aeprobe", storage=storage)
    return [(trial.state.name, trial.params, trial.value) for trial in study.trials]


@pytest.mark.slow
def test_a_killed_search_goes_on_with_all_its_trials_in_the_table(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = command(root, "hydra.sweeper.n_trials=3", "trainer.limit_epochs=30", "autoencoder.max_epochs=30")
    with subprocess.Popen([sys.executable, str(REPO / "train.py"), *asked], cwd=tmp_path, text=True) as killed:
        wait_for(lambda: len([p for p in tmp_path.rglob("metrics.json") if '"epoch": 2' in p.read_text()]) == 2)
        killed.send_signal(signal.SIGKILL)
    before = trials(tmp_path)
    assert [state for state, *_ in before] == ["COMPLETE", "RUNNING"]

    again = train(*asked, cwd=tmp_path)
    assert again.status == 0, again.err
    assert "was interrupted, goes on" in again.out
    after = trials(tmp_path)
    assert [state for state, *_ in after] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert after[2][1] == after[1][1] == before[1][1]
    assert after[0] == before[0]

    assert results.main([str(tmp_path / "outputs"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    told = sorted(value for _, _, value in after if value is not None)
    assert [row["metrics"]["val/loss"]["mean"] for row in rows] == told
    assert f"with {told[0]:.5g}: " in again.out

    more = train(
        *command(root, "trainer.limit_epochs=30", "autoencoder.max_epochs=30", "hydra.sweeper.n_trials=4"),
        cwd=tmp_path,
    )
    assert more.status == 0, more.err
    assert [state for state, *_ in trials(tmp_path)] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


@pytest.mark.slow
def test_a_failing_trial_does_not_end_the_search_and_another_study_is_refused(tmp_path: Path, root: Path) -> None:
    rates = "autoencoder.optimizer.lr=1e38,1e-3"
    first = search(tmp_path, root, rates, "autoencoder.batch_size=100", "hydra.sweeper.n_trials=6")
    assert first.status == 1
    found = trials(tmp_path)
    assert len(found) == 6
    assert {state: params["autoencoder.optimizer.lr"] for state, params, _ in found} == {
        "FAIL": "1e+38",
        "COMPLETE": "0.001",
    }
    assert first.err.splitlines()[-1].startswith("error: 1 of 2 jobs are not completed in outputs/sweeps/s: ")
    before = (tmp_path / "outputs" / "sweeps" / "s" / "study.db").read_bytes()
    other = search(tmp_path, root, rates, "autoencoder.batch_size=50")
    assert other.status == 1
    (line,) = other.err.splitlines()
    assert "is a study of other settings: fixed was" in line
    assert line.endswith("choose another sweep=")
    assert (tmp_path / "outputs" / "sweeps" / "s" / "study.db").read_bytes() == before


@pytest.mark.slow
def test_a_grid_has_every_combination_and_joblib_runs_a_search(tmp_path: Path, root: Path) -> None:
    settings = ["sweep=g", "stage=autoencoder", "autoencoder.batch_size=100", *TINY, f"data.root={root}"]
    grid = train("-m", "search=grid", *settings, cwd=tmp_path)
    assert grid.status == 0, grid.err
    runs = [metrics(path.parent) for path in (tmp_path / "outputs" / "sweeps" / "g").rglob("metrics.json")]
    rates = [run["config"]["autoencoder"]["optimizer"]["lr"] for run in runs]
    assert sorted(rates) == [3e-4, 1e-3, 3e-3]

    two = (
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.n_trials=2",
    )
    done = search(tmp_path, root, *two)
    assert done.status == 0, done.err
    assert [state for state, *_ in trials(tmp_path)] == ["COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search=optuna"], "train.py -m search=optuna sweep=NAME"),
        (["-m", "search=optuna", "hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs=0: must be at least 1"),
        (["-m", "search=optuna", "objective=test/loss"], "objective=test/loss: stage=all reports no such metric"),
        (["-m", "search=optuna", "autoencoder.optimizer.lr=interval(2,1)"], "from a smaller to a greater number"),
        (["-m", "search=optuna", "autoencoder.nothing=1,2"], "autoencoder.nothing: no such key"),
        (["-m", "search=nothing"], "search/nothing: no such file in conf/; there are grid, optuna"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_a_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = train(*arguments, cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert said in line
    assert not [*tmp_path.rglob("metrics.json")]
