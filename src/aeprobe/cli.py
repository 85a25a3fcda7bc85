"""The command line around Hydra: one job, and one line for every expected failure."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from aeprobe import objective, processes, sweep
from aeprobe.arguments import as_typed_text, check_groups, override
from aeprobe.config import Config, Stage
from aeprobe.directories import discard_unused
from aeprobe.errors import AeprobeError, tell
from aeprobe.hints import hint, unknown_option
from aeprobe.interruption import Interrupted, Interruption, cut_short
from aeprobe.jobs import Jobs, UnfinishedError, is_search
from aeprobe.naming import as_typed
from aeprobe.paths import coming_from, shortest
from aeprobe.rundir import Metrics, mark_interrupted
from aeprobe.sweep import OtherRunError
from aeprobe.validation import config_error, validate

if TYPE_CHECKING:
    from aeprobe import runner  # imports torch

log = logging.getLogger("aeprobe")

_FULL_ERROR, _OURS = "HYDRA_FULL_ERROR", "AEPROBE_FULL_ERROR"
_wants_traceback = _FULL_ERROR in os.environ and _OURS not in os.environ  # the person's own choice


def run(main: Callable[[], object]) -> int:
    """Runs the decorated main function and returns the exit status.

    Hydra prints its errors over several lines and exits. With HYDRA_FULL_ERROR it raises them instead, so
    that they can be told in one line; the variable is taken back before a job starts. A launcher's processes
    inherit it before that: a second one tells them that it is not the person's.
    """
    if not _wants_traceback:
        os.environ[_FULL_ERROR] = os.environ[_OURS] = "1"
    processes.follow()
    if wrong := unknown_option(sys.argv[1:]):
        _tell(wrong)
        return 2  # as argparse does
    try:
        _require_assertions()
        sys.argv[1:] = as_typed_text(sys.argv[1:])
        sweep.require_one_process(sys.argv[1:])
        sweep.require_extras(sys.argv[1:])
        if any(argument.startswith("resume=") for argument in sys.argv[1:]):
            _resume(sys.argv[1:])  # a stored configuration, not a composed one
        else:
            check_groups(sys.argv[1:])
            if not processes.here().first:
                sys.argv.append("hydra.run.dir=.")  # it makes no directory of its own
            with Interruption() if {"-m", "--multirun"} & {*sys.argv} else nullcontext():  # between its jobs too
                main()
    except (KeyboardInterrupt, Interrupted) as error:
        _tell("interrupted" if isinstance(error, KeyboardInterrupt) else error.what + error.advice)
        return error.status if isinstance(error, Interrupted) else 130
    except Exception as error:
        if _wants_traceback:
            raise
        interrupted = cut_short(error)
        _tell("interrupted" if interrupted else _one_line(error))
        return 130 if interrupted else 1
    unfinished = Jobs.unfinished()
    for line in unfinished:
        tell(line)
    return 1 if unfinished else 0


def _require_assertions() -> None:
    """Raises AeprobeError under `python -O`: Hydra's parser takes its steps inside of assert statements."""
    if sys.flags.optimize:
        raise AeprobeError(
            f"Python leaves assertions out here (PYTHONOPTIMIZE={sys.flags.optimize}, or -O), "
            "and Hydra's parser needs them: unset it"
        )


def job(cfg: DictConfig) -> float | None:
    """One run, or one job of a multirun: validate, then build and train. Returns its objective.

    The heavy imports happen in between.

    Raises:
        UnfinishedError: a job of a multirun came to nothing; so its command knows, wherever the job ran.
    """
    with coming_from(Path(HydraConfig.get().runtime.cwd)):
        return _job(cfg)


def _job(cfg: DictConfig) -> float | None:
    if not _wants_traceback:
        os.environ.pop(_FULL_ERROR, None)
    hydra = HydraConfig.get()
    multirun = hydra.mode == RunMode.MULTIRUN
    directory = shortest(Path(hydra.runtime.output_dir))
    overrides = as_typed(hydra.overrides.task)
    try:
        config = validate(cfg, overrides, swept=multirun)
        if multirun and is_search(hydra):
            objective.require_held_out(config)
        before = sweep.status(directory, config) if multirun else None
        if before:
            log.info("%s: %s", directory.name, SAID[before])
        metrics = _execute(config, directory, overrides, resume=before is not None, anew=before == "failed")
        return objective.value(config, metrics)
    except Interrupted as error:
        if not multirun or hydra.launcher._target_.endswith("BasicLauncher"):
            raise
        log.warning("%s: %s", directory.name, error.what)  # in a process of its own: the command tells it
        ended = "interrupted"
    except Exception as error:
        if _wants_traceback or cut_short(error):
            raise
        _failed(error, cfg, directory, overrides if multirun else None)
        ended = "failed"
    finally:
        if not _wants_traceback:
            os.environ[_FULL_ERROR] = "1"
    raise UnfinishedError(ended)  # out here: Hydra keeps it, and an error in it would keep the job's images


def _failed(error: Exception, cfg: DictConfig, directory: Path, overrides: Sequence[str] | None) -> None:
    """Tells it, and ends the process; a job of a multirun, which has overrides, gets a metrics.json instead."""
    _tell(_one_line(error))
    if not processes.here().first:
        sys.exit(1)
    if overrides is None:
        discard_unused(directory)
        sys.exit(1)
    if not isinstance(error, OtherRunError) and not any(directory.rglob("metrics.json")):
        sweep.refuse(directory, cfg, overrides, _one_line(error))


SAID = {
    "completed": "completed before, with the same settings",
    "interrupted": "was interrupted, goes on",
    "failed": "failed before, begins anew",
}


def _resume(arguments: Sequence[str]) -> None:
    from aeprobe.resume import resume

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    run = resume(arguments)
    os.environ.pop(_FULL_ERROR, None)
    _execute(run.config, run.directory, run.overrides, resume=True, changed=run.changed, start=run.start)


def _execute(config: Config, directory: Path, overrides: Sequence[str], **how: Any) -> dict[str, Metrics]:
    """Runs, says what came out, and makes the page of a whole experiment."""
    first = processes.here().first
    alone = config.trainer.strategy != "ddp" or config.trainer.devices == 1 or processes.launched() is not None
    others = nullcontext() if alone else processes.started(config.trainer.devices)
    if not first:
        log.setLevel(logging.CRITICAL)

    def end(signum: int) -> None:
        error = Interrupted(signum)
        if first:
            with suppress(Exception):
                mark_interrupted(directory, f"interrupted by {error}")
                _tell(error.what + _advice(directory))
        processes.end(error.status)

    several = not alone or processes.here().world > 1
    with Interruption() as interruption, interruption.insisting(end) if several else nullcontext(), others:
        try:
            with interruption.blamed():
                from aeprobe import runner

                request = runner.Request(config, directory, overrides, interruption=interruption, **how)
                metrics = runner.run(request)
                if first:
                    _finish(request, metrics)
        except (AeprobeError, Interrupted) as error:
            if not first:
                sys.exit(getattr(error, "status", 1))  # the first process says it, for all
            if not isinstance(error, Interrupted):
                raise
            error.advice = _advice(directory)
            raise
    return metrics


def _advice(directory: Path) -> str:
    """What to type to go on with a run that was interrupted; a directory that it has not used is removed."""
    if any(directory.rglob("metrics.json")):
        return f"; go on with: python train.py {override('resume', str(directory))}"
    discard_unused(directory)
    return ""


def _finish(request: "runner.Request", metrics: dict[str, Metrics]) -> None:
    if not request.ran:
        log.info("%s is completed: nothing is left to do", request.directory)
        return
    _say_result(metrics, request.directory)
    if request.config.stage == Stage.all:
        from aeprobe.report import write_report

        try:
            log.info("page: %s", write_report([request.directory]))
        except Exception as error:  # the run has its results, and keeps them
            log.warning("no page: %s; python -m aeprobe.report %s tries again", error, request.directory)


def _say_result(metrics: dict[str, Metrics], directory: Path) -> None:
    """The final numbers, where they are, and what to type next."""
    for stage, of_stage in metrics.items():
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in of_stage["final"].items())
        log.info("%s (%s checkpoint)  %s", stage, of_stage["checkpoint"], numbers)
    log.info("run directory: %s", directory)
    if "test" not in metrics:
        stage = "test" if "classifier" in metrics else "classifier"
        log.info("next: python train.py stage=%s %s", stage, override("ckpt", str(directory)))


def _tell(text: str) -> None:
    """One line for each machine: its processes were all given the same command."""
    if "LOCAL_RANK" not in os.environ or os.environ["LOCAL_RANK"] == "0":
        tell(text)
    else:
        time.sleep(1)  # torchrun ends all when one has ended: let the line come first


def _one_line(error: BaseException) -> str:
    if isinstance(error, AeprobeError):  # of one line; a command in it must keep its spaces
        return re.sub(r"\s*\n\s*", " ", str(error))
    text = re.sub(r"\s+", " ", str(error)).strip()
    resolver = re.search(r"AeprobeError raised while resolving interpolation: (.*?)(?: full_key:|$)", text)
    if resolver:
        return resolver[1]
    if isinstance(error, MissingConfigException):
        missing, _, options = str(error).partition("Available options in")
        found = re.search(r"Could not find '([^']+)'", missing)
        names = ", ".join(re.findall(r"^\t([\w-]+)$", options, re.MULTILINE))
        if not found:  # --config-name
            return f"{error.missing_cfg_file}: no such file in conf/; a file of conf/experiment: experiment=NAME"
        return f"{found[1]}: no such file in conf/" + (f"; there are {names}" if names else "")
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
    if not isinstance(error, AeprobeError | HydraException | OSError):
        return f"{type(error).__name__}: {text} (unexpected; set {_FULL_ERROR}=1 for the traceback)"
    return text


def _uncomposed(text: str, cause: BaseException | None) -> str | None:
    """One line for what Hydra says of an override that does not fit, if it is known."""
    key = re.search(r"Could not override '([^']+)'|^In '\S+': .* Key '([^']+)' not in", text)
    key = key or re.search(r"^Override ([^\s=]+)=.* config group '\S+' does not exist", text)
    if key:
        name = key[key.lastindex or 0]
        return f"{name}: no such key; {hint(name)}"
    again = re.match(r"Multiple values for (\S+)\. To override a value use 'override \S+: (.*)'$", text)
    if again:
        return f"{again[1]}: is chosen already; without a + before it: {again[1]}={again[2]}"
    if not isinstance(cause, OmegaConfBaseException):
        return None
    what, given = config_error(cause), re.search(r"override '?([^'\n]+?)'?(?: :|$)", text)
    key = re.match(r"[\w.]+: ", what)
    return f"{given[1]}: {what[key.end() :]}" if given and key and given[1].startswith(key[0][:-2]) else what
