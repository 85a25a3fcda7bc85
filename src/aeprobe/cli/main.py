"""The command line around Hydra: one job, and one line for every expected failure."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from aeprobe.cli.failures import FULL_ERROR, one_line, tell_once
from aeprobe.config import objective
from aeprobe.config.hints import unknown_option
from aeprobe.config.overrides import as_typed, as_typed_text, check_groups, override
from aeprobe.config.schema import Config, Stage
from aeprobe.errors import AeprobeError, tell
from aeprobe.paths import coming_from, shortest
from aeprobe.processes import launch
from aeprobe.processes.signals import Interrupted, Interruption, cut_short
from aeprobe.runs.checks import check
from aeprobe.runs.metrics import Metrics
from aeprobe.runs.ownership import discard_unused
from aeprobe.runs.run_directory import mark_interrupted
from aeprobe.sweeps import earlier
from aeprobe.sweeps.earlier import OtherRunError
from aeprobe.sweeps.held_out import require_held_out
from aeprobe.sweeps.jobs import Jobs, UnfinishedError, is_search

if TYPE_CHECKING:
    from aeprobe.training.run import Request, Result  # imports torch

log = logging.getLogger("aeprobe")

_OURS = "AEPROBE_FULL_ERROR"
_wants_traceback = FULL_ERROR in os.environ and _OURS not in os.environ  # the person's own choice


def run(main: Callable[[], object]) -> int:
    """Runs the decorated main function and returns the exit status.

    Hydra prints its errors over several lines and exits. With HYDRAFULL_ERROR it raises them instead, so
    that they can be told in one line; the variable is taken back before a job starts. A launcher's processes
    inherit it before that: a second one tells them that it is not the person's.
    """
    if not _wants_traceback:
        os.environ[FULL_ERROR] = os.environ[_OURS] = "1"
    launch.follow()
    if wrong := unknown_option(sys.argv[1:]):
        tell_once(wrong)
        return 2  # as argparse does
    Jobs.ended.clear()
    try:
        _require_assertions()
        sys.argv[1:] = as_typed_text(sys.argv[1:])
        earlier.require_one_process(sys.argv[1:])
        earlier.require_extras(sys.argv[1:])
        if any(argument.startswith("resume=") for argument in sys.argv[1:]):
            _resume(sys.argv[1:])  # a stored configuration, not a composed one
        else:
            check_groups(sys.argv[1:])
            if not launch.here().first:
                sys.argv.append("hydra.run.dir=.")  # it makes no directory of its own
            with Interruption() if {"-m", "--multirun"} & {*sys.argv} else nullcontext():  # between its jobs too
                main()
    except (KeyboardInterrupt, Interrupted) as error:
        tell_once("interrupted" if isinstance(error, KeyboardInterrupt) else error.what + error.advice)
        return error.status if isinstance(error, Interrupted) else 130
    except Exception as error:
        if _wants_traceback:
            raise
        interrupted = cut_short(error)
        tell_once("interrupted" if interrupted else one_line(error))
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
        os.environ.pop(FULL_ERROR, None)
    hydra = HydraConfig.get()
    multirun = hydra.mode == RunMode.MULTIRUN
    directory = shortest(Path(hydra.runtime.output_dir))
    overrides = as_typed(hydra.overrides.task)
    try:
        config = check(cfg, overrides, swept=multirun)
        if multirun and is_search(hydra):
            require_held_out(config)
        before = earlier.status(directory, config) if multirun else None
        if before:
            log.info("%s: %s", directory.name, EARLIER[before])
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
            os.environ[FULL_ERROR] = "1"
    raise UnfinishedError(ended)  # out here: Hydra keeps it, and an error in it would keep the job's images


def _failed(error: Exception, cfg: DictConfig, directory: Path, overrides: Sequence[str] | None) -> None:
    """Tells it, and ends the process; a job of a multirun, which has overrides, gets a metrics.json instead."""
    tell_once(one_line(error))
    if not launch.here().first:
        sys.exit(1)
    if overrides is None:
        discard_unused(directory)
        sys.exit(1)
    if not isinstance(error, OtherRunError) and not any(directory.rglob("metrics.json")):
        earlier.refuse(directory, cfg, overrides, one_line(error))


EARLIER = {
    "completed": "completed before, with the same settings",
    "interrupted": "was interrupted, goes on",
    "failed": "failed before, begins anew",
}


def _resume(arguments: Sequence[str]) -> None:
    from aeprobe.cli.resume import resume

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    run = resume(arguments)
    os.environ.pop(FULL_ERROR, None)
    _execute(run.config, run.directory, run.overrides, resume=True, changed=run.changed, start=run.start)


def _execute(config: Config, directory: Path, overrides: Sequence[str], **how: Any) -> dict[str, Metrics]:
    """Runs, says what came out, and makes the page of a whole experiment."""
    first = launch.here().first
    alone = config.trainer.strategy != "ddp" or config.trainer.devices == 1 or launch.launched() is not None
    others = nullcontext() if alone else launch.started(config.trainer.devices)
    if not first:
        log.setLevel(logging.CRITICAL)

    def end(signum: int) -> None:
        error = Interrupted(signum)
        if first:
            with suppress(Exception):
                mark_interrupted(directory, f"interrupted by {error}")
                tell_once(error.what + _advice(directory))
        launch.end(error.status)

    several = not alone or launch.here().world > 1
    with Interruption() as interruption, interruption.insisting(end) if several else nullcontext(), others:
        try:
            with interruption.blamed():
                from aeprobe.training.run import Request, run

                request = Request(config, directory, overrides, interruption=interruption, **how)
                result = run(request)
                if first:
                    _finish(request, result)
        except (AeprobeError, Interrupted) as error:
            if not first:
                sys.exit(getattr(error, "status", 1))  # the first process says it, for all
            if not isinstance(error, Interrupted):
                raise
            error.advice = _advice(directory)
            raise
    return result.metrics


def _advice(directory: Path) -> str:
    """What to type to go on with a run that was interrupted; a directory that it has not used is removed."""
    if any(directory.rglob("metrics.json")):
        return f"; go on with: python train.py {override('resume', str(directory))}"
    discard_unused(directory)
    return ""


def _finish(request: "Request", result: "Result") -> None:
    if not result.worked:
        log.info("%s is completed: nothing is left to do", request.directory)
        return
    _say_result(result.metrics, request.directory)
    if request.config.stage == Stage.all:
        from aeprobe.report.write import write_report

        try:
            log.info("page: %s", write_report([request.directory]))
        except Exception as error:  # the run has its results, and keeps them
            log.warning("no page: %s; aeprobe report %s tries again", error, request.directory)


def _say_result(metrics: dict[str, Metrics], directory: Path) -> None:
    """The final numbers, where they are, and what to type next."""
    for stage, of_stage in metrics.items():
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in of_stage["final"].items())
        log.info("%s (%s checkpoint)  %s", stage, of_stage["checkpoint"], numbers)
    log.info("run directory: %s", directory)
    if "test" not in metrics:
        stage = "test" if "classifier" in metrics else "classifier"
        log.info("next: python train.py stage=%s %s", stage, override("ckpt", str(directory)))
