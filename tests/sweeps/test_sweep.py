"""Many runs from one command: nothing is trained twice, and one failing job loses nothing."""

import json
import signal
from pathlib import Path

import pytest
from conftest import TINY, Result, composed, metrics, rewrite, train
from finished_runs import metrics as finished
from finished_runs import write_stage
from images import write_folder
from launches import stopping

from aeprobe.cli import multirun
from aeprobe.config.schema import plain
from aeprobe_tools.results import table as results


def sweep(cwd: Path, root: Path, *arguments: str) -> Result:
    return train("-m", "sweep=s", "stage=autoencoder", *arguments, *TINY, f"data.root={root}", cwd=cwd)


def jobs(cwd: Path) -> dict[str, Path]:
    """The sweep's jobs, by the rate in their name."""
    found = (cwd / "outputs" / "sweeps" / "s").iterdir()
    return {path.name.partition("lr-")[2].partition("_")[0]: path for path in found if path.is_dir()}


def weights(path: Path) -> int:
    return (path / "checkpoints" / "last.ckpt").stat().st_mtime_ns


@pytest.mark.slow
def test_a_grid_outlives_a_refused_and_a_failing_job_and_trains_only_what_is_missing(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = sweep(tmp_path, root, "autoencoder.optimizer.lr=1e-3,-1,1e38")
    assert first.status == 1
    found = jobs(tmp_path)
    assert {*found} == {"0.001", "-1", "1e+38"}
    assert [*found["-1"].iterdir()] == []
    assert [metrics(found[rate])["status"] for rate in ("0.001", "1e+38")] == ["completed", "failed"]
    assert "error: autoencoder.optimizer.lr=-1: must be a finite number above 0" in first.err
    assert "at a rate of 1e+38" in metrics(found["1e+38"])["error"]
    last = first.err.splitlines()[-1]
    assert last.startswith("error: 2 of 3 jobs are not completed in outputs/sweeps/s: ")
    assert f"{found['-1'].name} (did not begin)" in last
    assert f"{found['1e+38'].name} (failed)" in last
    assert "Error executing job" not in first.err

    before = weights(found["0.001"])
    again = sweep(tmp_path, root, "autoencoder.optimizer.lr=1e-3,-1,2e-3")
    assert weights(found["0.001"]) == before
    assert f"{found['0.001'].name}: completed before, with the same settings" in again.out
    assert again.out.count("epoch 1/1") == 1
    assert metrics(jobs(tmp_path)["0.002"])["status"] == "completed"

    assert results.main([str(tmp_path / "outputs"), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [row["settings"]["autoencoder.optimizer.lr"] for row in table["rows"]] == ["0.002", "0.001"]
    assert [run["status"] for run in table["unfinished"]] == ["failed"]


def test_a_job_with_other_settings_or_other_images_is_never_taken_for_done(tmp_path: Path) -> None:
    config = composed(["stage=autoencoder", "data=folder", "data.root=images"])
    job = tmp_path / "job"
    write_stage(job, finished("autoencoder", config=plain(config), data={"files": {}}), figures=False)
    assert multirun.before(job, config) == "completed"
    rewrite(job, lambda found: found["config"]["data"].update(val_size=40))
    with pytest.raises(multirun.OtherRunError, match=r"val_size=40, not 5000: choose another sweep="):
        multirun.before(job, config)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "labels").write_bytes(b"as it is now")
    config.data.root = str(tmp_path / "images")
    rewrite(job, lambda found: found.update(config=plain(config), data={"files": {"labels": {"sha256": "0"}}}))
    with pytest.raises(multirun.OtherRunError, match=r"was made with another .*labels than there is now"):
        multirun.before(job, config)


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_sweep_goes_on_where_it_was_ended(tmp_path: Path, ended_by: signal.Signals) -> None:
    write_folder(tmp_path / "folder")
    job = ["-m", "sweep=s", "seed=0,1", "stage=autoencoder", *TINY, "data=folder", "data.root=folder"]
    job += ["data.val_size=50", "trainer.limit_epochs=3", "autoencoder.max_epochs=3"]
    job += [stopping(tmp_path, ended_by.name)]
    first = train(*job, cwd=tmp_path)
    if ended_by == signal.SIGTERM:
        told, named = first.err.splitlines()
        assert first.status == 130
        assert told == "error: interrupted; go on by the same command, with sweep=s"
        assert named.startswith("error: 1 of 2 jobs are not completed in outputs/sweeps/s: ")
        assert named.endswith("(interrupted)")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.ckpt")}
    assert len(before) == 2
    second = train(*job, cwd=tmp_path)
    assert (second.status, second.err) == (0, "")
    assert second.out.count("completed before") == second.out.count("was interrupted, goes on") == 1
    assert second.out.count("autoencoder epoch") == 2
    assert sum(path.stat().st_mtime_ns == time for path, time in before.items()) == 1


def test_the_ending_of_a_job_is_that_of_its_stages(tmp_path: Path) -> None:
    for name, ended, whole in (
        ("both", {"autoencoder": "completed", "classifier": "completed"}, "completed"),
        ("between", {"autoencoder": "completed"}, "interrupted"),
        ("killed", {"autoencoder": "completed", "classifier": "running"}, "interrupted"),
        ("failed", {"autoencoder": "completed", "classifier": "failed"}, "failed"),
        ("refused", {".": "failed"}, "failed"),
    ):
        for stage, status in ended.items():
            part = tmp_path / name / stage
            part.mkdir(parents=True)
            kept = {"schema": 1, "stage": stage, "status": status, "seed": 0, "overrides": [], "final": {}}
            (part / "metrics.json").write_text(json.dumps(kept | {"config": {"stage": "all"}, "epochs": []}))
        assert multirun.ending(tmp_path / name) == whole
    assert multirun.unfinished(tmp_path).startswith("4 of 5 jobs are not completed")
