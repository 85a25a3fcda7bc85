"""Paths and commands as a person types them."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from omegaconf import OmegaConf

PACKAGE = Path(__file__).parent
SHIPPED = (PACKAGE / "conf").is_dir()  # in a wheel; a checkout has its own conf/ and train.py
CONF = PACKAGE / "conf" if SHIPPED else PACKAGE.parents[1] / "conf"
TRAIN = "aeprobe train" if SHIPPED else "python train.py"  # in a document, which is read elsewhere

# The keys of a command line that take a path.
PATHS = ("outputs", "ckpt", "resume", "data.root", "hydra.run.dir", "hydra.sweep.dir")


def home(path: str) -> str:
    """Return the same path, with the home directory for a leading `~` or `~user`, as a shell has it."""
    return str(Path(os.path.expanduser(path))) if path.startswith("~") else path  # noqa: PTH111 - ~nobody stays


def typed_command(name: str = "train") -> str:
    """Begin a command that works where this one was typed: `aeprobe NAME`, or train.py where that was started."""
    program, python = Path(sys.argv[0]), shlex.quote(sys.orig_argv[0])
    if name == "train" and program.name == "train.py":
        return f"{python} {shlex.quote(sys.argv[0])}"
    if program.name == "aeprobe":
        return f"{'aeprobe' if shutil.which('aeprobe') == sys.argv[0] else shlex.quote(sys.argv[0])} {name}"
    return f"{python} -m aeprobe {name}"


def absolute(path: str | Path) -> Path:
    """Return the path from the root as Hydra has it: without `..`, links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def shortest(path: Path) -> Path:
    """Return the path as a person would type it: relative where it lies below the working directory."""
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return absolute(path) if str(short).startswith("~") else short


def operand(path: Path) -> str:
    """Return the path as a command takes it in a shell; one that begins with a dash would be an option."""
    short = str(shortest(path))
    return shlex.quote(f"./{short}" if short.startswith("-") else short)


OmegaConf.register_new_resolver("aeprobe.home", home, replace=True)
OmegaConf.register_new_resolver("aeprobe.train", typed_command, replace=True)
