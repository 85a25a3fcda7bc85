"""Run directories that are damaged, or that somebody else wrote: read, or refused in a line."""

import json
from pathlib import Path

import pytest
from finished_runs import write_run

from aeprobe.cli.resume import resume
from aeprobe.errors import AeprobeError
from aeprobe.runs.metrics import MOST_BYTES, read_metrics
from aeprobe_tools.report.page import write_report
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.results.table import main as results


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "not JSON",
        "\udcff",
        '{"a":' * 100_000,
        '{"schema": 2}',
        '{"schema": 1}',
        '{"schema": 1, "stage": "autoencoder", "status": 3}',
        " " * (MOST_BYTES + 1),
    ],
    ids=["nothing", "a list", "text", "no UTF-8", "deep", "schema", "no keys", "a number for a text", "large"],
)
def test_metrics_that_are_none_are_refused_in_a_line(run: Path, text: str) -> None:
    file = run / "autoencoder" / "metrics.json"
    file.write_text(text, errors="surrogateescape")
    for read in (
        lambda: read_metrics(file.parent),
        lambda: write_report([run]),
        lambda: resume([f"resume={run}"]),
    ):
        with pytest.raises(AeprobeError, match=r"metrics\.json") as refused:
            read()
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400


def test_a_damaged_figure_is_none(run: Path) -> None:
    part = run / "autoencoder"
    stage = StageRun(part, read_metrics(part))
    assert stage.picture("codes") is not None
    file = part / "figures" / "codes.json"
    file.write_bytes(file.read_bytes()[:9])
    assert stage.picture("codes") is None


def test_text_of_a_run_commands_no_terminal(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "classifier" / "metrics.json"
    found = json.loads(file.read_text()) | {"status": "failed", "error": "gone \x1b[2J\u202e \ud800 \x07"}
    file.write_text(json.dumps(found))
    for form in ([], ["--markdown"], ["--csv"], ["--json"]):
        assert results([str(run), *form]) == 0
        assert not {"\x1b", "\u202e", "\x07"} & {*"".join(capsys.readouterr())}
    assert "\x1b" not in write_report([run]).read_text()
