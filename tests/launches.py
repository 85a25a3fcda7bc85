"""Launches of one run on several processes, and of sweeps that end early."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Result, metrics, python, train
from warm import TRAIN

TORCHRUN = ["-m", "torch.distributed.run"]
# Adam makes steps of a gradient that is nothing but rounding: in float32 several processes and one agree to some
# digits, and to how many is the machine's. In float64 they agree, or something is wrong.
DOUBLE = "trainer.precision=64-true"
# 308 images, of which 301 train: of a last batch of one, two of three processes get nothing.
FOLDER = (
    "data=folder",
    "data.root=folder",
    "data.val_size=7",
    "data.eval_batch_size=101",
    "trainer.accelerator=cpu",
)
SMALL = (*FOLDER, "autoencoder.batch_size=50", "autoencoder.optimizer.lr=0.01")


def environment(**more: str) -> dict[str, str]:
    """Leave out what the launch of another program may have set."""
    return {k: v for k, v in os.environ.items() if k not in ("HYDRA_FULL_ERROR", "RANK", "LOCAL_RANK")} | more


def together(commands: list[list[str]], cwd: Path, variables: list[dict[str, str]]) -> list[Result]:
    """Run several commands of Python at once."""
    with ThreadPoolExecutor(len(commands)) as threads:
        started = [
            threads.submit(python, *words, cwd=cwd, environment=more)
            for words, more in zip(commands, variables, strict=True)
        ]
        return [one.result() for one in started]


def own(cwd: Path, *arguments: str) -> list[Result]:
    return [train("trainer=ddp", *arguments, cwd=cwd)]


def two_nodes(cwd: Path, *arguments: str) -> list[Result]:
    meeting = [f"--rdzv-endpoint=localhost:{free_port()}", "--rdzv-backend=c10d", "--rdzv-id=1"]
    command = [*TORCHRUN, "--nnodes=2", "--nproc-per-node=1", *meeting, TRAIN, "trainer=ddp", *arguments]
    return together([command, command], cwd, [{}, {}])


def srun(cwd: Path, *arguments: str, number: int = 2) -> list[Result]:
    """Set what `srun --ntasks-per-node=NUMBER` sets, without Slurm."""
    variables = [slurm(rank, number, SLURM_JOB_ID=str(os.getpid())) for rank in range(number)]
    return together([[TRAIN, "trainer=ddp", *arguments]] * number, cwd, variables)


def slurm(rank: int, number: int = 2, **more: str) -> dict[str, str]:
    return {
        "SLURM_STEP_NUM_TASKS": str(number),
        "SLURM_NTASKS": str(number),
        "SLURM_NTASKS_PER_NODE": str(number),
        "SLURM_NNODES": "1",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_JOB_NAME": "train",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_NODEID": "0",
    } | more


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


# A run in which something is done in each process: `{before}` at its start, `{body}` at that of each step.
PATCHED = """
import sys
from pathlib import Path
from aeprobe import runtime
import torch
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.errors import AeprobeError
def patched(original):
    def step(self, batch, batch_idx):
        rank = torch.distributed.get_rank()
{body}
        return original(self, batch, batch_idx)
    return step
for module in (Autoencoder, Classifier):
    module.training_step = patched(module.training_step)
{before}
from aeprobe.cli import train
sys.exit(train.run(train.composed))
"""


def run_patched(cwd: Path, body: str, *arguments: str, before: str = "") -> Result:
    """A file, which Lightning starts once more for the other process."""
    file = cwd / "patched.py"
    file.write_text(PATCHED.format(body=" " * 8 + body, before=before))
    return python(str(file), "trainer=ddp", *arguments, cwd=cwd)


# A callback that ends the process in the second epoch of a multirun's second job, once.
STOPS = """
import os, signal
from pathlib import Path
import lightning as L
class Stop(L.Callback):
    def on_train_epoch_start(self, trainer, *_):
        jobs = {{path.relative_to("outputs").parts[2] for path in Path().rglob("metrics.json")}}
        if trainer.current_epoch == 1 and len(jobs) == 2 and not Path("stopped").exists():
            Path("stopped").touch()
            os.kill(os.getpid(), signal.{})
"""


def stopping(cwd: Path, signal: str) -> str:
    """Write the callback; return what is typed for it."""
    (cwd / "mine.py").write_text(STOPS.format(signal))
    return "+autoencoder.callbacks.stop._target_=mine.Stop"


def agree(one: Path, several: Path) -> None:
    """Compare the metrics of two whole experiments."""
    for stage in ("autoencoder", "classifier"):
        a, b = metrics(one / stage), metrics(several / stage)
        assert (a["status"], b["status"]) == ("completed", "completed")
        assert b["final"] == pytest.approx(a["final"], abs=1e-6)
        for row, other in zip(a["epochs"], b["epochs"], strict=True):
            assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, abs=1e-6)
    for key in ("confusion_matrix", "test_batch_accuracy"):
        assert a[key] == b[key]
