"""What would fail in stage 2 is refused before stage 1 begins; and a profiler reports."""

from pathlib import Path

import aeprobe.runtime  # noqa: F401

import pytest
from conftest import run_here, train

from aeprobe.cli.train import checked
from aeprobe.errors import AeprobeError

SMALL = ("data=folder", "data.val_size=20", "trainer.figures=false", "trainer.limit_epochs=1")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            ["classifier.optimizer={_target_:torch.optim.Muon,_partial_:true,lr:0.1}"],
            r"classifier.optimizer \(Muon\): Muon only supports 2D parameters",
        ),
        (
            ["scheduler@classifier.scheduler=onecycle", "+classifier.scheduler.pct_start=2"],
            r"classifier.scheduler \(OneCycleLR\): Expected float between 0 and 1 pct_start",
        ),
        (
            ["classifier.loss={_target_: torch.nn.CrossEntropyLoss, weight: [1, 2]}"],
            "classifier.loss: does not fit the classifier: weight tensor should be defined either for all 3",
        ),
        (
            ["classifier.loss={_target_: torch.nn.BCEWithLogitsLoss}"],
            r"classifier.loss: does not fit the classifier: Target size \(torch.Size\(\[8\]\)\) must be the same",
        ),
        (
            ["classifier.loss={_target_: torch.nn.CrossEntropyLoss, reduction: sum}"],
            "classifier.loss: is no mean over images",
        ),
        (["classifier.head.widths=[30,20,2]"], r"classifier.head has 2 outputs, but the labels go up to 2"),
        (
            ["autoencoder.network.widths=[784,31]", "classifier.head.widths=[30,10]"],
            r"the head does not take \(2, 31\)",
        ),
        (["classifier.head.widths=[30,1]"], "two classes or more"),
        (
            ["classifier.batch_size=60", "trainer.limit_train_batches=0.4"],
            "trainer.limit_train_batches=0.4: less than one of 2 batches in the train split",
        ),
    ],
    ids=["optimizer", "schedule", "weights", "targets", "sum", "head", "code", "narrowest", "batches"],
)
def test_stage_2_is_checked_before_stage_1_begins(tmp_path: Path, few: Path, typed: list[str], words: str) -> None:
    less = ["~classifier.optimizer.weight_decay", "~classifier.optimizer.betas", "~classifier.optimizer.fused"]
    overrides = [*SMALL, "autoencoder.batch_size=10", f"data.root={few}", *typed]
    with pytest.raises(AeprobeError, match=words):
        run_here(tmp_path / "run", overrides + (less if "optimizer" in typed[0] else []))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_profiler_reports_into_the_run_directory(tmp_path: Path, few: Path) -> None:
    run_here(tmp_path / "run", [*SMALL, f"data.root={few}", "trainer.profiler=simple"])
    for stage, module in (("autoencoder", "Autoencoder"), ("classifier", "Classifier")):
        actions = {"fit": "run_training_epoch", "test": f"[LightningModule]{module}.on_test_epoch_end"}
        for part, action in actions.items():
            (report,) = (tmp_path / "run" / stage).glob(f"{part}-profile*.txt")
            assert action in report.read_text()


PRESETS = {
    "experiment/bare": "seed: 3\n",
    "experiment/bare_too": "defaults:\n  - override /optimizer@autoencoder.optimizer: adamw\n",
    "experiment/timed": "# @package _global_\ntrainer:\n  max_time: 1:12:00:00\n",
    "experiment/queued": "# @package _global_\ndefaults:\n  - override /hydra/launcher: joblib\n",
}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            "experiment=bare",
            "experiment: no such key; a file of conf/experiment has to begin with the line `# @package _global_`",
        ),
        ("-m experiment=bare_too", "a file of conf/experiment has to begin with the line `# @package _global_`"),
        ("experiment=timed", "trainer.max_time=259200: must be days:hours:minutes:seconds, such as 00:01:30:00"),
        ("-m experiment=speedrun,queued", "sets hydra.launcher, which all jobs share; type hydra/launcher=joblib"),
        ("-m seed=0,1 seed=5,6", "seed is given twice; give it once"),
        ("resume=run trainer.threads=1 trainer.threads=2", "trainer.threads is given twice"),
    ],
)
def test_what_a_preset_or_a_command_cannot_mean_is_refused_in_a_line(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, typed: str, words: str
) -> None:
    presets = tmp_path_factory.mktemp("presets")
    for name, text in PRESETS.items():
        (presets / name).parent.mkdir(exist_ok=True)
        (presets / f"{name}.yaml").write_text(text)
    done = train("--config-dir", str(presets), *typed.split(), cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert words in line
    assert [*tmp_path.iterdir()] == []


def test_python_is_told_of_a_key_that_is_given_twice() -> None:
    with pytest.raises(AeprobeError, match="seed=1 and \\+\\+seed=2: seed is given twice"):
        checked(["seed=1", "++seed=2"])
