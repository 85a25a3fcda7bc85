"""The page by its content, from run directories that no training made, and from one that was."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import run_here
from finished_runs import config, metrics, write_run, write_stage
from images import write_folder
from page_reader import made

FIGURES = {  # which of the report's figures shows what
    "train_loss": {"autoencoder": 9, "classifier": 15},
    "val_loss": {"autoencoder": 10, "classifier": 16},
    "train_accuracy": {"classifier": 17},
    "val_accuracy": {"classifier": 18},
}


def test_captions_begin_with_the_reports_numbers_and_follow_its_order(tmp_path: Path) -> None:
    page = made(write_run(tmp_path / "run"))
    numbers = [int(found[1]) for c in page.captions if (found := re.match(r"Figures? (\d+)", c))]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 22)) - {5, 6}  # which stand in "Figures 4, 5 and 6"
    beyond = [caption for caption in page.captions if caption.startswith("Beyond the report ·")]
    assert len(beyond) == 6
    assert page.captions.index(beyond[0]) > max(i for i, c in enumerate(page.captions) if c.startswith("Figure"))
    for name, stages in FIGURES.items():
        for number in stages.values():
            assert any(caption.startswith(f"Figure {number} · The {name}") for caption in page.captions)
    assert len(page.pictures) == 20
    assert all(str(p["src"]).startswith("data:image/png;base64,") and p["alt"] for p in page.pictures)
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\(|@import", page.source)


def test_a_trained_runs_figures_have_the_pages_numbers_and_speak_of_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", 150)
    typed = ["data=folder", f"data.root={tmp_path / 'own'}", "data.val_size=40", "trainer.limit_epochs=1"]
    run_here(tmp_path / "run", typed)
    page = made(tmp_path / "run")
    for name, stages in FIGURES.items():
        for stage, number in stages.items():
            said = json.loads((tmp_path / "run" / stage / "figures" / f"{name}.json").read_text())
            assert said["report"] == [number]
            (caption,) = (c for c in page.captions if c.startswith(f"Figure {number} ·"))
            assert said["title"] in caption
    files = [*tmp_path.rglob("figures/*.json"), tmp_path / "run" / "report.html"]
    assert len(files) > 15
    assert not [file for file in files if re.search(r"\bdigits?\b", file.read_text(), re.IGNORECASE)]


def test_other_images_stand_beside_no_result_of_the_report(tmp_path: Path) -> None:
    folder = {"name": "folder", "root": "mine", "val_size": 20, "images": {"train": 730, "val": 20, "test": 50}}
    runs = []
    for seed in range(2):
        for stage in ("autoencoder", "classifier"):
            write_stage(tmp_path / f"{seed}" / stage, metrics(stage, seed, data=folder))
        runs.append(tmp_path / f"{seed}")
    for page in (made(runs[0]), made(*runs)):
        assert not re.search(
            r"959|\bdigit\b|0\.0352|0\.0165|0\.0161|about 0\.02|the last batch of 100|÷", page.text
        )
        for caption in page.tables:
            if re.match(r"Figure (8|14|19|21)", caption):
                head = page.tables[caption][0]
                assert not {"Report", "The report"} & {*head}, caption
        assert "93\u00a0%" not in page.source.replace(".93\u00a0%", "")
        assert page.table("Figure 7")["Learning rate"] == ["0.001", "0.001"]  # the recipe may stand beside it
        assert "these are other images: its settings stand here, not its results" in page.text
    page = made(runs[0])
    assert page.table("Figure 8")["1"] == ["0.0290", "0.0300"]
    assert page.table("Figure 14 · Loss")["1"] == ["0.5100", "0.5000"]
    assert page.table("Figure 14 · Loss")["Epoch"] == ["Last batch", "Mean"]
    assert page.table("Figure 14 · Accuracy")["9"] == ["93", "91.00"]
    assert page.table("Figure 21")["Best recognised class"] == ["1 (98.94 %)"]
    assert page.table("Figure 21")["Worst recognised class"] == ["8 (86.86 %)"]
    assert page.table("Figure 19")["Mean test accuracy"] == ["92.92 %", "92.40 to 93.41 %"]


def test_losses_and_accuracies_stand_beside_the_reports_on_its_scale(tmp_path: Path) -> None:
    page = made(write_run(tmp_path / "run", autoencoder__batch_size=64))
    first, loss = page.table("Figure 8"), page.table("Figure 14 · Loss")
    assert first["Epoch"] == ["Report", "Last batch", "Mean"]
    assert first["1"] == ["0.0352", "0.0290", "0.0300"]
    assert first["10"] == ["0.0165", "0.0200", "0.0210"]
    assert loss["1"] == ["0.0161", "0.0160", "0.5000"]  # softmax_loss_last / 100; the mean is that on logits
    assert page.table("Figure 14 · Accuracy")["9"] == ["94", "93", "91.00"]


def test_settings_name_what_the_reports_recipe_has_no_row_for(tmp_path: Path) -> None:
    assert "Besides" not in made(write_run(tmp_path / "plain")).source
    more = {
        "autoencoder__regularizer": {
            "_target_": "aeprobe.models.regularizers.ClusterAgreement",
            "weight": 0.006,
            "clusters": 10,
        },
        "autoencoder__network__initialization": "he",
        "autoencoder__augmentation": {
            "_target_": "aeprobe.data.augmentation.RandomShift",
            "pixels": 1,
            "epochs": 6,
        },
        "autoencoder__corruption": {"_target_": "torch.nn.Dropout", "p": 0.07},
        "classifier__standardize": True,
        "classifier__code_noise": 0.35,
    }
    page = made(write_run(tmp_path / "run", **more))
    first, second = ({row[0]: row[1] for row in t} for c, t in page.tables.items() if "Training settings" in c)
    assert first["Loss"] == "MSE per pixel + ClusterAgreement(weight=0.006, clusters=10)"
    assert first["Besides"] == (
        "augmentation: RandomShift(pixels=1, epochs=6); corruption: Dropout(p=0.07); initialization=he"
    )
    assert second["Besides"] == "standardize=True; code_noise=0.35"


def test_softmax_runs_have_their_own_loss_on_that_scale(tmp_path: Path) -> None:
    of = metrics("classifier", config=config(classifier__loss_on="softmax"))
    for row in of["epochs"]:
        row |= {"train/loss": 1.55, "train/loss_last": 1.54}
    page = made(write_stage(tmp_path / "run", of))
    assert page.table("Figure 14 · Loss")["3"] == ["0.0155", "0.0154", "0.0155"]
    assert page.table("Figure 13")["Loss"] == ["cross-entropy on softmax"] * 2


def test_settings_stand_beside_the_reports_and_differences_are_marked(tmp_path: Path) -> None:
    page = made(write_run(tmp_path / "run", autoencoder__optimizer__lr=0.003))
    assert page.table("Figure 1")["Training images"] == ["60,000", "60,000"]
    assert page.table("Figure 7")["Learning rate"] == ["0.003", "0.001"]
    assert page.table("Figure 13")["Loss"] == ["cross-entropy on logits", "cross-entropy on softmax"]
    rows = re.findall(r'<tr class="differs">\s*<th scope="row">(.*?)</th>', page.source)
    assert rows == ["Learning rate", "Loss"]


def test_headline_and_confusion_matrix(tmp_path: Path) -> None:
    page = made(write_run(tmp_path / "run"))
    assert page.table("Figure 19")["Mean test accuracy"] == ["92.92 %", "92.40 to 93.41 %", "93 %"]
    assert page.table("Figure 21")["Images of digit 2 right"] == ["965 of 1,032", "959"]
    assert page.table("Figure 21")["Best recognised class"] == ["1 (98.94 %)", "1"]
    first_screen = page.text[: page.text.index("Contents")].replace("\u00a0", " ")
    for said in (
        "0.0205",
        "about 0.02",
        "92.92 %",
        "92.40 to 93.41",
        "0:01:22",
        "train.py experiment=report seed=0",
    ):
        assert said in first_screen


def test_several_seeds_give_mean_and_deviation_and_bands(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{seed}", seed, shift=0.002 * seed) for seed in range(3)]
    page = made(*runs)
    assert page.table("Figure 8")["1"] == ["0.0352", "0.0310 ± 0.0020", "0.0320 ± 0.0020"]
    assert "Of 3 runs: mean ± standard deviation." in page.text
    assert [row[0] for row in page.table("Figure 19").values()] == ["Accuracy", "92.92 %", "92.94 %", "92.96 %"]
    assert page.text.count("python train.py experiment=report seed=") == 3
    assert any(c.startswith("Figure 17 · train/accuracy in each epoch") for c in page.captions)
    bands = [c for c in page.captions if "Mean and standard deviation over 3 runs" in c]
    assert [re.match(r"Figure (\d+)", c)[1] for c in bands] == ["8", "9", "10", "14", "14", "15", "16", "17", "18"]  # type: ignore[index]
    assert "0.0315 ± 0.002 in epoch 1" in next(c for c in bands if c.startswith("Figure 10"))
    assert (tmp_path / "run0" / "report.html").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "running"}, "is not finished (running; epochs: 3 of 10)"),
        (
            {"status": "failed", "error": "ValueError: no"},
            "is not finished (failed; epochs: 3 of 10): ValueError: no",
        ),
        ({"status": "interrupted", "error": "interrupted"}, "is not finished (interrupted; epochs: 3 of 10)"),
    ],
)
def test_an_unfinished_run_says_so_and_shows_what_there_is(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    of = metrics("autoencoder", **changes, final={}, seconds={"total": None, "fit": None, "figures": None})
    of["epochs"] = of["epochs"][:3]
    write_stage(tmp_path / "run" / "autoencoder", of, figures=False)
    page = made(tmp_path / "run")
    assert said in page.text[: page.text.index("Contents")]
    assert f"The classifier of {tmp_path / 'run'} is not there" in page.text
    assert page.table("Figure 8")["3"] == ["0.0233", "0.0270", "0.0280"]
    assert page.table("Figure 8")["4"] == ["0.0222", "–", "–"]
    assert page.table("Figure 7")["Epochs"] == ["3 of 10", "10"]
    assert "0.0275 validation MSE per pixel" in page.text
    assert "Not drawn in this run: Figures 4, 5 and 6 (architecture), Figure 8" in page.text
    assert not page.pictures


def test_a_run_without_one_epoch_still_has_a_page(tmp_path: Path) -> None:
    for stage in ("autoencoder", "classifier"):
        bare = metrics(
            stage, status="running", final={}, epochs=[], seconds={}, versions={}, confusion_matrix=None
        )
        write_stage(tmp_path / "run" / stage, bare, figures=False)
    assert made(tmp_path / "run").text.count("epochs: 0 of 10") == 2


def test_a_run_that_was_cut_short_on_purpose_says_so(tmp_path: Path) -> None:
    text = made(write_run(tmp_path / "run", trainer__limit_train_batches=20)).text
    assert "was cut short by trainer.limit_train_batches=20" in text


@pytest.mark.parametrize("stage", ["autoencoder", "classifier"])
def test_a_stage_of_its_own(tmp_path: Path, stage: str) -> None:
    page = made(write_stage(tmp_path / "run", metrics(stage, config=config(stage))))
    assert ("Figure 8" in page.text) == (stage == "autoencoder")
    assert ("Figure 20" in page.text) == (stage == "classifier")
    assert "is not there" not in page.text


def test_the_command_of_a_searchs_job_can_be_typed(tmp_path: Path) -> None:
    typed = ["search=grid", "sweep=lr", "autoencoder.optimizer.lr=0.001", 'ckpt="a b"', "seed=2"]
    made_of = metrics("autoencoder", overrides=typed)
    page = made(write_stage(tmp_path / "run" / "autoencoder", made_of))
    assert "python train.py autoencoder.optimizer.lr=0.001 'ckpt=\"a b\"' seed=2" in page.text
