"""`import aeprobe` in a script and a notebook: the command line's runs, each in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest
from conftest import REPO, TINY, metrics, only, train
from nbclient import NotebookClient

FEW = [*TINY]


def script(code: str, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python process of its own, which is told the few steps."""
    text = f"FEW = {FEW!r}\n{dedent(code)}"
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=400, check=False)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Where a script has trained, and left the directory since."""
    cwd = tmp_path_factory.mktemp("api")
    (cwd / "work").mkdir()
    done = script(
        """
        import os, sys
        import aeprobe
        heavy = {"torch", "lightning", "hydra", "matplotlib", "numpy"} & {*sys.modules}
        assert not heavy, heavy

        given = [*FEW, "seed=4", f"data.root={sys.argv[1]}"]
        os.chdir("work")
        runs = [aeprobe.train(*given, "outputs=a", child=False)]
        again = aeprobe.train(f"resume={os.path.relpath(runs[0])}")
        os.chdir("..")
        assert not {"torch", "lightning"} & {*sys.modules}
        assert again == runs[0] and again.path.is_absolute()

        import torch
        os.mkdir("empty")
        for call, typed in ((aeprobe.train, ["seed=-1"]), (aeprobe.train, ["-m", "seed=1,2"]),
                            (aeprobe.load, ["nowhere"]), (aeprobe.results, ["empty"])):
            try:
                call(*typed)
            except aeprobe.Error as error:
                print(f"refused: {error}")
        for run in runs:
            metrics = run.metrics
            print("run", run.path, metrics["classifier"]["final"]["test/accuracy"], [*metrics])
        frame = runs[0].frame()
        print("frame", [*frame["stage"]], frame["epoch"].tolist(), f"{frame['val/loss'][0]:.4f}")
        module = aeprobe.load(runs[0])
        print("label", module.predict(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))["label"].tolist())
        (row,) = aeprobe.results("work/a")
        assert aeprobe.results("work/a") == [row]
        assert f"{runs[0]}" == str(runs[0].path)
        pixels = torch.rand(3, 1, 28, 28)
        same = [module.predict(one)["probabilities"] for one in (pixels, pixels.double(), pixels.numpy())]
        assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])
        print("row", row["n"], row["seeds"], row["repeated"])
        """,
        cwd,
        str(root),
    )
    assert done.returncode == 0, done.stderr
    (cwd / "printed").write_text(done.stdout)
    return cwd


@pytest.mark.slow
def test_python_runs_are_the_command_lines(imported: Path, root: Path, tmp_path: Path) -> None:
    assert train(*FEW, "seed=4", f"data.root={root}", cwd=tmp_path).status == 0
    typed = only(tmp_path / "outputs" / "all")
    for stage in ("autoencoder", "classifier"):
        expected = metrics(typed / stage)
        found = metrics(only(imported / "work" / "a" / "all") / stage)
        assert found["final"] == expected["final"]
        assert [o for o in found["overrides"] if not o.startswith("outputs")] == expected["overrides"]
        assert (only(imported / "work" / "a" / "all") / "report.html").exists()


def test_what_a_script_gets_of_a_run(imported: Path) -> None:
    lines = (imported / "printed").read_text().splitlines()
    said = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
    run = only(imported / "work" / "a" / "all")
    final = metrics(run / "classifier")["final"]["test/accuracy"]
    stages = ["autoencoder", "classifier"]
    assert said["run"] == f"{run} {final} {stages}"
    loss = metrics(run / "autoencoder")["epochs"][0]["val/loss"]
    assert said["frame"] == f"{stages} [1, 1] {loss:.4f}"
    assert len(json.loads(said["label"])) == 2
    assert said["row"] == "1 ['4'] {}"
    refused = [line.removeprefix("refused: ") for line in lines if line.startswith("refused: ")]
    assert refused[0].startswith("seed=-1: must be ")
    assert refused[1].startswith("-m: aeprobe.train has one run")
    assert refused[2] == "ckpt=nowhere: there is no such file or directory"
    assert refused[3].startswith("empty: no run below it")
    assert lines.count(next(line for line in lines if line.startswith("autoencoder epoch 1/1"))) >= 1
    assert sum(line.startswith("run directory: ") for line in lines) == 1
    assert f"{run.relative_to(imported / 'work')} is completed: nothing is left to do" in lines


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_resumes(root: Path, tmp_path: Path) -> None:
    typed = ["stage=autoencoder", "trainer.figures=false", "trainer.limit_train_batches=50", f"data.root={root}"]
    typed += ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    code = f"""
        import aeprobe, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        try:
            aeprobe.train(*{typed}, "autoencoder.max_epochs=9", "trainer.threads=1")
        except KeyboardInterrupt as error:
            print("KeyboardInterrupt", error, flush=True)
    """
    command = [sys.executable, "-c", dedent(code)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("autoencoder epoch 1/9"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stdout.read()
    assert process.wait(60) == 0
    run = only(tmp_path / "outputs" / "autoencoder")
    assert (
        f"go on with: {sys.executable} -m aeprobe train resume={run.relative_to(tmp_path)}"
        in rest.splitlines()[-1]
    )
    assert rest.count("go on with") == 1
    assert metrics(run)["status"] == "interrupted"
    done = script(f"import aeprobe; print(aeprobe.train('resume={run}').path)", tmp_path)
    assert done.returncode == 0, done.stderr
    found = metrics(run)
    assert (found["status"], len(found["epochs"])) == ("completed", 9)
    assert done.stdout.splitlines()[-1] == str(run)


@pytest.mark.slow
def test_the_code_that_the_documents_show_runs(root: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPO / "docs" / "USE.md").read_text(), re.DOTALL)
    (tmp_path / "data").symlink_to(root)
    shown = '"experiment=speedrun", "seed=1"'
    assert shown in code
    done = script(code.replace(shown, f"{shown}, *FEW"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^tensor\(\[(\d, ){9}\d\]\)\ntorch.Size\(\[10, 30\]\)\n\{'mean': 0", done.stdout, re.MULTILINE
    )


@pytest.mark.slow
def test_the_tour_runs_in_a_notebook_and_keeps_no_output(tmp_path: Path) -> None:
    notebook = nbformat.read(REPO / "docs" / "tour.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert 10 <= len(notebook.cells) <= 16
    for cell in code:
        cell.source = re.sub(r'"(seed=\d)"', r'"\1", "trainer.limit_train_batches=20"', cell.source)
    os.environ.setdefault("IPYTHONDIR", str(tmp_path / "ipython"))
    NotebookClient(
        notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    said = json.dumps(notebook)
    assert "classifier epoch" in said
    assert "Error" not in said.replace("aeprobe.Error", "")
