"""The ranges of several seeds, on file, and the verdict on one more run."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from conftest import REPO
from finished_runs import config, metrics, write_run, write_stage
from page_reader import made

from aeprobe.errors import AeprobeError
from aeprobe_tools.report import comparison
from aeprobe_tools.results.stage_run import gather

SPEC = importlib.util.spec_from_file_location("bench_ranges", REPO / "bench" / "ranges.py")
assert SPEC is not None
assert SPEC.loader is not None
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)


@pytest.fixture(autouse=True)
def _no_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ranges.yaml").write_text("# head\n{}\n")
    monkeypatch.setattr(comparison, "RANGES", tmp_path / "ranges.yaml")


def on_file(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"seed{seed}", seed, shift=0.001 * seed) for seed in range(5)]
    bench.write("report", runs)


def test_ranges_are_written_and_say_where_they_come_from(tmp_path: Path) -> None:
    on_file(tmp_path)
    known = comparison.range_of(gather([tmp_path / "seed0"])["autoencoder"][0], "test/loss")
    assert known == pytest.approx(
        {"n": 5, "min": 0.0205, "max": 0.0245, "mean": 0.0225, "sd": 0.00158114}, abs=1e-7
    )
    assert (tmp_path / "ranges.yaml").read_text().startswith("# head\nreport:\n")


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.0005, "inside the range of 5 seeds"), (0.02, "outside the range of 5 seeds")]
)
def test_verdict_against_the_seeds(tmp_path: Path, shift: float, verdict: str) -> None:
    on_file(tmp_path)
    other = {"seed": 9, "data__root": "elsewhere", "trainer__progress": "false", "trainer__figures": False}
    page = made(write_run(tmp_path / "run", shift=shift, **other))
    said = f"{verdict} of this experiment; the report's about 0.02 (± 0.005) agrees with that range."
    assert f"Validation MSE: {said}" in page.text
    assert f"Test accuracy: {verdict}" in page.text
    assert "0.0205 to 0.0245" in page.text


@pytest.mark.parametrize(
    "change",
    [{"autoencoder__optimizer__lr": 0.003}, {"data__val_size": 5000}, {"trainer__limit_train_batches": 20}],
)
def test_another_experiment_has_no_range(tmp_path: Path, change: dict[str, Any]) -> None:
    on_file(tmp_path)
    for stage in ("autoencoder", "classifier"):
        of = metrics(stage, config=config(**change))
        of["data"] |= {"val_size": of["config"]["data"]["val_size"]}
        write_stage(tmp_path / "run" / stage, of)
    text = made(tmp_path / "run").text
    assert "no range of seeds of this experiment is on file" in text
    assert "of 5 seeds" not in text


def test_a_classifier_on_an_unknown_encoder_has_no_range(tmp_path: Path) -> None:
    on_file(tmp_path)
    text = made(write_stage(tmp_path / "run", metrics("classifier", config=config("classifier")))).text
    assert "of 5 seeds" not in text


def test_ranges_refuse_what_is_no_set_of_seeds(tmp_path: Path) -> None:
    one, same = write_run(tmp_path / "one"), write_run(tmp_path / "same")
    failed = write_stage(tmp_path / "failed", metrics("autoencoder", 1, status="failed"))
    for given in ([one], [one, same], [one / "autoencoder", failed]):
        with pytest.raises((SystemExit, AeprobeError), match=r"two seeds or more|same seed"):
            bench.write("report", given)
    assert (tmp_path / "ranges.yaml").read_text() == "# head\n{}\n"


@pytest.mark.parametrize(
    ("typed", "cut"),
    [({}, []), ({"limit_test_batches": 2}, ["0.4", "2"]), ({"limit_train_batches": 0.3}, ["0.3"])],
)
def test_a_part_of_each_epoch_may_be_the_recipe(tmp_path: Path, typed: dict[str, float], cut: list[str]) -> None:
    fast = {"trainer__limit_train_batches": 0.4}
    runs = [write_run(tmp_path / f"seed{seed}", seed, **fast) for seed in range(2)]
    bench.write("speedrun", runs)
    run = write_run(tmp_path / "run", **(fast | {f"trainer__{key}": value for key, value in typed.items()}))
    text = made(run).text
    assert text.count("not a result to compare") == 2 * bool(cut)
    assert all(f"={value}" in text.partition("not a result")[0] for value in cut)
    part = typed.get("limit_train_batches", 0.4)
    assert f"trained for 10 epochs (trainer.limit_train_batches={part})." in text
