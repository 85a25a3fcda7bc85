"""An interrupted run goes on, and ends with the bits of one that was never interrupted."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO, TYPED, metrics, python, rewrite, run_here, scalars, train
from same_runs import SETTINGS, assert_equal_runs, resume_here, wait_for, without_times
from warm import TRAIN

from aeprobe.training import run as runner

# Everything that could depend on chance: shifts, dropout, noise, a schedule, a best checkpoint, both stages.
KILL = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import run_here
import lightning as L
from aeprobe.errors import end_by_signals
from aeprobe.training import run as runner
class Kill(L.Callback):
    def on_before_optimizer_step(self, trainer, module, optimizer):
        if module.stage == {stage!r} and trainer.global_step == 30 * {epoch} + {index}:
            os.kill(os.getpid(), signal.{signal})
class Killed(runner.Request):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.callbacks = [Kill()]
        end_by_signals()
runner.Request = Killed
run_here(Path({path!r}), {overrides!r}, resume={resume!r})
"""


def killed(
    path: Path, overrides: list[str], stage: str, epoch: int, index: int, how: str, resume: bool = False
) -> int:
    """Runs until a step, where a signal comes; returns the exit status."""
    code = KILL.format(
        tests=str(REPO / "tests"),
        stage=stage,
        epoch=epoch,
        index=index,
        signal=how,
        path=str(path),
        overrides=overrides,
        resume=resume,
    )
    return python("-c", code, cwd=REPO).status


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The run that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole") / "run"
    run_here(path, [*SETTINGS, f"data.root={root}"])
    return path


def resumed(path: Path, *more: str) -> str:
    result = train(f"resume={path}", *more, cwd=path.parent)
    assert result.status == 0, result.err
    return result.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "epoch", "index", "how", "status"),
    [("autoencoder", 0, 10, "SIGKILL", -9), ("autoencoder", 3, 3, "SIGTERM", -2)],
)
def test_a_killed_run_ends_as_the_uninterrupted_one(
    whole: Path, tmp_path: Path, root: Path, stage: str, epoch: int, index: int, how: str, status: int
) -> None:
    path = tmp_path / "run"
    assert killed(path, [*SETTINGS, f"data.root={root}"], stage, epoch, index, how) == status
    found = metrics(path / stage)
    assert found["status"] == ("interrupted" if how == "SIGTERM" else "running")
    assert len(found["epochs"]) == epoch
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.move(path, moved)
    resumed(moved)
    assert_equal_runs(whole, moved)
    assert "nothing is left to do" in resumed(moved)


@pytest.mark.slow
def test_a_run_is_killed_twice(whole: Path, tmp_path: Path, root: Path) -> None:
    path, overrides = tmp_path / "run", [*SETTINGS, f"data.root={root}"]
    assert killed(path, overrides, "autoencoder", 1, 0, "SIGKILL") == -9
    assert killed(path, overrides, "classifier", 2, 7, "SIGKILL", resume=True) == -9
    resumed(path)
    assert_equal_runs(whole, path)


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_stops_the_real_command_and_says_how_to_go_on(
    tmp_path: Path, root: Path, how: signal.Signals
) -> None:
    short = ["trainer.limit_train_batches=20", "autoencoder.max_epochs=1000", "trainer.figures=false"]
    command = [sys.executable, TRAIN, "stage=autoencoder", "hydra.run.dir=run", f"data.root={root}", *short]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "last.ckpt").exists())
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == f"error: interrupted; go on with: {TYPED} resume=run\n"
    found = metrics(tmp_path / "run")
    assert (found["status"], found["error"]) == ("interrupted", "interrupted")
    assert len(found["epochs"]) >= 1


def test_a_run_that_is_interrupted_before_its_first_word_is_resumed(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    overrides = ["stage=autoencoder", f"data.root={root}", "trainer=debug", "trainer.figures=false"]
    with monkeypatch.context() as patch:
        patch.setattr(runner.RunDirectory, "recorded", interrupted)  # as if it were killed right after the claim
        with pytest.raises(KeyboardInterrupt):
            run_here(tmp_path / "run", overrides)
    assert metrics(tmp_path / "run")["status"] == "running"
    resume_here(tmp_path / "run")
    assert metrics(tmp_path / "run")["status"] == "completed"


@pytest.mark.slow
def test_a_finished_run_is_lengthened(tmp_path: Path, root: Path) -> None:
    short = ["stage=autoencoder", "trainer.limit_train_batches=10", "trainer.figures=false", f"data.root={root}"]
    run_here(tmp_path / "long", [*short, "autoencoder.max_epochs=3"])
    run_here(tmp_path / "run", [*short, "autoencoder.max_epochs=1"])
    resumed(tmp_path / "run", "autoencoder.max_epochs=3")
    a, b = without_times(tmp_path / "long"), without_times(tmp_path / "run")
    assert a["rows"] == b["rows"]
    assert (a["final"], a["config"]["autoencoder"]) == (b["final"], b["config"]["autoencoder"])
    assert scalars(tmp_path / "long") == scalars(tmp_path / "run")


REFUSED = [
    (["autoencoder.network.widths=[784,30]"], "would change what was already trained"),
    (["seed=1"], "would change what was already trained"),
    (["autoencoder.batch_size=10"], "would change what was already trained"),
    (["data=folder"], "would change what was already trained"),
    (["autoencoder.max_epochs=20"], "the schedule OneCycleLR was made for 4 epochs"),
    (["-m"], "drop -m"),
    (["autoencoder.max_epochs=abc"], "autoencoder.max_epochs"),
]


@pytest.mark.parametrize(("typed", "words"), REFUSED, ids=[" ".join(typed) for typed, _ in REFUSED])
def test_what_would_change_the_past_is_refused(whole: Path, typed: list[str], words: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    result = train(f"resume={whole}", *typed, cwd=whole.parent)
    assert result.status == 1
    assert words in result.err
    assert result.err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_an_autoencoder_whose_classifier_began_is_not_lengthened(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    result = train(f"resume={tmp_path / 'run'}", "autoencoder.max_epochs=20", cwd=tmp_path)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "limit_epochs" in result.err or "the classifier was trained on this encoder" in result.err


def test_no_run_is_no_traceback(tmp_path: Path) -> None:
    for given in ("nowhere", ".", "nowhere/checkpoints/best.ckpt"):
        result = train(f"resume={given}", cwd=tmp_path)
        assert (result.status, result.err.count("\n")) == (1, 1), result.err


def test_two_at_once_are_one_too_many(whole: Path, tmp_path: Path) -> None:
    from aeprobe.errors import AeprobeError
    from aeprobe.runs.rundir import RunDirectory

    shutil.copytree(whole, tmp_path / "run")
    rewrite(tmp_path / "run" / "autoencoder", lambda found: found.update(status="running"))
    first = RunDirectory(tmp_path / "run" / "autoencoder")
    first.lock()
    with pytest.raises(AeprobeError, match="another process is running it"):
        RunDirectory(tmp_path / "run" / "autoencoder").lock()
    result = train(f"resume={tmp_path / 'run'}", cwd=tmp_path)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "another process is running it" in result.err
    assert (tmp_path / "run" / "autoencoder" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.slow
def test_a_damaged_last_checkpoint_is_refused_and_the_best_taken_when_told_to(
    whole: Path, tmp_path: Path, root: Path
) -> None:
    path = tmp_path / "run"
    assert killed(path, [*SETTINGS, f"data.root={root}"], "autoencoder", 3, 3, "SIGKILL") == -9
    last = path / "autoencoder" / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    result = train(f"resume={path}", cwd=tmp_path)
    assert (result.status, result.err.count("\n")) == (1, 1)
    best = last.with_name("best.ckpt")
    assert "is damaged" in result.err
    resumed(path.parent / path.name / "autoencoder" / "checkpoints" / "best.ckpt")
    assert metrics(path / "classifier")["status"] == "completed"
    assert best.exists()
    assert_equal_runs(whole, path)
