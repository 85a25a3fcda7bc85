"""Any error as one line for the person."""

import os
import re
import time
import traceback

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config.checks import config_error
from aeprobe.config.hints import no_such_key
from aeprobe.errors import AeprobeError, tell

FULL_ERROR, OURS = "HYDRA_FULL_ERROR", "AEPROBE_FULL_ERROR"
PRESETS = ("experiment", "search")  # groups whose files need the line `# @package _global_`
WANTS_TRACEBACK = os.environ.get(FULL_ERROR) == "1" and OURS not in os.environ  # the person's own choice


def hydra_raises() -> None:
    """Lets Hydra raise its errors, which it would print over several lines, to be told in one.

    A launcher's processes inherit that: the second variable tells them that it is not the person's.
    """
    if not WANTS_TRACEBACK:
        os.environ[FULL_ERROR] = os.environ[OURS] = "1"


def tell_once(text: str) -> None:
    """One line for each machine: its processes were all given the same command."""
    if "LOCAL_RANK" not in os.environ or os.environ["LOCAL_RANK"] == "0":
        tell(text)
    else:
        time.sleep(1)  # torchrun ends all when one has ended: let the line come first


def one_line(error: BaseException) -> str:
    """What is wrong, in one line; of an error that nobody expected, with the way to its traceback."""
    if isinstance(error, AeprobeError):  # of one line; a command in it must keep its spaces
        return re.sub(r"\s*\n\s*", " ", str(error))
    text = re.sub(r"\s+", " ", str(error)).strip()
    resolver = re.search(r"AeprobeError raised while resolving interpolation: (.*?)(?: full_key:|$)", text)
    if resolver:
        return resolver[1]
    if isinstance(error, MissingConfigException):
        return _missing(error) or text
    if isinstance(error, ConfigCompositionException) and (line := _uncomposed(text, error.__cause__)):
        return line
    if isinstance(error, OmegaConfBaseException):
        return config_error(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: cannot be used ({error.strerror}); choose another path"
    if "hydra.cc" in text:  # the grammar of overrides
        text = re.sub(r"See https?://\S+ for details", "", text).strip()
        advice = "write KEY=VALUE, and quote a value that has = , ( ) [ ] { } or a quote in it: 'ckpt=\"a=b\"'"
        return f"{text}; {advice}"
    if isinstance(error, HydraException | OSError) or _is_hydras(error):
        return text
    return _of_others(error, text)


def _of_others(error: BaseException, text: str) -> str:
    """One line for what neither this project nor Hydra raised."""
    if type(error).__module__.partition(".")[0] in ("sqlite3", "sqlalchemy", "optuna"):
        return f"study.db is damaged, or no study of this project ({text:.80}): choose another sweep="
    return f"{type(error).__name__}: {text} (unexpected; set {FULL_ERROR}=1 for the traceback)"


def _missing(error: MissingConfigException) -> str | None:
    """One line for a file of conf/ that is not there."""
    missing, _, options = str(error).partition("Available options in")
    found = re.search(r"Could not find '([^']+)'", missing)
    names = ", ".join(re.findall(r"^\t([\w-]+)$", options, re.MULTILINE))
    if found:
        return f"{found[1]}: no such file in conf/" + (f"; there are {names}" if names else "")
    name = error.missing_cfg_file  # --config-name
    return f"{name}: no such file in conf/; a file of conf/experiment: experiment=NAME" if name else None


def _is_hydras(error: BaseException) -> bool:
    """Whether Hydra raised it, of options that do not go together and the like."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and str(frames[-1].f_globals.get("__name__")).startswith("hydra.")


def _uncomposed(text: str, cause: BaseException | None) -> str | None:
    """One line for what Hydra says of an override that does not fit, if it is known."""
    key = re.search(r"Could not override '([^']+)'|^In '\S+': .* Key '([^']+)' not in", text)
    key = key or re.search(r"^Override ([^\s=]+)=.* config group '\S+' does not exist", text)
    if key:
        name = key[key.lastindex or 0]
        preset = re.match(rf"In '(({'|'.join(PRESETS)})/\S+)': ", text)
        if preset and re.search(rf"(^|@){preset[2]}\b", name):
            return (
                f"{preset[1]}.yaml: lacks the line `# @package _global_`, so that its keys are below {preset[2]}"
            )
        return no_such_key(name, getattr(cause, "parent_node", None))
    again = re.match(r"Multiple values for (\S+)\. To override a value use 'override \S+: (.*)'$", text)
    if again:
        return f"{again[1]}: is chosen already; without a + before it: {again[1]}={again[2]}"
    if not isinstance(cause, OmegaConfBaseException):
        return None
    what, given = config_error(cause), re.search(r"override '?([^'\n]+?)'?(?: :|$)", text)
    key = re.match(r"[\w.]+: ", what)
    return f"{given[1]}: {what[key.end() :]}" if given and key and given[1].startswith(key[0][:-2]) else what
