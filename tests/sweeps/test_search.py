"""A search looks at one validation metric, and its study goes on."""

import json
import signal
from pathlib import Path

import pytest
from conftest import TINY, Result, metrics, train
from images import write_folder
from launches import stopping

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
    asked = command(root, "trainer.limit_epochs=3", "autoencoder.max_epochs=3", stopping(tmp_path, "SIGKILL"))
    assert train(*asked, "hydra.sweeper.n_trials=3", cwd=tmp_path).status == -signal.SIGKILL
    before = trials(tmp_path)
    assert [state for state, *_ in before] == ["COMPLETE", "RUNNING"]

    again = train(*asked, "hydra.sweeper.n_trials=3", cwd=tmp_path)
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

    more = train(*asked, "hydra.sweeper.n_trials=4", cwd=tmp_path)
    assert more.status == 0, more.err
    assert [state for state, *_ in trials(tmp_path)] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


@pytest.mark.slow
def test_a_failing_trial_does_not_end_the_search_and_another_study_is_refused(tmp_path: Path, root: Path) -> None:
    rates = "autoencoder.optimizer.lr=1e38,1e-3"
    first = search(tmp_path, root, rates, "autoencoder.batch_size=100", "hydra.sweeper.n_trials=4")
    assert first.status == 1
    found = trials(tmp_path)
    assert len(found) == 4
    assert {state: params["autoencoder.optimizer.lr"] for state, params, _ in found} == {
        "FAIL": "1e+38",
        "COMPLETE": "0.001",
    }
    assert first.err.splitlines()[-1].startswith("error: 1 of 2 jobs are not completed in outputs/sweeps/s: ")
    before = (tmp_path / "outputs" / "sweeps" / "s" / "study.db").read_bytes()
    other = search(tmp_path, root, rates, "autoencoder.batch_size=50")
    assert other.status == 1
    line, _ = other.err.splitlines()  # the second names the job that failed before
    assert "is a study of other settings: {" in line
    assert line.endswith("choose another sweep=")
    assert (tmp_path / "outputs" / "sweeps" / "s" / "study.db").read_bytes() == before


@pytest.mark.slow
def test_the_encoder_of_a_search_over_stage_2_decides_what_is_held_out(tmp_path: Path) -> None:
    """The split is the checkpoint's, whatever the configuration says."""
    write_folder(tmp_path / "folder")
    typed = ("data=folder", "data.root=folder", "data.val_size=0", "autoencoder.network.widths=[784,30]")
    assert train("stage=autoencoder", *TINY, *typed, "hydra.run.dir=encoder", cwd=tmp_path).status == 0
    asked = ("-m", "search=optuna", "sweep=s", "stage=classifier", "ckpt=encoder", *TINY)
    asked += ("hydra.sweeper.n_trials=1", "hydra.sweeper.params=null", "seed=0,1")
    refused = train(*asked, cwd=tmp_path)
    assert refused.status == 1
    (line,) = refused.err.splitlines()
    assert "the encoder in ckpt=encoder was trained with data.val_size=0: the search would choose by" in line
    assert not (tmp_path / "outputs").exists()
    allowed = train(*asked, "objective=train/accuracy", cwd=tmp_path)
    assert allowed.status == 0, allowed.err
    ((_, _, value),) = trials(tmp_path)
    (run,) = (metrics(path.parent) for path in (tmp_path / "outputs").rglob("metrics.json"))
    assert value == run["final"]["train/accuracy"]
