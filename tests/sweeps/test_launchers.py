"""Hydra's launchers: several processes of this machine, or a queue."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPO, TINY, Result, metrics, python, train
from launches import DOUBLE
from warm import TRAIN

from aeprobe_tools.results import table as results

SLURM = str(REPO / "tests" / "slurm.sh")
BLOCKED = """
import sys
for name in ("hydra_plugins.hydra_joblib_launcher", "hydra_plugins.hydra_submitit_launcher", "optuna"):
    sys.modules[name] = None
"""


def jobs(cwd: Path) -> dict[str, Path]:
    """The sweep's jobs, by their seed."""
    found = (cwd / "outputs" / "sweeps" / "s").glob("seed-*")
    return {path.name.split("_")[0].removeprefix("seed-"): path for path in found}


@pytest.mark.slow
def test_joblib_divides_the_cores_and_loses_no_job(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = "autoencoder.optimizer.lr=1e-3,-1"
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = train(
        "-m",
        *launcher,
        "sweep=s",
        "stage=autoencoder",
        rates,
        "seed=0,1",
        *TINY,
        f"data.root={root}",
        cwd=tmp_path,
    )
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("error: 2 of 4 jobs are not completed in outputs/sweeps/s: ")
    assert "Traceback" not in done.err
    written = [metrics(path.parent) for path in tmp_path.rglob("metrics.json")]
    cores = len(os.sched_getaffinity(0))
    assert [m["threads"] for m in written if m["status"] == "completed"] == [max(1, cores // 2)] * 2
    assert len(written) == 2
    assert results.main([str(tmp_path / "outputs"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["seeds"] == ["0", "1"]


@pytest.mark.parametrize("what", ["hydra/launcher=joblib", "hydra/launcher=slurm", "search=optuna"])
def test_a_package_that_is_not_installed_is_named_with_its_command(tmp_path: Path, what: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    done = train("-m", what, "seed=0,1", cwd=tmp_path, environment={"PYTHONPATH": str(tmp_path)})
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {what}: ")
    assert line.endswith("--constraint constraints.txt --editable '.[sweep,slurm,optuna]'")
    assert not (tmp_path / "outputs").exists()


@pytest.fixture(scope="module")
def queue() -> Iterator[dict[str, str]]:
    """A Slurm of its own, by the variables that a command needs for it."""
    if not (shutil.which("sbatch") and shutil.which("munged") and os.getuid() == 0):
        pytest.skip("no Slurm: sbatch, munged and root are needed (Debian's slurm-wlm and munge)")
    path = Path("/tmp") / f"aeprobe-slurm-{os.getpid()}"  # munged wants parents that only root writes, or sticky
    started = subprocess.run(["bash", SLURM, "start", str(path)], capture_output=True, text=True, check=False)
    variables = {"SLURM_CONF": str(path / "slurm.conf")}
    try:
        assert started.returncode == 0, started.stderr
        yield variables
    finally:
        subprocess.run(["bash", SLURM, "stop", str(path)], env=os.environ | variables, check=False)
        shutil.rmtree(path, ignore_errors=True)


def in_queue(cwd: Path, queue: dict[str, str], *arguments: str) -> Result:
    typed = ("-m", "hydra/launcher=slurm", "sweep=s", *arguments)
    return python(TRAIN, *typed, cwd=cwd, environment=queue, warmed=False)


@pytest.mark.slow
def test_jobs_run_in_a_queue(tmp_path: Path, root: Path, queue: dict[str, str]) -> None:
    (tmp_path / "data").symlink_to(root)
    where = ("hydra.launcher.partition=main", "hydra.launcher.cpus_per_task=1")
    done = in_queue(tmp_path, queue, "seed=0,1", "stage=autoencoder", *TINY, *where)
    assert done.status == 0, done.err
    assert {metrics(path)["status"] for path in (tmp_path / "outputs" / "sweeps" / "s").glob("seed-*")} == {
        "completed"
    }


@pytest.mark.slow
def test_srun_starts_the_processes_of_one_run(tmp_path: Path, root: Path, queue: dict[str, str]) -> None:
    typed = [DOUBLE, *TINY[1:], "trainer.limit_epochs=1", "stage=autoencoder", f"data.root={root}"]
    program = [sys.executable, str(REPO / "train.py"), "trainer=ddp"]
    command = ["srun", "--ntasks-per-node=2", "--overcommit", *program, *typed, "hydra.run.dir=run"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | queue, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    alone = train(*typed, "hydra.run.dir=alone", cwd=tmp_path)
    assert alone.status == 0, alone.err
    two, one = metrics(tmp_path / "run"), metrics(tmp_path / "alone")
    assert (two["processes"], one["processes"]) == (2, 1)
    assert two["epochs"][0]["train/loss"] == pytest.approx(one["epochs"][0]["train/loss"], abs=1e-6)
