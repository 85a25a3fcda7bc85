"""The benchmark measures what it says; how fast that is, is not tested."""

import json
from pathlib import Path

import pytest
from bench import __main__ as benchmark
from bench import scale, stages, table

LOOPS = ("floor", "bare", "ours", "report")


def test_a_summary_is_the_median_with_its_spread_and_n() -> None:
    found = stages.summary([3.0, 1.0, 2.0, 10.0, 4.0])
    assert found == {"median": 3.0, "low": 1.0, "high": 10.0, "n": 5}
    assert table.words(found) == "3.00 [1.00 – 10.00]"


def test_ratios_are_taken_round_by_round() -> None:
    rounds = [{"floor": f, "bare": 2 * f, "ours": 3 * f, "report": 9 * f} for f in (1.0, 5.0, 2.0)]
    made = stages._table(rounds, 1000 / 50)
    assert made["ours"]["median"] == 3 * 2 * 20
    assert made["ratios"]["ours / bare"] == {"median": 1.5, "low": 1.5, "high": 1.5, "n": 3}
    assert made["ratios"]["report / ours"]["median"] == 3
    stage = {"start": made, "later": made}
    assert stages.drift(stage)["median"] == 1


def test_repeated_images_are_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "train-labels-idx1-ubyte"
    scale._repeat(path, b"\0\0\x08\x01\0\x01\x86\xa0", 100_000)
    content = path.read_bytes()[8:]
    assert len(content) == 100_000
    assert content[60_000:] == content[:40_000]
    assert content[:3] == bytes([5, 0, 4])


@pytest.mark.slow
def test_the_quick_benchmark_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--quick", "--json", str(tmp_path / "b.json")]) == 0
    made = json.loads((tmp_path / "b.json").read_text())
    assert made["versions"]["torch"]
    assert made["threads"] >= 1
    for stage in ("autoencoder", "classifier"):
        for place in ("start", "later", "epoch"):
            found = made["stages"][stage][place]
            assert {*found} == {*LOOPS, "ratios"}
            assert all(0 < found[loop]["low"] <= found[loop]["median"] <= found[loop]["high"] for loop in LOOPS)
            assert {*found["ratios"]} == {"ours / bare", "ours / floor", "bare / floor", "report / ours"}
            assert found["ours"]["n"] == 5
    assert made["memory"]["beyond"] == made["memory"]["run"] - made["memory"]["imports"] > 50e6
    assert {*made["start-up"]} == {"--help", "--cfg job", "imports"}
    out = capsys.readouterr().out
    assert "stage-1 step, ours ÷ bare" in out
    assert "medians [least – greatest] of n" in out
