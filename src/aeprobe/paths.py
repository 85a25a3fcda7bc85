"""Paths as a person types them: what a leading `~` means, and where relative ones begin."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from aeprobe.errors import AeprobeError

PACKAGE = Path(__file__).parent
SHIPPED = (PACKAGE / "conf").is_dir()  # in a wheel; a checkout has its own conf/ and train.py
CONF = PACKAGE / "conf" if SHIPPED else PACKAGE.parents[1] / "conf"
TRAIN = "aeprobe train" if SHIPPED else "python train.py"  # in a document, which is read elsewhere

# The keys of a command line that take a path.
PATHS = ("outputs", "ckpt", "resume", "data.root", "hydra.run.dir", "hydra.sweep.dir")


def home(path: str) -> str:
    """The same path, with the home directory for a leading `~` or `~user`, as a shell has it.

    >>> home("./~/runs")  # a folder of that name
    './~/runs'

    Raises:
        AeprobeError: there is no such user.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        user = path.partition("/")[0]
        raise AeprobeError(
            f"{path}: {user} is no home directory on this machine; for a folder of that name write ./{path}"
        ) from None


def typed_command(name: str = "train") -> str:
    """Begins a command that works where this one was typed: `aeprobe NAME`, or train.py where that was started."""
    program, python = Path(sys.argv[0]), shlex.quote(sys.orig_argv[0])
    if name == "train" and program.name == "train.py":
        return f"{python} {shlex.quote(sys.argv[0])}"
    if program.name == "aeprobe":
        return f"{'aeprobe' if shutil.which('aeprobe') == sys.argv[0] else shlex.quote(sys.argv[0])} {name}"
    return f"{python} -m aeprobe {name}"


_origins: list[Path] = []


@contextmanager
def coming_from(directory: Path) -> Iterator[None]:
    """Meanwhile, relative paths begin in the directory that the command was typed in.

    With hydra.job.chdir=true a job works in another one.
    """
    _origins.append(directory)
    try:
        yield
    finally:
        _origins.pop()


def typed_in() -> Path:
    """The directory that the command was typed in."""
    return _origins[-1] if _origins else Path.cwd()


def from_here(path: str) -> str:
    """A path as it was typed, such that it can be used from the working directory.

    A folder called `~` gets its whole path: Lightning would take it for the home directory.

    Raises:
        AeprobeError: it begins with the name of an unknown user.
    """
    path = home(path)
    fits = Path.cwd() == typed_in() and not str(Path(path)).startswith("~")
    return path if fits or not path.strip() else str(typed_in() / path)


def absolute(path: str | Path) -> Path:
    """As Hydra has it: from the working directory, without `..`, links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def shortest(path: Path) -> Path:
    """The path as a person would type it: relative where it lies below the working directory."""
    if Path.cwd() != typed_in():  # the person is elsewhere
        return absolute(path)
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return absolute(path) if str(short).startswith("~") else short


def operand(path: Path) -> str:
    """The path as a command takes it in a shell; one that begins with a dash would be an option."""
    short = str(shortest(path))
    return shlex.quote(f"./{short}" if short.startswith("-") else short)


OmegaConf.register_new_resolver("aeprobe.home", home, replace=True)
OmegaConf.register_new_resolver("aeprobe.train", typed_command, replace=True)
