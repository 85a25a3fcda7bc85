"""Run directories of somebody else: refused in a line, in little time and memory, and nothing of them acts."""

import json
import os
import resource
import shutil
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from conftest import train
from finished_runs import png, write_run

from aeprobe.cli.resume import resume
from aeprobe.config.stored import read_config
from aeprobe.errors import AeprobeError
from aeprobe.report.write import write_report
from aeprobe.runs.metrics import read_metrics
from aeprobe.tables.table import main as results

MOST_SECONDS = 30
MOST_KB = 300 * 1024
DEEP = 100_000


def aliases(levels: int) -> str:
    """YAML that grows ninefold at each level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


JSON = {
    "brackets of 57 MB": "[" * 57 * 2**20,
    "brackets": "[" * DEEP,
    "nested objects": '{"a":' * DEEP,
    "many empty lists": "[" + "[]," * 5_000_000 + "0]",
    "a number of 400 digits": '{"schema": 1, "seed": ' + "9" * 400 + "}",
    "a number of a million digits": '{"schema": 1, "seed": ' + "9" * 10**6 + "}",
    "NaN": '{"schema": 1, "seconds": {"total": NaN}}',
    "an overflow": '{"schema": 1, "seconds": {"total": 1e999}}',
    "no fields": '{"schema": 1}',
    "not UTF-8": "\udcff",
    "a list": "[]",
    "nothing": "",
}
YAML = {
    "aliases of 201 bytes": aliases(5),
    "nine levels of aliases": aliases(9),
    "a line of 50 MB": "a: " + "x" * 50 * 2**20,
    "brackets": "a: " + "[" * DEEP,
    "mappings": "{a: " * DEEP,
    "an anchor that holds itself": "a: &a [*a]",
    "a tag": "a: !!python/object/apply:os.system ['true']",
    "a resolver": "seed: ${oc.env:HOME}",
    "a resolver after an escaped backslash": "seed: '\\\\${oc.env:HOME}'",
    "a resolver in a resolver": "seed: ${x.${oc.env:HOME}}",
    "not UTF-8": "\udcff",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.mark.parametrize("name", JSON)
def test_metrics_that_are_none_are_refused_within_the_limits(run: Path, name: str) -> None:
    (run / "autoencoder" / "metrics.json").write_text(JSON[name], errors="surrogateescape")
    within_the_limits(lambda: read_metrics(run / "autoencoder"))


@pytest.mark.parametrize("name", YAML)
def test_a_configuration_that_is_none_is_refused_within_the_limits(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.yaml").write_text(YAML[name], errors="surrogateescape")
    within_the_limits(lambda: read_config(tmp_path / "config.yaml"))


def within_the_limits(read: Any) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(AeprobeError) as refused:
        read()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert time.monotonic() - began < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KB


def test_text_that_only_looks_like_a_resolver_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: ${b}\nb: '\\${oc.env:HOME}'\nc: 'C:/data'\n")
    assert read_config(tmp_path / "config.yaml").c == "C:/data"


@pytest.mark.parametrize("name", ["metrics.json", ".hydra/config.yaml", "checkpoints/last.ckpt", "train.log"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_nothing_without_an_end_is_opened(tmp_path: Path, trained: Path, name: str, kind: str) -> None:
    stolen = Path(shutil.copytree(trained, tmp_path / "stolen")) / "autoencoder"
    (stolen / name).unlink()
    os.mkfifo(stolen / name) if kind == "pipe" else (stolen / name).symlink_to("/dev/zero")
    with pytest.raises(AeprobeError, match=f"{name} is (a link|no regular file)"):
        resume([f"resume={stolen}"])
    if name == "metrics.json":
        for read in (lambda: write_report([stolen]), lambda: read_metrics(stolen)):
            with pytest.raises(AeprobeError, match=r"link|regular file"):
                read()


def test_a_figure_that_is_a_link_puts_no_other_file_into_the_page(run: Path) -> None:
    figure = next((run / "autoencoder" / "figures").glob("*.png"))
    secret = run.parent / "secret.png"
    figure.rename(secret)
    figure.symlink_to(secret)
    secret.write_bytes(png(extra=999))
    assert b64encode(secret.read_bytes()).decode() not in write_report([run]).read_text()


def test_text_of_a_run_commands_no_terminal(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "classifier" / "metrics.json"
    found = json.loads(file.read_text()) | {"status": "failed", "error": "gone \x1b[2J\u202e \ud800 \x07"}
    file.write_text(json.dumps(found))
    for form in ([], ["--markdown"], ["--csv"], ["--json"]):
        assert results([str(run), *form]) == 0
        out = "".join(capsys.readouterr())
        assert not {"\x1b", "\u202e", "\x07"} & {*out}
    assert "\x1b" not in write_report([run]).read_text()


def test_a_stored_configuration_tells_no_secret(tmp_path: Path, trained: Path) -> None:
    stolen = Path(shutil.copytree(trained, tmp_path / "stolen")) / "autoencoder"
    file = stolen / ".hydra" / "config.yaml"
    file.write_text(file.read_text().replace("sweep: ", "sweep: ${oc.env:SECRET_TOKEN} #"))
    done = train(f"resume={stolen}", cwd=tmp_path, environment={"SECRET_TOKEN": "hunter2"})
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert "would be computed on this machine" in line
    assert not [path for path in stolen.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (("devices: 1", "devices: 6"), "was trained by 6 processes: to start them, type trainer.devices=6"),
        (("threads: null", "threads: 1000000000"), "trainer.threads=1000000000: must be"),
    ],
)
def test_a_stored_configuration_takes_no_more_of_the_machine(
    tmp_path: Path, trained: Path, setting: tuple[str, str], words: str
) -> None:
    stolen = Path(shutil.copytree(trained, tmp_path / "stolen"))
    for file in stolen.rglob("config.yaml"):
        file.write_text(file.read_text().replace("strategy: auto", "strategy: ddp").replace(*setting))
    with pytest.raises(AeprobeError, match=words):
        resume([f"resume={stolen}"])


def test_the_threads_of_a_larger_machine_are_typed_again(tmp_path: Path, trained: Path) -> None:
    stolen = Path(shutil.copytree(trained, tmp_path / "stolen"))
    many = (os.cpu_count() or 1) + 1
    for file in stolen.rglob("metrics.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"threads": many}))
    with pytest.raises(AeprobeError, match=f"type trainer.threads={many}"):
        resume([f"resume={stolen}"])
    assert resume([f"resume={stolen}", f"trainer.threads={many}"]).config.trainer.threads == many
    with pytest.raises(AeprobeError, match="gives other bits"):
        resume([f"resume={stolen}", "trainer.threads=1"])


def test_a_stored_path_is_read_anywhere_and_unpacked_only_here(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    stolen = Path(shutil.copytree(trained, here / "stolen")) / "autoencoder"
    (stolen / "metrics.json").write_text((stolen / "metrics.json").read_text().replace("completed", "running"))
    file = stolen / ".hydra" / "config.yaml"
    stored = read_config(file)
    file.write_text(file.read_text().replace(f"root: {stored.data.root}", f"root: {elsewhere}"))
    monkeypatch.chdir(here)
    done = train(f"resume={stolen}", cwd=here)
    assert done.status == 1
    assert "a run that goes on unpacks nothing outside of the working directory" in done.err
    assert not elsewhere.exists()
