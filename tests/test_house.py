"""The folders of the source stand on each other in one order."""

import ast
import re
from collections.abc import Iterator

import pytest
from conftest import REPO

import aeprobe

SOURCE = REPO / "src" / "aeprobe"
# From the top to the bottom: each uses only those after it. Files beside the folders stand below all of them.
FLOORS = (
    *(
        "cli",
        "sweeps",
        "inference",
        "report",
        "tables",
        "training",
        "evaluation",
        "figures",
        "models",
        "data",
        "runs",
        "processes",
        "config",
    ),
    "",
)
ENTRANCES = ("__init__.py", "__main__.py")  # import nothing of it until they are called


def imported(folder: str) -> Iterator[tuple[str, str]]:
    """Each file of a floor, and the floor of each of its imports, those inside of functions too."""
    for file in sorted((SOURCE / folder).rglob("*.py") if folder else SOURCE.glob("*.py")):
        if not folder and file.name in ENTRANCES:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                first, *rest = name.split(".")
                if first == "aeprobe":
                    assert rest, f"{file.name}: import a module, not the package"
                    yield str(file.relative_to(SOURCE)), rest[0] if (SOURCE / rest[0]).is_dir() else ""


def test_every_folder_has_its_floor() -> None:
    folders = {
        path.name for path in SOURCE.iterdir() if path.is_dir() and path.name not in ("assets", "__pycache__")
    }
    assert folders == {*FLOORS} - {""}


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_uses_only_itself_and_those_below(floor: str) -> None:
    below = FLOORS[FLOORS.index(floor) :]
    wrong = [f"{file} uses {other}/" for file, other in imported(floor) if other not in below]
    assert not wrong


def test_files_are_short() -> None:
    sizes = {file.name: len(file.read_text().splitlines()) for file in SOURCE.rglob("*.py")}
    assert max(sizes.values()) <= 400, max(sizes, key=lambda name: sizes[name])


def test_the_training_steps_stand_where_a_stranger_looks() -> None:
    for stage in ("autoencoder", "classifier"):
        (step,) = (
            node
            for node in ast.walk(ast.parse((SOURCE / "models" / f"{stage}.py").read_text()))
            if isinstance(node, ast.FunctionDef) and node.name == "training_step"
        )
        assert [argument.arg for argument in step.args.args] == ["self", "batch", "batch_idx"]
        assert isinstance(step.body[-1], ast.Return)
        assert (step.end_lineno or 0) - step.lineno <= 15


def test_whatever_computes_prepares_its_process_first() -> None:
    """By an import of its own, or by its folder's."""
    heavy = re.compile(r"^(?:import|from) (?:torch|lightning|torchvision|torchmetrics)\b", re.MULTILINE)
    prepared = re.compile(r"^import aeprobe\.runtime\b", re.MULTILINE)
    for file in sorted(SOURCE.rglob("*.py")):
        if heavy.search(file.read_text()) and file.name != "runtime.py":
            assert prepared.search(file.read_text() + (file.parent / "__init__.py").read_text()), file


def test_no_folder_hides_what_the_package_gives() -> None:
    """A submodule that is imported takes its name in the package."""
    assert not {*aeprobe.__all__} & {path.stem for path in SOURCE.iterdir()}
