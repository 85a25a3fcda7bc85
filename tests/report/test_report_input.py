"""A page of wrong, hostile, damaged or too large runs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from finished_runs import config, metrics, write_run, write_stage
from page_reader import made

from aeprobe.errors import AeprobeError
from aeprobe_tools.report import page as report

SCRIPT = "<script>alert(1)</script>"


def test_a_run_named_twice_counts_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert "standard deviation" not in made(run, tmp_path / "." / "run", run / "classifier").text


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("", "cannot be read"),
        (
            metrics("autoencoder", config=config(autoencoder__optimizer__lr=0.5)),
            "has autoencoder.optimizer.lr=0.001, but .* has 0.5: expected seeds of one experiment",
        ),
        (metrics("autoencoder"), "are one experiment with the same seed, 0: give one of them"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_old_page(
    tmp_path: Path, other: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_stage(tmp_path / "good", metrics("autoencoder"), figures=False), tmp_path / "bad"]
    runs[1].mkdir()
    (runs[1] / "metrics.json").write_text(json.dumps(other) if other else '{"schema": 1, "sta')
    (runs[0] / "report.html").write_text("old")
    assert report.main(list(map(str, runs))) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"error: .*{said}.*\n", err)
    assert sorted(path.name for path in runs[0].iterdir()) == ["metrics.json", "report.html"]
    assert (runs[0] / "report.html").read_text() == "old"


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", figures=False)
    for output in (tmp_path / "absent" / "page.html", tmp_path):
        with pytest.raises(AeprobeError, match="cannot be written"):
            report.write_report([run], output)


def test_command_line_writes_the_page_without_torch(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    code = (
        "import sys; from aeprobe_tools.report.page import main; status = main(sys.argv[1:]); "
        "assert not {'torch', 'lightning', 'matplotlib'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), "--output", "page.html"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "page.html\n", "")
    assert "Figure 21" in (tmp_path / "page.html").read_text()


def test_markup_in_names_is_shown_as_text(tmp_path: Path) -> None:
    run = tmp_path / SCRIPT
    of = metrics("classifier", overrides=[f"sweep={SCRIPT}"], status="failed", error=SCRIPT, device=SCRIPT)
    of["versions"][SCRIPT] = SCRIPT
    write_stage(run, of)
    said = {"title": SCRIPT, "alt": f'"><img src=x onerror=alert(1)>{SCRIPT}', "data": {}}
    (run / "figures" / "mistakes.json").write_text(json.dumps(said))
    page = made(run)
    assert "<script" not in page.source
    assert len(page.pictures) == 9
    assert page.source.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
    assert {"src", "alt"} == {key for picture in page.pictures for key in picture}


def test_damaged_or_missing_pictures_are_left_out(tmp_path: Path) -> None:
    figures = write_run(tmp_path / "run") / "autoencoder" / "figures"
    (figures / "samples.json").write_text("[]")
    (figures / "val_loss.json").write_text("{")
    (figures / "train_loss.png").unlink()
    page = made(tmp_path / "run")
    assert len(page.pictures) == 17
    assert "Not drawn in this run: Figure 3 (samples)." in page.text
    assert "Not drawn in this run: Figure 9 (train loss), Figure 10 (val loss)." in page.text
