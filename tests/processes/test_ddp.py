"""One run on several processes agrees with one process.

A machine with one core does: the processes then take turns.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result, metrics, train
from launches import DOUBLE, SMALL, agree, own, run_patched, srun, two_nodes

from aeprobe.models import checkpoints

# Both stages on all images, the epoch's first 20 batches twice.
SETTINGS = (
    DOUBLE,
    "seed=5",
    "trainer.limit_epochs=2",
    "trainer.limit_train_batches=20",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
    "trainer.figures=false",
    "trainer.accelerator=cpu",
)


def steps(run: Path) -> dict[str, torch.Tensor]:
    """The curves of all steps, from the checkpoint."""
    callbacks = checkpoints.read(run / "checkpoints" / "last.ckpt")["callbacks"]
    (recorder,) = (state for name, state in callbacks.items() if "Recorder" in name)
    return dict(recorder["steps"])


def assert_agree(one: Path, several: Path, number: int) -> None:
    """Both are whole experiments; `several` was trained by so many processes."""
    agree(one, several)
    for stage in ("autoencoder", "classifier"):
        assert [metrics(run / stage)["processes"] for run in (one, several)] == [1, number]
        curves, others = steps(one / stage), steps(several / stage)
        assert curves.keys() == others.keys()
        for tag, values in curves.items():
            assert len(values) == len(others[tag])
            assert torch.allclose(values, others[tag], rtol=0, atol=1e-7), (stage, tag)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """One process's run of SETTINGS."""
    cwd = tmp_path_factory.mktemp("alone")
    assert train(*SETTINGS, f"data.root={root}", "hydra.run.dir=run", cwd=cwd).status == 0
    return cwd / "run"


@pytest.mark.slow
@pytest.mark.parametrize("launch", [own, two_nodes, srun])
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
    settings = ("classifier.batch_size=23", "classifier.standardize=true", "trainer.limit_epochs=2")
    arguments = (DOUBLE, *SMALL, *settings)
    assert train(*arguments, "hydra.run.dir=one", cwd=cwd).status == 0
    for result in srun(cwd, *arguments, "hydra.run.dir=three", number=3):
        assert (result.status, result.err) == (0, "")
    assert_agree(cwd / "one", cwd / "three", 3)
    assert (
        len(steps(cwd / "three" / "classifier")["step"]) == 2 * 14
    )  # the last batch: two images for three processes
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
    assert errors[0]["edges"] == pytest.approx(errors[1]["edges"], abs=1e-6)
    assert (cwd / "three" / "report.html").exists()


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
    assert noted == {  # of the last step: a batch and the image that is left over, in two parts
        "autoencoder_0": "0.0 4 26 1",
        "autoencoder_1": "0.0 4 25 1",
        "classifier_0": "0.0 2 31 1",
        "classifier_1": "0.0 2 30 1",
    }
