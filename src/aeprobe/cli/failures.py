"""Any error as one line for the person."""

import os
import re
import time

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config.checks import config_error, no_such_key
from aeprobe.errors import AeprobeError, tell

FULL_ERROR, OURS = "HYDRA_FULL_ERROR", "AEPROBE_FULL_ERROR"


def wants_traceback() -> bool:
    """Tell if the person has set Hydra's variable, not this process."""
    return os.environ.get(FULL_ERROR) == "1" and OURS not in os.environ


def hydra_raises() -> None:
    """Let Hydra raise its errors, which it would print over several lines, to be told in one.

    A launcher's processes inherit that: the second variable tells them that it is not the person's.
    """
    if not wants_traceback():
        os.environ[FULL_ERROR] = os.environ[OURS] = "1"


def tell_once(text: str) -> None:
    """Print one line for each machine: its processes were all given the same command."""
    if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0":
        tell(text)
    else:
        time.sleep(1)  # torchrun and srun end all when one has ended: let the line come first


def one_line(error: BaseException) -> str:
    """Return what is wrong, in one line; of an error that nobody expected, with the way to its traceback."""
    if isinstance(error, AeprobeError):  # of one line; a command in it must keep its spaces
        return re.sub(r"\s*\n\s*", " ", str(error))
    text = re.sub(r"\s+", " ", str(error)).strip()
    if ours := re.search(r"AeprobeError raised while resolving interpolation: (.*?)(?: full_key:|$)", text):
        return ours[1]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        names = ", ".join(re.findall(r"^\t([\w-]+)$", str(error), re.MULTILINE))
        there = f"there are {names}" if names else "for a file of conf/experiment type experiment=NAME"
        return f"{error.missing_cfg_file}: no such file in conf/; {there}"
    if isinstance(error, ConfigCompositionException):
        return _uncomposed(text, error.__cause__)
    if isinstance(error, OmegaConfBaseException):
        return config_error(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: cannot be used ({error.strerror}); choose another path"
    if "hydra.cc" in text:  # the grammar of overrides
        text = re.sub(r"See https?://\S+ for details", "", text).strip()
        return (
            text + "; write KEY=VALUE, and quote a value that has = , ( ) [ ] { } or a quote in it: 'ckpt=\"a=b\"'"
        )
    if isinstance(error, HydraException | OSError):
        return text
    return f"{type(error).__name__}: {text} (unexpected; set {FULL_ERROR}=1 for the traceback)"


def _uncomposed(text: str, cause: BaseException | None) -> str:
    """Return one line for what Hydra says of an override that does not fit."""
    key = re.search(r"Could not override '([^']+)'|^In '\S+': .* Key '([^']+)' not in", text)
    key = key or re.search(r"^Override ([^\s=]+)=.* config group '\S+' does not exist", text)
    if key:
        return no_such_key(key[key.lastindex or 0], getattr(cause, "parent_node", None))
    if not isinstance(cause, OmegaConfBaseException):
        return text
    what, given = config_error(cause), re.search(r"override '?([^'\n]+?)'?(?: :|$)", text)
    key = re.match(r"[\w.]+: ", what)
    return f"{given[1]}: {what[key.end() :]}" if given and key and given[1].startswith(key[0][:-2]) else what
