import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aeprobe.results.folding import find_runs
from aeprobe.results.table import main


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
    assert main([str(tmp_path), "--json"]) == 0
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


def test_a_thousand_runs_need_no_torch(tmp_path: Path) -> None:
    for number in range(1000):
        lr, batch, seed = number // 100 + 1, number // 5 % 20, number % 5
        write_run(
            tmp_path / str(number), [f"autoencoder.optimizer.lr={lr}e-4", f"autoencoder.batch_size={batch}"], seed
        )
    code = (
        "import sys; from aeprobe.results.table import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["rows"]
    assert [row["n"] for row in rows] == [5] * 200
    assert rows[0]["settings"] == {"autoencoder.batch_size": "0", "autoencoder.optimizer.lr": "0.0001"}


def test_links_above_a_run_are_followed_and_none_in_it(tmp_path: Path) -> None:
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    write_run(elsewhere / "disk" / "one", [], 0)
    write_run(elsewhere / "other", [], 1)
    write_run(elsewhere / "secret", [], 2)
    for stage in ("autoencoder", "classifier"):
        write_run(elsewhere / "whole" / stage, [], 3, stage)
    write_run(here / "b_own", [], 4)
    (here / "disk").symlink_to(elsewhere / "disk")
    (here / "whole").symlink_to(elsewhere / "whole")
    (here / "run").symlink_to(elsewhere / "other")
    (here / "a_own").symlink_to(here / "b_own")  # sorted before what it leads to
    (here / "up").symlink_to(tmp_path / "here")
    (elsewhere / "disk" / "up").symlink_to(tmp_path / "here")
    (here / "self").symlink_to(here / "self")
    (here / "nowhere").symlink_to(tmp_path / "nowhere")
    (here / "b_own" / "figures").mkdir()
    for inside in (here / "b_own", here / "b_own" / "figures", elsewhere / "whole"):
        (inside / "link").symlink_to(elsewhere / "secret")
    found = find_runs([here, here, here / "disk"])
    assert sorted((run.seed, str(run.path.relative_to(here))) for run in found) == [
        ("0", "disk/one"),
        ("1", "run"),
        ("3", "whole"),
        ("4", "b_own"),
    ]
