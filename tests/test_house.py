"""The two packages, the arrow between them, and what a reader finds in a file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from conftest import REPO

import aeprobe

SOURCE, TOOLS = REPO / "src" / "aeprobe", REPO / "src" / "aeprobe_tools"
ENTRANCES = ("__init__.py", "__main__.py")  # name the tools, and import them when they are called
ALLOWED = (*ENTRANCES, "nodes.py")  # the latter lists the packages of which a stored file may name classes
ODD = re.compile(r"(What|Which|Whether|How|When|Where|Of|From|By|Meanwhile|Those|Such)\b")


def names(file: Path) -> Iterator[str]:
    """Every module and every text of a file, docstrings too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_experiment_knows_nothing_of_the_tools() -> None:
    files = [file for file in SOURCE.rglob("*.py") if file.relative_to(SOURCE).as_posix() not in ALLOWED]
    assert len(files) > 40
    assert not [file for file in files if any("aeprobe_tools" in name for name in names(file))]
    for entrance in ENTRANCES:  # nothing of the tools is imported before they are called
        body = ast.parse((SOURCE / entrance).read_text()).body
        assert not [
            node for node in body if isinstance(node, ast.ImportFrom) and "aeprobe_tools" in str(node.module)
        ]


def test_nothing_below_the_builder_sees_the_configuration() -> None:
    for folder in ("data", "models"):
        for file in (SOURCE / folder).glob("*.py"):
            assert not [name for name in names(file) if name.startswith("aeprobe.config")], file


def test_files_are_short_and_none_has_a_name_of_another_or_of_nothing() -> None:
    for package in (SOURCE, TOOLS):
        files = [file for file in package.rglob("*.py") if file.name != "__init__.py"]
        assert max(len(file.read_text().splitlines()) for file in files) <= 400
        assert not {"utils", "helpers", "common"} & {file.stem for file in files}


def test_docstrings_begin_with_a_verb_or_the_thing() -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [
        text
        for package in (SOURCE, TOOLS)
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, documented) and (text := ast.get_docstring(node))
    ]
    odd = [text for text in docstrings if ODD.match(text)]
    assert len(odd) <= 0.03 * len(docstrings), odd


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
    for file in sorted([*SOURCE.rglob("*.py"), *TOOLS.rglob("*.py")]):
        if heavy.search(file.read_text()) and file.name != "runtime.py":
            assert prepared.search(file.read_text() + (file.parent / "__init__.py").read_text()), file


def test_no_folder_hides_what_the_package_gives() -> None:
    """A submodule that is imported takes its name in the package."""
    assert not {*aeprobe.__all__} & {path.stem for path in SOURCE.iterdir()}
