"""Files that somebody else made: they are data, and lead nowhere."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPO, run_here, train

from aeprobe.errors import AeprobeError


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture
def stolen(tmp_path: Path, trained: Path) -> Path:
    """A run directory of somebody else's, whose first stage was killed at its end."""
    path = Path(shutil.copytree(trained, tmp_path / "stolen"))
    text = (path / "autoencoder" / "metrics.json").read_text()
    (path / "autoencoder" / "metrics.json").write_text(text.replace('"completed"', '"running"'))
    return path


@pytest.mark.parametrize("form", ["pickle", "zip"])
@pytest.mark.parametrize("where", ["ckpt=", "resume="])
def test_code_in_a_checkpoint_does_not_run(
    tmp_path: Path, stolen: Path, root: Path, form: str, where: str
) -> None:
    marker = tmp_path / "it_ran"
    run = stolen / "autoencoder"
    for path in run.glob("checkpoints/*.ckpt"):
        if form == "pickle":
            path.write_bytes(pickle.dumps(Attack(marker)))
        else:
            torch.save({"state_dict": Attack(marker)}, path)
    arguments = [f"resume={run}"]
    if where == "ckpt=":
        arguments = ["stage=test", f"ckpt={run}", f"data.root={root}"]
    done = train(*arguments, cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert ".ckpt: is not a checkpoint" in line
    assert not marker.exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("autoencoder.optimizer._target_=os.system", "_target_=os.system: is no Optimizer"),
        ("autoencoder.optimizer._target_=torch.optim.lr_scheduler.sys.exit", "there is no such class"),
        ("++autoencoder.callbacks.a._target_=torch.nn.ReLU", "_target_=torch.nn.ReLU: is no Callback"),
        ("++autoencoder.callbacks.a=os.system", "must be a node with the name of a class"),
        ("autoencoder.optimizer._target_=system", "must be the full name of a class"),
        ("++autoencoder.optimizer.hook._target_=os.system", "autoencoder.optimizer=hook: must be plain arguments"),
        ("++data._target_=os.system", "data._target_: no such key"),
    ],
)
def test_a_configuration_names_no_code(tmp_path: Path, typed: str, said: str) -> None:
    with pytest.raises(AeprobeError) as refused:
        run_here(tmp_path / "run", [typed])
    assert said in str(refused.value)


def test_the_lint_rules_refuse_code_that_runs_files(tmp_path: Path) -> None:
    bad = {
        "import pickle\n\npickle.load(open('x', 'rb'))\n": "TID251",
        "import torch\n\ntorch.load('x')\n": "TID251",
        "import numpy as np\n\nnp.load('x', allow_pickle=True)\n": "TID251",
        "import yaml\n\nyaml.load('x')\n": "S506",
        "eval('1')\n": "S307",
        "exec('1')\n": "S102",
        "import subprocess\n\nsubprocess.run('ls', shell=True)\n": "S602",
    }
    for number, (code, rule) in enumerate(bad.items()):
        path = tmp_path / f"bad{number}.py"
        path.write_text(code)
        command = [sys.executable, "-m", "ruff", "check", "--config", str(REPO / "pyproject.toml"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert rule in done.stdout, (code, done.stdout)


def test_tensorboard_listens_on_this_machine_alone() -> None:
    (line,) = [line for line in (REPO / "Makefile").read_text().splitlines() if "/tensorboard --logdir" in line]
    assert "--host localhost" in line
