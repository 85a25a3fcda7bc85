"""The real command line, the real images, few steps."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, settings
from images import write_folder
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from warm import REPO, TRAIN, Warm, surroundings

from aeprobe.config.checks import validate
from aeprobe.data import mnist
from aeprobe.training import run as runner

# Property tests: the same examples every time.
QUICK = {"deadline": None, "database": None, "derandomize": True, "max_examples": 60}
settings.register_profile("quick", suppress_health_check=list(HealthCheck), **QUICK)
settings.load_profile("quick")
TYPED = f"{sys.executable} {TRAIN}"  # what a command that began as a process of its own prints
TINY = ("trainer=debug", "trainer.limit_train_batches=5", "trainer.figures=false")


@dataclass
class Result:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str


Train = Callable[..., Result]


@cache
def warm() -> Warm:
    """Started once for a pytest process."""
    return Warm()


def python(*words: str, cwd: Path, environment: dict[str, str] | None = None, warmed: bool = True) -> Result:
    """`python WORDS` in `cwd`; unless it is warmed, or with other paths than pytest's, from its very start."""
    env = surroundings() | (environment or {})
    if warmed and env.get("PYTHONPATH") == warm().environment.get("PYTHONPATH"):
        return Result(*warm().run([*words], cwd, env))
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def train(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> Result:
    """`python train.py ARGUMENTS` in `cwd`."""
    return python(TRAIN, *arguments, cwd=cwd, environment=environment)


def composed(overrides: Sequence[str]) -> Any:
    """The configuration of these overrides, as `validate` returns it."""
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        return validate(compose("config", overrides=list(overrides)), overrides)


def run_here(
    directory: Path, overrides: Sequence[str], resume: bool = False, callbacks: Sequence[Any] = ()
) -> dict[str, Any]:
    """The same run in this process: composed, validated, run. Returns metrics by stage."""
    request = runner.Request(composed(overrides), directory, overrides, resume=resume, callbacks=callbacks)
    return runner.run(request).metrics


def metrics(directory: Path) -> dict[str, Any]:
    """metrics.json of a run directory."""
    return dict(json.loads((directory / "metrics.json").read_text()))


def rewrite(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes what metrics.json of a run directory says."""
    found = metrics(directory)
    change(found)
    (directory / "metrics.json").write_text(json.dumps(found))


def scalars(directory: Path, folder: str = "tensorboard") -> dict[str, list[tuple[int, float]]]:
    """Every curve of a run, as TensorBoard reads it: its steps and values."""
    events = EventAccumulator(str(directory / folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def only(directory: Path) -> Path:
    """The one entry of a directory."""
    (entry,) = directory.iterdir()
    return entry


def pytest_collection_finish() -> None:
    """Leave what was imported by now out of the garbage collection after each run, which it would double."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def forget_mine() -> Iterator[None]:
    """A `mine.py` that a test wrote and imported in this process is not the next test's."""
    path = [*sys.path]
    yield
    sys.path[:] = path
    sys.modules.pop("mine", None)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A directory that the first of pytest's workers makes for all of them. Not to be written into."""
    base = factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared_{name}"
    with FileLock(f"{path}.lock"):
        if not (made := path.with_suffix(".made")).exists():
            path.mkdir()
            make(path)
            made.touch()
    return path


def succeed(*arguments: str, cwd: Path) -> None:
    """`python train.py ARGUMENTS`, which must end well."""
    done = train(*arguments, cwd=cwd)
    assert done.status == 0, done.err


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data.root that holds MNIST."""
    return once(tmp_path_factory, "data", lambda path: mnist.unpack(path / "MNIST" / "raw"))


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data.root of `data=folder`: 120 made-up images to train on, and as many to test."""
    return once(tmp_path_factory, "few", lambda path: write_folder(path, 120))


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a small folder of images, `folder`."""
    path = tmp_path_factory.mktemp("small")
    write_folder(path / "folder", 308)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The directory of a short `stage=all` run, made by the real command line. Not to be written into."""
    made = once(tmp_path_factory, "trained", lambda cwd: succeed("seed=3", *TINY, f"data.root={root}", cwd=cwd))
    return only(made / "outputs" / "all")


@pytest.fixture(scope="session")
def knows_digits(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The directory of a `stage=all` run that knows most digits. Not to be written into."""
    typed = ("autoencoder.max_epochs=1", "trainer.limit_train_batches=400", "classifier.max_epochs=3")
    typed += ("classifier.encoder=finetuned", "trainer.figures=false", f"data.root={root}", "hydra.run.dir=run")
    return once(tmp_path_factory, "knows", lambda cwd: succeed(*typed, cwd=cwd)) / "run"
