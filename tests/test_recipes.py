"""The recipes of the README, followed as they are read: in a copy of the project, with a file of one's own."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO, TINY, metrics, only

GROW = (REPO / "README.md").read_text().partition("## Add your own")[2]
RECIPES = {
    re.search(r"class (\w+)", block)[1]: block  # type: ignore[index]
    for block in re.findall(r"```python\n(# mine\.py.*?)```", GROW, re.DOTALL)
}


def run(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone holds, with `plugins: [mine]`."""
    folder = tmp_path_factory.mktemp("clone") / "aeprobe"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    folder.mkdir()
    shutil.copy(REPO / "train.py", folder)
    for name in ("conf", "src"):
        shutil.copytree(REPO / name, folder / name, ignore=ignored)
    file = folder / "conf" / "config.yaml"
    assert "plugins: [mine]" in GROW
    file.write_text(re.sub(r"^plugins: \[\]", "plugins: [mine]", file.read_text(), flags=re.MULTILINE))
    return folder


def test_there_are_four_and_they_are_short() -> None:
    assert [*RECIPES] == ["Linear", "Stripes", "Norm", "Charbonnier"]
    assert all(len(block.splitlines()) <= 15 for block in RECIPES.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works_as_written(name: str, copy: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(copy / "src"))
    shutil.rmtree(copy / "outputs", ignore_errors=True)
    (copy / "mine.py").write_text(RECIPES[name])
    for file, content in re.findall(r"^# (conf/\S+\.yaml): (.*)$", RECIPES[name], re.MULTILINE):
        (copy / file).write_text(content)
    (command,) = re.findall(r"^# python (train\.py .*)$", RECIPES[name], re.MULTILINE)
    typed = [*shlex.split(command), f"data.root={root}"]
    run(copy, *typed, *TINY[:2])
    made = only(copy / "outputs" / "all")
    assert [metrics(made / stage)["status"] for stage in ("autoencoder", "classifier")] == ["completed"] * 2
    page = (made / "report.html").read_text()
    assert "Not drawn in this run" not in page
    first, final = metrics(made / "autoencoder"), metrics(made / "autoencoder")["final"]
    if name == "Linear":
        assert first["networks"]["encoder"]["sizes"] == ["784", "16"]
    elif name == "Stripes":
        assert "across" in page
        assert metrics(made / "classifier")["networks"]["encoder"]["sizes"][0] == str(3 * 16 * 16)
    elif name == "Norm":
        (written,) = (made / "autoencoder").rglob("metrics.csv")
        assert "train/norm" in written.read_text().partition("\n")[0]
    else:
        assert first["loss"] == "Charbonnier"
        assert {"val/mae", "test/mae", "val/mse"} <= final.keys()
    if name in ("Linear", "Stripes"):  # whose class is needed to read the run
        run(copy, "train.py", "stage=test", f"ckpt={made.relative_to(copy)}", "trainer.figures=false")
