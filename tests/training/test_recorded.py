"""The numbers of short runs, as they were recorded: a change of the arithmetic shows here."""

import json
from pathlib import Path

import pytest
from bench.same_bits import RECORDED, SHORT, metrics
from conftest import run_here

TOLERANCE = 1e-3  # relative; processors differ in the last bits, and Adam makes full steps of them


@pytest.mark.slow
@pytest.mark.parametrize("name", json.loads(RECORDED.read_text()))
def test_losses_and_metrics_are_those_that_were_recorded(name: str, tmp_path: Path, root: Path) -> None:
    preset, seed = name.split()
    chosen = [] if preset == "default" else [f"experiment={preset}"]
    run_here(tmp_path, [*chosen, f"seed={seed}", f"data.root={root}", *SHORT])
    for stage, recorded in json.loads(RECORDED.read_text())[name].items():
        found = metrics(tmp_path / stage)
        assert {key: found[key] for key in recorded} == pytest.approx(recorded, rel=TOLERANCE)
