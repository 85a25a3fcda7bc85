"""The command line around Hydra: what is done before it, one job within it, and what is said afterwards."""

import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from aeprobe.cli.failures import (
    WANTS_TRACEBACK,
    end_if_short_of_memory,
    hydra_raises,
    one_line,
    own_environment,
    tell_once,
)
from aeprobe.cli.resume import resume
from aeprobe.config import objective
from aeprobe.config.choices import Stage
from aeprobe.config.overrides import as_typed, as_typed_text, check_groups, override, require_once
from aeprobe.config.schema import Config
from aeprobe.config.trust import strange_packages, trusted_in
from aeprobe.errors import AeprobeError, tell
from aeprobe.output import outlive_readers
from aeprobe.paths import coming_from, operand, shortest, typed_command
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
from aeprobe.wording import numbers

log = logging.getLogger("aeprobe")
PAGES = {"report": "page", "playground": "playground"}
EARLIER = {
    "completed": "completed before, with the same settings",
    "interrupted": "was interrupted, goes on",
    "failed": "failed before, begins anew",
}


def run(main: Callable[[], object]) -> int:
    """Runs a command, and returns its exit status; every expected failure is one line.

    Args:
        main: the function that Hydra decorated, which composes the configuration and calls `job`.
    """
    outlive_readers()
    launch.follow()
    Jobs.ended.clear()
    try:
        sys.argv[1:] = arguments = checked(sys.argv[1:])
        if any(argument.startswith("resume=") for argument in arguments):  # a stored configuration, without Hydra
            logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
            execute(**vars(resume(arguments)), resume=True)
        else:
            check_groups(arguments)
            if not launch.here().first:
                sys.argv.append("hydra.run.dir=.")  # it makes no directory of its own
            hydra_raises()
            with Interruption() if {"-m", "--multirun"} & {*arguments} else nullcontext():  # between its jobs too
                main()
    except Interrupted as error:
        tell_once(error.what + error.advice)
        return error.status
    except (KeyboardInterrupt, Exception) as error:
        if WANTS_TRACEBACK and not isinstance(error, KeyboardInterrupt):
            raise
        interrupted = cut_short(error)
        tell_once("interrupted" if interrupted else one_line(error))
        end_if_short_of_memory(error)
        return 130 if interrupted else 1
    if Jobs.ended:
        log.info("next: %s %s", typed_command("results"), operand(Jobs.directory))
    for line in Jobs.unfinished():
        tell(line)
    return 1 if Jobs.unfinished() else 0


def checked(arguments: Sequence[str]) -> list[str]:
    """The arguments, quoted as Hydra's grammar needs them, if nothing is wrong that Hydra would not notice."""
    if sys.flags.optimize:
        raise AeprobeError(
            f"Python leaves assertions out here (PYTHONOPTIMIZE={sys.flags.optimize}, or -O), "
            "and Hydra's parser needs them: unset it"
        )
    quoted = as_typed_text(arguments)
    require_once(quoted)
    earlier.require_one_process(quoted)
    earlier.require_extras(quoted)
    return quoted


def job(cfg: DictConfig) -> float | None:
    """One run, or one job of a multirun: checks the configuration, then builds and trains. Returns its objective.

    The heavy imports happen in between.

    Raises:
        UnfinishedError: a job of a multirun came to nothing; so its command knows, wherever the job ran.
    """
    hydra = HydraConfig.get()
    multirun = hydra.mode == RunMode.MULTIRUN
    with coming_from(Path(hydra.runtime.cwd)), own_environment():
        directory = shortest(Path(hydra.runtime.output_dir))
        overrides = as_typed(hydra.overrides.task)
        try:
            config = check(cfg, overrides)
            if multirun and is_search(hydra):
                require_held_out(config)
            before = earlier.status(directory, config) if multirun else None
            if before:
                log.info("%s: %s", directory.name, EARLIER[before])
            metrics = execute(config, directory, overrides, resume=before is not None, anew=before == "failed")
            return objective.value(config, metrics)
        except Interrupted as error:
            if not multirun or hydra.launcher._target_.endswith("BasicLauncher"):
                raise
            log.warning("%s: %s", directory.name, error.what)  # in a process of its own: the command tells it
            ended = "interrupted"
        except Exception as error:
            if WANTS_TRACEBACK or cut_short(error):
                raise
            _failed(error, cfg, directory, overrides if multirun else None)
            ended = "failed"
    raise UnfinishedError(ended)  # out here: Hydra keeps it, and an error in it would keep the job's images


def _failed(error: Exception, cfg: DictConfig, directory: Path, overrides: Sequence[str] | None) -> None:
    """Tells it, and ends the process; a job of a multirun, which has overrides, gets a metrics.json instead."""
    tell_once(one_line(error))
    if overrides is None:
        if launch.here().first:
            discard_unused(directory)
        end_if_short_of_memory(error)
        sys.exit(1)
    if not isinstance(error, OtherRunError) and not any(directory.rglob("metrics.json")):
        earlier.refuse(directory, cfg, overrides, one_line(error))


def execute(config: Config, directory: Path, overrides: Sequence[str], **how: Any) -> dict[str, Metrics]:
    """Runs the stages, in several processes where that was asked for; `how` is what else a `Request` says."""
    first, several = launch.here().first, config.trainer.devices * config.trainer.num_nodes > 1
    processes = config.trainer.devices if launch.launched() is None else 1  # that this command starts
    if not first:
        log.setLevel(logging.CRITICAL)

    def end(signum: int) -> None:
        error = Interrupted(signum)
        if first:
            with suppress(Exception):
                mark_interrupted(directory, f"interrupted by {error}")
                tell_once(error.what + _advice(directory, processes))
        launch.end(error.status)

    with (
        Interruption() as interruption,
        interruption.insisting(end) if several else nullcontext(),
        launch.started(config.trainer.devices),
    ):
        try:
            with interruption.blamed():
                from aeprobe.training.run import Request, run

                result = run(Request(config, directory, overrides, interruption=interruption, **how))
                if not result.worked:
                    log.info("%s is completed: nothing is left to do", directory)
                elif first:
                    _say_result(config, directory, result.metrics)
        except (AeprobeError, Interrupted) as error:
            if not first:
                sys.exit(getattr(error, "status", 1))  # the first process says it, for all
            if isinstance(error, Interrupted):
                error.advice = _advice(directory, processes)
            raise
    return result.metrics


def _advice(directory: Path, devices: int) -> str:
    """What to type to go on with a run that was interrupted; a directory that it has not used is removed."""
    if any(directory.rglob("metrics.json")):
        several = "" if devices == 1 else f" trainer.devices={devices}"  # which a stored file may not ask for
        return f"; go on with: {typed_command()} {override('resume', str(directory))}{several}"
    discard_unused(directory)
    return ""


def _say_result(config: Config, directory: Path, metrics: dict[str, Metrics]) -> None:
    """Says the final numbers and where they are; a whole experiment gets its pages. Names what one wants next."""
    stages, page = config.stage, None
    for stage, of_stage in metrics.items():
        log.info("%s (%s checkpoint)  %s", stage, of_stage["checkpoint"], numbers(of_stage["final"]))
    log.info("run directory: %s", directory)
    if stages == Stage.all:  # first, so that the page has a link to it
        from aeprobe.inference.playground import write_playground

        _write("playground", lambda: write_playground(directory, plugins=trusted_in(config)), directory)
    if stages == Stage.all or any(of_stage.get("evaluations") for of_stage in metrics.values()):
        from aeprobe.report.write import write_report

        page = _write("report", lambda: write_report([directory], plugins=trusted_in(config)), directory)
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return  # what comes next is the table over all jobs
    if stages == Stage.autoencoder:
        plugins = [shlex.quote(f"plugins=[{','.join(names)}]")] if (names := strange_packages(config)) else []
        words = [typed_command(), "stage=classifier", override("ckpt", str(directory)), *plugins]
        log.info("next: %s", " ".join(words))
    elif page:
        log.info("next: open %s in a browser", operand(page))
    elif stages == Stage.classifier:
        log.info("next: %s %s", typed_command("report"), operand(directory))


def _write(command: str, write: Callable[[], Path], directory: Path) -> Path | None:
    """Writes a page, or says why there is none: the run has its results, and keeps them."""
    try:
        page = write()
    except Exception as error:
        again = f"{typed_command(command)} {operand(directory)}"
        log.warning("no %s: %s; %s tries again", PAGES[command], error, again)
        return None
    log.info("%s: %s", PAGES[command], page)
    return page
