"""One run on several processes: it agrees with one process, and it ends as one run ends.

A machine with one core does: the processes then take turns.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPO, Result, metrics, train
from test_data import write_folder

from aeprobe import checkpoints, processes, runtime
from aeprobe.batches import EpochBatches, batches_in_order

TRAIN = str(REPO / "train.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
# Both stages on all images, the epoch's first 20 batches twice.
SETTINGS = ("seed=5", "trainer.limit_epochs=2", "trainer.limit_train_batches=20", "trainer.figures=false")
# 308 images, of which 301 train: of a last batch of one, two of three processes get nothing.
FOLDER = ("data=folder", "data.root=folder", "data.val_size=7", "data.eval_batch_size=101")
SMALL = (*FOLDER, "autoencoder.batch_size=50", "autoencoder.optimizer.lr=0.01")


def environment(**more: str) -> dict[str, str]:
    """Without what the launch of another program may have left there."""
    return {k: v for k, v in os.environ.items() if k not in ("HYDRA_FULL_ERROR", "RANK", "LOCAL_RANK")} | more


def together(commands: list[list[str]], cwd: Path, variables: list[dict[str, str]]) -> list[Result]:
    """Runs several commands at once."""
    started = [
        subprocess.Popen(
            c, cwd=cwd, env=environment(**v), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for c, v in zip(commands, variables, strict=True)
    ]
    ended = [process.communicate(timeout=300) for process in started]
    return [Result(p.returncode, *texts) for p, texts in zip(started, ended, strict=True)]


def own(cwd: Path, *arguments: str) -> list[Result]:
    return [train("trainer=ddp", *arguments, cwd=cwd)]


def torchrun(cwd: Path, *arguments: str, number: int = 2) -> list[Result]:
    command = [*TORCHRUN, f"--nproc-per-node={number}", TRAIN, "trainer=ddp", *arguments]
    return together([command], cwd, [{}])


def two_nodes(cwd: Path, *arguments: str) -> list[Result]:
    meeting = [f"--rdzv-endpoint=localhost:{free_port()}", "--rdzv-backend=c10d", "--rdzv-id=1"]
    command = [*TORCHRUN, "--nnodes=2", "--nproc-per-node=1", *meeting, TRAIN, "trainer=ddp", *arguments]
    return together([command, command], cwd, [{}, {}])


def srun(cwd: Path, *arguments: str) -> list[Result]:
    """What `srun -n2` sets, without Slurm."""
    command = [sys.executable, TRAIN, "trainer=ddp", *arguments]
    variables = [slurm(rank, SLURM_JOB_ID=str(os.getpid())) for rank in range(2)]
    return together([command, command], cwd, variables)


def slurm(rank: int, **more: str) -> dict[str, str]:
    return {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "here",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_NODEID": "0",
    } | more


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def steps(run: Path) -> dict[str, torch.Tensor]:
    """The curves of all steps, from the checkpoint."""
    callbacks = checkpoints.read(run / "checkpoints" / "last.ckpt")["callbacks"]
    (recorder,) = (state for name, state in callbacks.items() if "Recorder" in name)
    return dict(recorder["steps"])


def assert_agree(one: Path, several: Path, number: int) -> None:
    """Both are whole experiments; `several` was trained by so many processes."""
    for stage in ("autoencoder", "classifier"):
        a, b = metrics(one / stage), metrics(several / stage)
        assert (a["processes"], b["processes"], b["status"]) == (1, number, "completed")
        curves, others = steps(one / stage), steps(several / stage)
        assert curves.keys() == others.keys()
        for tag, values in curves.items():
            assert len(values) == len(others[tag])
            assert torch.allclose(values, others[tag], rtol=0, atol=1e-5), (stage, tag)
        assert a["final"] == pytest.approx(b["final"], abs=1e-5)
        for row, other in zip(a["epochs"], b["epochs"], strict=True):
            assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, abs=1e-5)
    for key in ("confusion_matrix", "test_batch_accuracy"):
        assert a[key] == b[key]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """One process's run of SETTINGS."""
    cwd = tmp_path_factory.mktemp("alone")
    assert train(*SETTINGS, f"data.root={root}", "hydra.run.dir=run", cwd=cwd).status == 0
    return cwd / "run"


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a small folder of images."""
    path = tmp_path_factory.mktemp("small")
    write_folder(path / "folder", 308)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("launch", [own, torchrun, two_nodes, srun])
def test_two_processes_train_as_one(
    alone: Path, tmp_path: Path, root: Path, launch: Callable[..., list[Result]]
) -> None:
    results = launch(tmp_path, *SETTINGS, f"data.root={root}")
    assert [result.status for result in results] == [0] * len(results), results
    (run,) = (tmp_path / "outputs" / "all").iterdir()
    assert_agree(alone, run, 2)
    out = "".join(result.out for result in results)
    for line in ("autoencoder epoch 1/2", "classifier epoch 2/2", "run directory: ", "in each of 2 processes"):
        assert out.count(line) == (2 if "each" in line else 1), out
    written = (run / "classifier" / "train.log").read_text()
    assert written.count("classifier epoch 2/2") == 1
    events = [len(list((path / "classifier" / "tensorboard").iterdir())) for path in (alone, run)]
    assert events[0] == events[1]
    if launch in (own, srun):
        assert [result.err for result in results] == [""] * len(results)


@pytest.mark.slow
def test_parts_may_be_uneven_and_empty_and_the_figures_are_the_same(cwd: Path) -> None:
    arguments = (*SMALL, "classifier.batch_size=50", "classifier.standardize=true", "trainer.limit_epochs=2")
    assert train(*arguments, "hydra.run.dir=one", cwd=cwd).status == 0
    result = train("trainer=ddp", "trainer.devices=3", *arguments, "hydra.run.dir=three", cwd=cwd)
    assert (result.status, result.err) == (0, "")
    assert_agree(cwd / "one", cwd / "three", 3)
    assert len(steps(cwd / "three" / "classifier")["step"]) == 14
    for stage in ("autoencoder", "classifier"):
        names, others = (
            sorted(p.name for p in (cwd / run / stage / "figures").iterdir()) for run in ("one", "three")
        )
        assert names == others
        assert len(names) > 5
    for name in ("class_histogram", "confusion_matrix", "batch_accuracy"):
        a, b = ((cwd / run / "classifier" / "figures" / f"{name}.json") for run in ("one", "three"))
        if a.exists():
            assert json.loads(a.read_text()) == json.loads(b.read_text())
    errors = [
        json.loads((cwd / run / "autoencoder" / "figures" / "error_histogram.json").read_text())["data"]
        for run in ("one", "three")
    ]
    assert errors[0]["mean"] == pytest.approx(errors[1]["mean"], abs=1e-6)
    assert errors[0]["edges"] == pytest.approx(errors[1]["edges"], abs=1e-5)
    assert (cwd / "three" / "report.html").exists()


@pytest.mark.slow
def test_checkpoints_go_from_two_processes_to_one_and_back(cwd: Path) -> None:
    short = (*FOLDER, "trainer.figures=false", "trainer.limit_epochs=1")
    for first, second in ((own, "one"), (None, "two")):
        arguments = ("stage=autoencoder", *SMALL, *short[-2:], f"hydra.run.dir=start_{second}")
        result = first(cwd, *arguments)[0] if first else train(*arguments, cwd=cwd)
        assert result.status == 0, result.err
        several = ("trainer=ddp",) if second == "two" else ()
        result = train(
            "stage=classifier", *several, f"ckpt=start_{second}", *short, f"hydra.run.dir={second}", cwd=cwd
        )
        assert result.status == 0, result.err
    for name in ("one", "two"):
        found = metrics(cwd / name)["final"]["test/accuracy"]
        measured = []
        for several in ((), ("trainer=ddp", "trainer.devices=3")):
            run = f"test_{name}_{len(several)}"
            result = train("stage=test", *several, f"ckpt={name}", *short, f"hydra.run.dir={run}", cwd=cwd)
            assert (result.status, result.err) == (0, "")
            measured.append(metrics(cwd / run))
        assert measured[0]["final"] == pytest.approx(measured[1]["final"], abs=1e-6)
        for key in ("confusion_matrix", "test_batch_accuracy"):
            assert measured[0][key] == measured[1][key]
        assert measured[1]["final"]["test/accuracy"] == found


# Chance in every process: shifts and dropout.
CHANCE = (
    *SMALL,
    "stage=autoencoder",
    "autoencoder.shift=2",
    "autoencoder.pixel_dropout=0.1",
    "trainer.figures=false",
)
LONG = "autoencoder.max_epochs=3000"


def begin(cwd: Path, run: str) -> tuple["subprocess.Popen[str]", list[int]]:
    """Starts a long run of two processes, and returns it and its children when an epoch is saved."""
    command = [sys.executable, TRAIN, "trainer=ddp", *CHANCE, LONG, f"hydra.run.dir={run}"]
    parent = subprocess.Popen(
        command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not (cwd / run / "checkpoints" / "last.ckpt").exists():
        assert parent.poll() is None, parent.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    return parent, [int(child) for child in children]


def runs(pid: int) -> bool:
    """Whether a process is there, and not only its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


STOPPED = "error: interrupted; go on with: python train.py resume={}\n"
LOST = (
    "error: interrupted by the loss of one of its 2 processes (killed, or out of memory?); "
    "go on with: python train.py resume={}\n"
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the children in /proc")
@pytest.mark.parametrize(
    ("who", "how", "status", "line"),
    [
        ("parent", signal.SIGTERM, 143, STOPPED),
        ("parent", signal.SIGKILL, -9, ""),
        ("child", signal.SIGTERM, 143, STOPPED),
        ("child", signal.SIGKILL, 1, LOST),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_signal_to_one_process_ends_all_of_them(
    cwd: Path, who: str, how: signal.Signals, status: int, line: str
) -> None:
    run = f"{who}_{how.name}"
    parent, children = begin(cwd, run)
    os.kill(parent.pid if who == "parent" else children[0], how)
    _, err = parent.communicate(timeout=60)
    assert (parent.returncode, err) == (status, line.format(run))
    end = time.monotonic() + 5
    while any(map(runs, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [child for child in children if runs(child)] == []
    assert metrics(cwd / run)["status"] == (
        "running" if how == signal.SIGKILL and who == "parent" else "interrupted"
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the children in /proc")
def test_an_interrupted_run_goes_on_with_as_many_processes(cwd: Path) -> None:
    parent, _ = begin(cwd, "stopped")
    parent.terminate()
    assert parent.wait(timeout=60) == 143
    done = len(metrics(cwd / "stopped")["epochs"])
    shutil.copytree(cwd / "stopped", cwd / "other")
    longer = f"autoencoder.max_epochs={done + 2}"
    result = train("resume=stopped", longer, cwd=cwd)
    assert (result.status, result.err) == (0, "")
    result = train("trainer=ddp", *CHANCE, longer, "hydra.run.dir=whole", cwd=cwd)
    assert (result.status, result.err) == (0, "")
    whole, stopped = metrics(cwd / "whole"), metrics(cwd / "stopped")
    assert stopped["processes"] == 2
    assert whole["final"] == stopped["final"]
    weights = [
        checkpoints.read(cwd / run / "checkpoints" / "last.ckpt")["state_dict"] for run in ("whole", "stopped")
    ]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    refused = together([[*TORCHRUN, "--nproc-per-node=3", TRAIN, "resume=other", longer]], cwd, [{}])[0]
    assert refused.status == 1
    assert refused.err.startswith("error: resume=other: was trained by 2 processes, not 3: start as many again\n")
    assert metrics(cwd / "other")["status"] == "interrupted"


# A run in which something is done in each process: `{body}` stands at the beginning of each step.
PATCHED = """
import runpy, sys, os
from pathlib import Path
from aeprobe import runtime
import torch
from aeprobe.stage_module import StageModule
from aeprobe.autoencoder import Autoencoder
from aeprobe.classifier import Classifier
from aeprobe.errors import AeprobeError
rank = int(os.environ.get("RANK", 0))
def patched(original):
    def step(self, batch, index):
        rank = torch.distributed.get_rank()
{body}
        return original(self, batch, index)
    return step
for module in (Autoencoder, Classifier):
    module.training_step = patched(module.training_step)
sys.argv = ["train.py", *{arguments!r}]
runpy.run_path({train!r}, run_name="__main__")
"""


def run_patched(cwd: Path, body: str, *arguments: str) -> Result:
    code = PATCHED.format(body="        " + body, arguments=["trainer=ddp", *arguments], train=TRAIN)
    return together([[sys.executable, "-c", code]], cwd, [{}])[0]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", ["AeprobeError", "RuntimeError"])
def test_an_error_in_one_process_is_told_once(cwd: Path, rank: int, kind: str) -> None:
    run = f"error_{kind}_{rank}"
    body = f"if rank == {rank} and self.trainer.global_step == 9: raise {kind}('boom')"
    result = run_patched(cwd, body, *CHANCE, "autoencoder.max_epochs=3", f"hydra.run.dir={run}")
    assert result.status == 1
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("error: ")
    assert "boom" in result.err
    found = metrics(cwd / run)
    assert (found["status"], len(found["epochs"])) == ("failed", 1)
    log = (cwd / run / "train.log").read_text()
    if kind == "RuntimeError":
        assert "the traceback is in" in result.err
        assert "in step" in log  # the function that raised it
        assert (f"rank {rank} of 2" in found["error"]) == (rank == 1)
    else:
        assert result.err == "error: boom\n"


@pytest.mark.slow
def test_every_process_flushes_denormals_and_trains_on_codes(cwd: Path) -> None:
    body = (
        "Path(f'{self.stage}_{rank}.txt').write_text("
        "f'{float(torch.tensor([1e-39]) * 1)} {batch[0].ndim} {len(batch[1])} {torch.get_num_threads()}')"
    )
    (cwd / "noted").mkdir()
    shutil.copytree(cwd / "folder", cwd / "noted" / "folder")
    arguments = (*SMALL, "classifier.batch_size=60", "trainer.limit_epochs=1", "trainer.figures=false")
    result = run_patched(cwd / "noted", body, *arguments, "trainer.threads=1")
    assert (result.status, result.err) == (0, "")
    noted = {path.stem: path.read_text() for path in (cwd / "noted").glob("*.txt")}
    assert noted == {  # of the last step: one image, of which the second process has none
        "autoencoder_0": "0.0 4 1 1",
        "autoencoder_1": "0.0 4 1 1",
        "classifier_0": "0.0 2 1 1",
        "classifier_1": "0.0 2 1 1",
    }


REFUSED = [
    ("trainer.devices=2", ["trainer.devices=2", "add trainer=ddp"]),
    ("trainer=ddp trainer.strategy=fsdp", ["trainer.strategy=fsdp", "one of auto, ddp"]),
    ("trainer=ddp trainer.devices=0", ["trainer.devices=0", "at least 1"]),
    ("trainer=ddp trainer.devices=101", ["autoencoder.batch_size=100", "101 processes"]),
    ("trainer=ddp classifier.batch_size=1", ["classifier.batch_size=1", "give 2 or more"]),
    ("trainer=ddp trainer.num_nodes=2", ["trainer.num_nodes=2", "torchrun --nnodes=2 --nproc-per-node=2"]),
    ("-m trainer=ddp seed=0,1", ["trainer=ddp", "has one process", "python train.py trainer=ddp"]),
    ("--multirun trainer.strategy=ddp seed=0,1", ["trainer.strategy=ddp", "drop -m"]),
]


@pytest.mark.parametrize(("typed", "words"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_wrong_numbers_get_one_line_and_leave_nothing(tmp_path: Path, typed: str, words: list[str]) -> None:
    result = train(*typed.split(), cwd=tmp_path)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1, result.err
    for word in words:
        assert word in result.err
    assert list(tmp_path.iterdir()) == []


def test_devices_that_are_not_here_get_one_line(tmp_path: Path, root: Path) -> None:
    number = torch.cuda.device_count() + 2
    typed = ("trainer=ddp", "trainer.accelerator=gpu", f"trainer.devices={number}", f"data.root={root}")
    result = train(*typed, cwd=tmp_path)
    assert (result.status, result.err.count("\n")) == (1, 1), result.err
    assert result.err.startswith(f"error: trainer.accelerator=gpu trainer.devices={number}: ")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("stage=all", "2 processes were started: trainer.strategy=auto has one process; add trainer=ddp"),
        ("trainer=ddp trainer.devices=4", "trainer.devices=4: 2 were started; drop the override"),
        ("-m trainer=ddp seed=0,1", "trainer=ddp: a job of a multirun has one process"),
        ("-m seed=0,1", "2 processes were started: a job of a multirun has one process"),
    ],
)
def test_processes_that_srun_started_say_it_once(tmp_path: Path, typed: str, line: str) -> None:
    command = [sys.executable, TRAIN, *typed.split()]
    results = together([command, command], tmp_path, [slurm(0), slurm(1)])
    assert [result.status for result in results] == [1, 1]
    assert results[0].err.startswith(f"error: {line}")
    assert results[0].err.count("\n") == 1
    assert (results[1].err, [result.out for result in results]) == ("", ["", ""])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An environment without a launcher's words; put back afterwards."""
    before = dict(os.environ)
    for name in [n for n in os.environ if n.startswith("SLURM_") or n in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]:
        monkeypatch.delenv(name)
    yield os.environ  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(before)


def test_a_place_is_what_torchrun_or_srun_says(variables: dict[str, str]) -> None:
    assert processes.launched() is None
    assert processes.here() == processes.Place(0, 1, 0, 1)
    words = {"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    variables.update(words, RANK="4", LOCAL_RANK="1")
    place = processes.here()
    assert (place, place.nodes, place.first) == (processes.Place(4, 6, 1, 3), 2, False)
    variables.update(slurm(0), SLURM_STEP_NUM_TASKS="8")  # torchrun inside of srun
    assert processes.here() == place


def test_sruns_words_become_torchruns(variables: dict[str, str]) -> None:
    told = slurm(
        5, SLURM_STEP_NUM_TASKS="6", SLURM_STEP_TASKS_PER_NODE="2(x3)", SLURM_LOCALID="1", SLURM_NODEID="2"
    )
    made = processes.from_slurm(told | {"SLURM_STEP_NODELIST": "gpu[07-09]", "SLURM_JOB_ID": "4711"})
    assert (made["RANK"], made["WORLD_SIZE"], made["LOCAL_RANK"], made["LOCAL_WORLD_SIZE"]) == ("5", "6", "1", "2")
    assert (made["GROUP_RANK"], made["MASTER_ADDR"]) == ("2", "gpu07")
    assert 10_000 <= int(made["MASTER_PORT"]) < 30_000
    variables.update(told)
    assert (processes.here().nodes, processes.here().local_world) == (3, 2)
    names = {"a[1,3]": "a1", "a,b": "a", "n-2": "n-2", "n[010-020],m": "n010"}
    for nodes, address in names.items():
        assert processes.from_slurm(told | {"SLURM_STEP_NODELIST": nodes})["MASTER_ADDR"] == address
    assert processes.from_slurm({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) == {}  # a batch script, not srun
    assert processes.from_slurm(slurm(0, SLURM_STEP_NUM_TASKS="1")) == {}


def test_parts_make_up_every_batch() -> None:
    for size, batch, world in ((1001, 100, 2), (301, 50, 4), (7, 3, 3), (5, 100, 8)):
        samplers = [EpochBatches(size, batch, 0, rank, world) for rank in range(world)]
        for number, parts in enumerate(zip(*samplers, strict=True)):
            whole = list(EpochBatches(size, batch, 0))[number]
            assert torch.equal(torch.cat(parts).sort().values, whole.sort().values)
            shares = [sampler.share(number) for sampler in samplers]
            assert shares == pytest.approx([len(part) * world / len(whole) for part in parts])
            assert samplers[0].sizes[number] == len(whole)
        seen = torch.cat([part for rank in range(world) for part in batches_in_order(size, batch, rank, world)])
        assert seen.sort().values.tolist() == list(range(size))
        assert min(len(part) for rank in range(world) for part in batches_in_order(size, batch, rank, world)) > 0


def test_threads_are_divided(variables: dict[str, str]) -> None:
    before = torch.get_num_threads()
    try:
        variables.pop("OMP_NUM_THREADS", None)
        torch.set_num_threads(6)
        assert runtime.threads(None) == 6
        assert runtime.threads(None, 2) == 3
        assert runtime.threads(None, 8) == 1
        assert runtime.threads(4, 8) == 4  # of each, as typed
        variables["OMP_NUM_THREADS"] = "4"  # torchrun has divided
        assert runtime.threads(None, 2) == 4
    finally:
        torch.set_num_threads(before)
