"""However few images a split has, and however small a batch is: several processes measure what one does."""

from pathlib import Path

import pytest
from conftest import metrics, run_here
from images import write_folder
from launches import DOUBLE, TORCHRUN, agree, srun, together
from warm import TRAIN

SHORT = (
    "data=folder",
    DOUBLE,
    "trainer.accelerator=cpu",
    "trainer.figures=false",
    "trainer.limit_epochs=2",
    "classifier.head.widths=[30,3]",
)
# The number of processes, the folder (308 images to train on or to hold out, and 308, 3 or 1 to test), and more.
CASES = {
    "held": (2, "one", "data.val_size=1"),
    "single": (3, "few", "data.val_size=2", "data.eval_batch_size=1", "trainer.limit_test_batches=2"),
    "trained": (3, "few", "data.val_size=306", "trainer.limit_val_batches=0.5", "data.eval_batch_size=3"),
    "second": (
        *(3, "folder", "data.val_size=1", "trainer.check_val_every_n_epoch=2", "classifier.standardize=true"),
        *("autoencoder.batch_size=3", "trainer.limit_train_batches=3", "trainer.accumulate_grad_batches=2"),
    ),
}


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sizes")
    for name, tested in (("folder", 308), ("few", 3), ("one", 1)):
        write_folder(path / "tested", tested)
        write_folder(path / name, 308)
        for file in (path / "tested").glob("t10k*"):
            file.replace(path / name / file.name)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_split_may_have_fewer_images_than_there_are_processes(
    cwd: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cwd)
    world, folder, *more = CASES[name]
    typed = [*SHORT, f"data.root={folder}", *map(str, more)]
    run_here(Path(name), typed)
    results = srun(cwd, *typed, f"hydra.run.dir={name}_{world}", number=int(str(world)))
    assert [result.status for result in results] == [0] * len(results), results
    agree(Path(name), Path(f"{name}_{world}"))


@pytest.mark.slow
def test_torchruns_processes_and_later_stages_may_have_none(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = (*SHORT, "data.val_size=1", "data.root=one")
    monkeypatch.chdir(cwd)
    run_here(Path("alone"), own)
    command = [*TORCHRUN, "--nproc-per-node=2", TRAIN, "trainer=ddp", *own, "hydra.run.dir=t2"]
    results = together([command], cwd, [{"OMP_NUM_THREADS": "1"}])
    results += srun(cwd, "stage=test", "ckpt=alone", *SHORT[1:4], "hydra.run.dir=t3", number=3)
    assert [result.status for result in results] == [0] * 4, results
    agree(cwd / "alone", cwd / "t2")
    tested, trained = metrics(cwd / "t3"), metrics(cwd / "alone" / "classifier")
    assert tested["final"]["test/loss"] == pytest.approx(trained["final"]["test/loss"], abs=1e-6)
    assert tested["confusion_matrix"] == trained["confusion_matrix"]
