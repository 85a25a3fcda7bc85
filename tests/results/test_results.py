import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aeprobe_tools.results.table import main


def write_run(path: Path, overrides: list[str], seed: int, stage: str = "autoencoder", **changes: Any) -> None:
    """metrics.json of a made-up run: its val/loss is lr x (1 + seed / 100)."""
    typed = dict(override.split("=") for override in overrides)
    lr, batch = (
        float(typed.get("autoencoder.optimizer.lr", "1e-3")),
        int(typed.get("autoencoder.batch_size", "100")),
    )
    metrics = {
        "schema": 1,
        "stage": stage,
        "status": "completed",
        "error": None,
        "seed": seed,
        "overrides": [*overrides, f"seed={seed}"],
        "config": {
            "stage": "all" if path.name == stage else stage,
            "autoencoder": {"batch_size": batch, "optimizer": {"lr": lr}},
        },
        "epochs": [],
        "final": {"val/loss": lr * (1 + seed / 100), "train/loss": None},
    }
    path.mkdir(parents=True)
    (path / "metrics.json").write_text(json.dumps(metrics | changes))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for lr in ("3e-3", "1e-3"):
        for seed in (0, 1, 2):
            write_run(tmp_path / "s" / f"{lr}-{seed}", [f"autoencoder.optimizer.lr={lr}", "sweep=s"], seed)
    nan = {"status": "failed", "error": "train/loss became nan", "final": {}}
    write_run(tmp_path / "s" / "bad", ["autoencoder.optimizer.lr=9", "sweep=s"], 0, **nan)
    return tmp_path / "s"


def test_seeds_are_folded_and_only_what_varies_is_a_column(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sweep), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["settings"] for row in found["rows"]] == [
        {"autoencoder.optimizer.lr": "0.001"},
        {"autoencoder.optimizer.lr": "0.003"},
    ]
    values = [1e-3, 1.01e-3, 1.02e-3]
    best = found["rows"][0]
    assert best["seeds"] == ["0", "1", "2"]
    assert best["metrics"] == {
        "val/loss": {"mean": pytest.approx(1.01e-3), "sd": pytest.approx(statistics.stdev(values))}
    }
    assert [(run["status"], run["error"]) for run in found["unfinished"]] == [("failed", "train/loss became nan")]


def test_a_row_for_each_seed_and_the_other_forms(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--by", "seed", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "seed,n,val/loss,val/loss sd"
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "2"], ["1", "2"], ["2", "2"]]
    assert main([str(sweep)]) == 0
    table = capsys.readouterr().out
    assert "0.00101 ± 0.00001" in table
    assert "failed: " in table
    assert "train/loss became nan" in table


def test_the_stages_of_one_run_are_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        write_run(tmp_path / str(seed) / "autoencoder", [], seed)
        final = {"val/accuracy": 0.9 + seed / 100}
        write_run(tmp_path / str(seed) / "classifier", [], seed, "classifier", final=final)
    write_run(tmp_path / "2" / "autoencoder", [], 2)  # its classifier has not begun
    assert main([str(tmp_path), str(tmp_path / "0"), "--json"]) == 0  # one run below both counts once
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert row["metrics"]["classifier val/accuracy"]["mean"] == pytest.approx(0.905)
    assert row["metrics"]["autoencoder val/loss"]["mean"] == pytest.approx(1.005e-3)
    assert [run["status"] for run in found["unfinished"]] == ["running"]


def test_what_it_cannot_read(tmp_path: Path, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 1
    assert "no run below it" in capsys.readouterr().err
    assert main([str(sweep), "--metric", "val/accuracy"]) == 1
    assert "no run has it; there are val/loss" in capsys.readouterr().err
    (tmp_path / "empty" / "metrics.json").write_text('{"schema": 2}')
    assert main([str(tmp_path / "empty")]) == 1
    assert "has schema 2, expected 1" in capsys.readouterr().err


def test_a_table_for_a_document_shows_what_was_asked_for(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--markdown", "--show", "val/"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| autoencoder.optimizer.lr | n | val/loss |",
        "| --- | --- | --- |",
        "| 0.001 | 3 | 0.00101 ± 0.00001 |",
        "| 0.003 | 3 | 0.00303 ± 0.00003 |",
    ]
    assert main([str(sweep), "--markdown", "--show", "nothing"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "| autoencoder.optimizer.lr | n |"


def write_experiments(path: Path) -> None:
    """Two rates and two seeds, of both stages, and of stage 1 alone with many settings that vary."""
    names = [f"{split}/{name}" for split in ("train", "val", "test") for name in ("loss", "mse", "accuracy")]
    for lr in ("1e-3", "3e-3"):
        typed, long = [f"autoencoder.optimizer.lr={lr}"], {f"a_long_name_{number}": lr for number in range(4)}
        for seed in (0, 1):
            for number, stage in enumerate(("autoencoder", "classifier")):
                final = {name: 2 * number + i / 7 + seed / 100 + float(lr) for i, name in enumerate(names)}
                write_run(path / "both" / f"{lr}-{seed}" / stage, typed, seed, stage, final=final)
            config = {"stage": "autoencoder", "autoencoder": {"optimizer": {"lr": float(lr)}}, "trainer": long}
            final = {name: 5 + i / 7 + seed / 100 + float(lr) for i, name in enumerate(names)}
            write_run(path / f"{lr}-{seed}", typed, seed, final=final, config=config)


@pytest.mark.parametrize("columns", [60, 120])
def test_no_number_is_cut_off_on_a_narrow_screen(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_experiments(tmp_path)
    assert main([str(tmp_path), "--json"]) == 0
    numbers = [
        f"{value['mean']:.{5 if value['mean'] < 0.1 else 4}f}"
        for row in json.loads(capsys.readouterr().out)["rows"]
        for name, value in row["metrics"].items()
        if "train/" not in name
    ]
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main([str(tmp_path)]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    cells = [cell.split(" ±") for line in out.splitlines() for cell in line.split("│") if "±" in cell]
    assert sorted(mean.strip() for mean, _ in cells) == sorted(numbers)
    assert len(numbers) == 6 * (2 + 2 + 2)
    lines = out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("row ")) <= columns
    assert [line for line in lines if line.startswith("stage=")] == ["stage=autoencoder", "stage=all"]
    assert [line.count("a_long_name_") for line in lines if line.startswith("row ")][:2] == [4, 4]
    assert main([str(tmp_path), "--metric", "test/loss"]) == 0  # one metric is one order, in one table
    assert "stage=" not in re.sub("row .*", "", capsys.readouterr().out)


def test_an_mse_that_is_the_loss_stands_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, mse in ((0, 0.02), (1, 0.02), (2, 0.03)):
        write_run(tmp_path / f"{mse}-{seed}", [], seed, final={"val/loss": 0.02, "val/mse": mse})
    for folder, shown in (("0.02-*", 1), ("*", 2)):
        assert main([*map(str, tmp_path.glob(folder))]) == 0
        assert len(re.findall("val/(?:loss|mse)", capsys.readouterr().out)) == shown
    assert main([str(tmp_path / "0.02-0"), "--show", "mse"]) == 0
    assert "val/mse" in capsys.readouterr().out


def test_a_hundred_runs_need_no_torch(tmp_path: Path) -> None:
    for number in range(100):
        lr, batch, seed = number // 10 + 1, number // 5 % 2, number % 5
        write_run(
            tmp_path / str(number), [f"autoencoder.optimizer.lr={lr}e-4", f"autoencoder.batch_size={batch}"], seed
        )
    code = "import sys; from aeprobe_tools.results.table import main; main(sys.argv[1:])"
    code += "; sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["rows"]
    assert [row["n"] for row in rows] == [5] * 20
    assert rows[0]["settings"] == {"autoencoder.batch_size": "0", "autoencoder.optimizer.lr": "0.0001"}


def write_losses(path: Path, stage: str, losses: list[dict[str, Any]], finals: list[dict[str, float]]) -> None:
    """A run for each loss, whose settings stand below the stage's own."""
    for number, (loss, final) in enumerate(zip(losses, finals, strict=True)):
        config = {"stage": stage, stage: {"optimizer": {"lr": 0.1}} | loss}
        write_run(path / str(number), [], 0, stage, final=final, config=config)


@pytest.mark.parametrize(
    ("stage", "losses", "keys"),
    [
        ("autoencoder", [{"loss": "mse"}, {"loss": "bce"}], "autoencoder.loss"),
        ("autoencoder", [{"_target_": "mine.Own", "beta": beta} for beta in (1, 2)], "autoencoder.beta"),
        ("classifier", [{"class_weights": weights} for weights in (None, "balanced")], "classifier.class_weights"),
        ("classifier", [{"loss_on": on} for on in ("logits", "softmax")], "classifier.loss_on"),
    ],
)
def test_rows_whose_losses_differ_are_sorted_by_what_means_the_same_for_all(
    stage: str, losses: list[dict[str, Any]], keys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first has the smaller loss, and the worse of what counts."""
    same, values = ("mse", (0.03, 0.02)) if stage == "autoencoder" else ("accuracy", (0.8, 0.9))
    finals = [{"val/loss": loss, f"val/{same}": value} for loss, value in zip((0.01, 0.5), values, strict=True)]
    write_losses(tmp_path, stage, losses, finals)
    assert main([str(tmp_path), "--json"]) == 0
    shown = capsys.readouterr()
    means = [row["metrics"][f"val/{same}"]["mean"] for row in json.loads(shown.out)["rows"]]
    assert means == sorted(values, reverse=stage == "classifier")
    if stage == "autoencoder":  # a classifier's own objective is its accuracy
        assert shown.err == f"sorted by val/mse: val/loss has another scale in runs that differ in {keys}\n"
    assert main([str(tmp_path), "--metric", "val/loss", "--json"]) == 0
    shown = capsys.readouterr()
    assert [row["metrics"]["val/loss"]["mean"] for row in json.loads(shown.out)["rows"]] == [0.01, 0.5]
    assert f"differ in {keys}: --metric 'val/{same}' means the same for all" in shown.err


def test_rows_of_one_loss_are_sorted_by_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses = [{"loss": "bce", "regularizer": {"_target_": "mine.R", "weight": weight}} for weight in (1, 2)]
    write_losses(
        tmp_path, "autoencoder", losses, [{"val/loss": 0.2, "val/mse": 1}, {"val/loss": 0.1, "val/mse": 2}]
    )
    assert main([str(tmp_path), "--json"]) == 0
    shown = capsys.readouterr()
    assert [row["metrics"]["val/loss"]["mean"] for row in json.loads(shown.out)["rows"]] == [0.1, 0.2]
    assert shown.err == ""


@pytest.mark.parametrize("form", [["--markdown"], ["--by=seed"], ["--csv"], ["--json"]])
def test_a_table_says_that_its_order_looked_at_the_test_set(
    form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, data in enumerate([{"val_size": 0}, {"val_size": 5000}]):
        write_run(tmp_path / str(seed), [], seed, data=data)
    said = "val/loss of 1 of 2 runs was measured on the test set (data.val_size=0)"
    assert main([str(tmp_path), *form]) == 0
    shown = capsys.readouterr()
    assert (said in shown.out) == (form[0] not in ("--csv", "--json"))  # which programs read
    assert (said in shown.err) == (form[0] in ("--csv", "--json"))
    write_run(tmp_path / "2", [], 2, final={"val/loss": 0.1, "train/loss": 0.2}, data={"val_size": 0})
    assert main([str(tmp_path), "--metric", "train/loss", *form]) == 0
    assert "test set" not in "".join(capsys.readouterr())
