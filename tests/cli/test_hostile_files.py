"""Files that somebody else made: they are data, and lead nowhere."""

import io
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPO, TINY, run_here, train

from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints


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


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Writes a checkpoint anew, with all its checksums right."""
    content = checkpoints.read(path)
    change(content)
    torch.save(content, path)


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


def test_what_a_checkpoint_only_claims_takes_no_memory(stolen: Path) -> None:
    path = stolen / "autoencoder" / "checkpoints" / "last.ckpt"
    original = path.read_bytes()

    def claim_widths(content: dict[str, Any]) -> None:
        content["hyper_parameters"]["network"]["widths"] = [784, 2**20, 2**20, 30]

    changed(path, claim_widths)
    with pytest.raises(AeprobeError, match=r"its weights do not fit .*1048576"):
        checkpoints.load(path)

    path.write_bytes(original)
    changed(
        path,
        lambda content: content["state_dict"].update({"encoder.0.weight": torch.zeros(1).expand(10**12, 784)}),
    )
    with pytest.raises(AeprobeError, match=r"claims a tensor of \(1000000000000, 784\), which it does not hold"):
        checkpoints.load(path)

    path.write_bytes(original)
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in archive.infolist():
            bomb.writestr(entry.filename, archive.read(entry))
    path.write_bytes(packed.getvalue())
    with pytest.raises(AeprobeError, match="is compressed"):
        checkpoints.load(path)


@pytest.mark.parametrize("widths", ["[784,1000000000,30]", "[784,1000000,1000000,30]"])
def test_a_typed_layer_too_large_for_the_machine_is_refused(tmp_path: Path, widths: str) -> None:
    done = train(f"autoencoder.network.widths={widths}", cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert line.startswith(("error: the networks are too large", "error: autoencoder.network: widths="))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("autoencoder.optimizer._target_=os.system", "_target_=os.system: is no Optimizer"),
        ("autoencoder.optimizer._target_=subprocess.Popen", "_target_=subprocess.Popen: is no Optimizer"),
        ("autoencoder.optimizer._target_=torch.optim.lr_scheduler.sys.exit", "there is no such class"),
        (
            "scheduler@autoencoder.scheduler=step "
            "autoencoder.scheduler._target_=torch.optim.lr_scheduler.os.system",
            "there is no such class",
        ),
        (
            "++autoencoder.callbacks.a._target_=os.system",
            "autoencoder.callbacks.a._target_=os.system: is no Callback",
        ),
        ("++autoencoder.callbacks.a._target_=torch.nn.ReLU", "_target_=torch.nn.ReLU: is no Callback"),
        ("++autoencoder.callbacks.a=os.system", "must be a node with the name of a class"),
        ("autoencoder.optimizer._target_=system", "must be the full name of a class"),
        ("++autoencoder.optimizer.hook._target_=os.system", "autoencoder.optimizer"),
        ("++data._target_=os.system", "_target_"),
    ],
)
def test_a_configuration_names_no_code(tmp_path: Path, typed: str, said: str) -> None:
    done = train(*typed.split(), cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert said in line


@pytest.mark.slow
def test_a_stored_configuration_runs_no_code(tmp_path: Path, stolen: Path) -> None:
    marker = tmp_path / "it_ran"
    path = stolen / "autoencoder" / ".hydra" / "config.yaml"
    text = path.read_text()
    attack = f"hydra:\n  callbacks:\n    x:\n      _target_: pathlib.Path.touch\n      self: {marker}\n"
    for content in (
        text.replace("torch.optim.Adam", "os.system"),
        text + attack,
        text + f"x: !!python/object/apply:os.system ['touch {marker}']\n",
    ):
        path.write_text(content)
        done = train(f"resume={stolen / 'autoencoder'}", cwd=tmp_path)
        assert "Traceback" not in done.err
        assert len(done.err.splitlines()) <= 1
        assert not marker.exists()
    path.write_text(text.replace("torch.optim.Adam", "os.system"))
    done = train(f"resume={stolen / 'autoencoder'}", cwd=tmp_path)
    assert "autoencoder.optimizer._target_=os.system" in done.err


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "figures", "train.log", "."])
def test_a_link_leads_no_run_outside(tmp_path: Path, root: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    run = tmp_path / "run"
    (run if name != "." else tmp_path).mkdir(exist_ok=True)
    (run / name if name != "." else run).symlink_to(outside)
    with pytest.raises(AeprobeError, match="is a link: a run writes into its own directory alone"):
        run_here(run, ["stage=autoencoder", *TINY, f"data.root={root}"])
    assert [*outside.iterdir()] == []


def test_a_link_leads_no_resumed_run_outside(tmp_path: Path, stolen: Path) -> None:
    outside = tmp_path / "outside"
    run = stolen / "autoencoder"
    (run / "tensorboard").rename(outside)
    (run / "tensorboard").symlink_to(outside)
    before = sorted(outside.iterdir())
    done = train(f"resume={run}", cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert "tensorboard is a link" in line
    assert sorted(outside.iterdir()) == before


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
