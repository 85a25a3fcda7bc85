"""Paths as a person types them."""

import os
import sys
from pathlib import Path

from omegaconf import OmegaConf

from aeprobe.errors import AeprobeError

PACKAGE = Path(__file__).parent
SHIPPED = (PACKAGE / "conf").is_dir()  # in a wheel; a checkout has its own conf/ and train.py
CONF = PACKAGE / "conf" if SHIPPED else PACKAGE.parents[1] / "conf"
# What a person types next: what was typed now; a notebook's reader has train.py in a checkout alone.
TYPED = Path(sys.argv[0]).name
TRAIN = "python train.py" if TYPED == "train.py" or (not SHIPPED and TYPED != "aeprobe") else "aeprobe train"

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


def absolute(path: str | Path) -> Path:
    """As Hydra has it: from the working directory, without `..`, links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def shortest(path: Path) -> Path:
    """Return the path as a person would type it: relative where it lies below the working directory."""
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return absolute(path) if str(short).startswith("~") else short


OmegaConf.register_new_resolver("aeprobe.home", home, replace=True)
OmegaConf.register_new_resolver("aeprobe.train", lambda: TRAIN, replace=True)
