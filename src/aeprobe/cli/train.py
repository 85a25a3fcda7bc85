"""The command line around Hydra: what is done before it, one job within it, and what is said afterwards.

    aeprobe train [KEY=VALUE …] [--config-dir DIR]

is `train.py` for those who installed the package, with the conf/ that comes with it. YAMLs of your own lie below
--config-dir, as in conf/, such as DIR/experiment/mine.yaml for experiment=mine.
"""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from aeprobe import nodes
from aeprobe.cli import multirun
from aeprobe.cli.failures import hydra_raises, one_line, tell_once, wants_traceback
from aeprobe.cli.multirun import Multirun, OtherRunError
from aeprobe.cli.resume import resume
from aeprobe.config import objective
from aeprobe.config.checks import check
from aeprobe.config.overrides import argument, as_typed, check_arguments, override, with_homes
from aeprobe.config.schema import Config, Stage, trusted_in
from aeprobe.errors import AeprobeError, end_by_signals, tell
from aeprobe.paths import CONF, operand, shortest, typed_command
from aeprobe.processes import launch
from aeprobe.runs.metrics import Metrics, numbers
from aeprobe.runs.rundir import discard_unused

EXTRAS = {
    "hydra/launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "hydra/launcher=slurm": "hydra_plugins.hydra_submitit_launcher",
    "search=optuna": "optuna",
}

log = logging.getLogger("aeprobe")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def composed(cfg: DictConfig) -> float | None:
    """Run one run, or one job of a multirun; return its objective."""
    return job(cfg)


def main(arguments: Sequence[str]) -> int:
    """Run `aeprobe train`; return the exit status."""
    sys.argv[1:] = arguments
    return run(composed)


def probe(arguments: Sequence[str]) -> int:
    """Run `stage=probe` of the run that is named first; return the exit status."""
    if not arguments or arguments[0].startswith("-"):
        print("usage: aeprobe probe RUN [KEY=VALUE …], as aeprobe train stage=probe ckpt=RUN [KEY=VALUE …]")
        return 0 if arguments else 2
    return main(["stage=probe", argument("ckpt", arguments[0]), *arguments[1:]])


def run(composed: Callable[[], object]) -> int:
    """Run a function that Hydra decorated; return the exit status. Every expected failure is one line."""
    end_by_signals()
    os.environ["MPLBACKEND"] = "agg"  # figures are files; matplotlib's import would end at a wrong name
    status = 0
    try:
        sys.argv[1:] = arguments = checked(sys.argv[1:])
        if any(given.startswith("resume=") for given in arguments):  # a stored configuration, without Hydra
            logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
            execute(**vars(resume(arguments)), resume=True)
        else:
            if not launch.here().first and not any(a.startswith("hydra.run.dir=") for a in arguments):
                sys.argv.append("hydra.run.dir=.")  # it makes no directory of its own
            hydra_raises()
            composed()
    except KeyboardInterrupt as error:
        again = "; go on by the same command, with sweep="
        tell_once(f"interrupted{again + Multirun.directory.name if Multirun.directory else error}")
        status = 130
    except Exception as error:
        if wants_traceback():
            raise
        tell_once(one_line(error))
        status = 1
    sweep, Multirun.directory = Multirun.directory, None
    if sweep:
        if status == 0:
            log.info("next: %s %s", typed_command("results"), operand(sweep))
        if unfinished := multirun.unfinished(sweep):
            tell(unfinished)
            status = status or 1
    return status


def checked(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with the home directory for `~`, if nothing is wrong that Hydra would not notice."""
    arguments = with_homes(arguments)
    first = launch.here().first  # Lightning types Hydra's directory once more for the processes that it starts
    check_arguments(arguments if first else [one for one in arguments if not one.startswith("hydra.")])
    search = next((one for one in arguments if one.startswith("search=")), None)
    if search and not {"-m", "--multirun"} & {*arguments}:
        raise AeprobeError(f"{search}: a search has many runs: {typed_command()} -m {search} sweep=NAME")
    for typed, package in EXTRAS.items():
        if typed in arguments and find_spec(package) is None:
            raise AeprobeError(
                f"{typed}: {package.rpartition('.')[2]} is not installed: .venv/bin/python -m pip install "
                "--constraint constraints.txt --editable '.[sweep,slurm,optuna]'"
            )
    return arguments


def job(cfg: DictConfig) -> float | None:
    """Run the experiment, or one job of a multirun, and return its objective; the heavy imports happen here.

    A job of a multirun that fails tells it, and lets the others run: the command names it at its end.
    """
    own = HydraConfig.get()
    swept = own.mode == RunMode.MULTIRUN
    directory, overrides = shortest(Path(own.runtime.output_dir)), as_typed(own.overrides.task)
    try:
        config, before = check(cfg, overrides), None
        if swept:
            multirun.require_one_process(config.trainer.strategy)
            before = multirun.before(directory, config)
        if before:
            log.info("%s: %s", directory.name, multirun.EARLIER[before])
        metrics = execute(config, directory, overrides, resume=before is not None, anew=before == "failed")
        return objective.value(config, metrics)
    except Exception as error:
        if wants_traceback() or isinstance(error, OtherRunError):  # whose metrics.json is of another job
            raise
        tell_once(one_line(error))
    if swept:
        return None
    if launch.here().first:
        discard_unused(directory)
    sys.exit(1)


def execute(config: Config, directory: Path, overrides: Sequence[str], **how: Any) -> dict[str, Metrics]:
    """Run the stages; `how` is what else a `Request` says. A KeyboardInterrupt's text says how to go on."""
    end_by_signals()  # in a process of joblib or submitit, too
    first = launch.here().first
    if not first:
        log.setLevel(logging.CRITICAL)
    try:
        from aeprobe.training.run import Request, run

        result = run(Request(config, directory, overrides, **how))
    except KeyboardInterrupt as error:
        advice = ""
        if first and any(directory.rglob("metrics.json")):
            advice = f"; go on with: {typed_command()} {override('resume', str(directory))}"
        elif first:
            discard_unused(directory)
        raise KeyboardInterrupt(advice) from error
    if not result.worked:
        log.info("%s is completed: nothing is left to do", directory)
    elif first:
        _say_result(config, directory, result.metrics)
    return result.metrics


def _say_result(config: Config, directory: Path, metrics: dict[str, Metrics]) -> None:
    """Print the final numbers and where they are, make what comes after, and name what one wants next."""
    for stage, of_stage in metrics.items():
        log.info("%s (%s checkpoint)  %s", stage, of_stage["checkpoint"], numbers(of_stage["final"]))
    log.info("run directory: %s", directory)
    pages = [
        file for name, node in config.after.items() if (file := _make(name, node, directory, config, metrics))
    ]
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return  # what comes next is the table over all jobs
    if config.stage == Stage.autoencoder:
        strange = (target for target in trusted_in(config) if not nodes.trusts(target))
        names = ",".join(sorted({target.partition(".")[0] for target in strange}))
        plugins = [shlex.quote(f"plugins=[{names}]")] if names else []
        words = [typed_command(), "stage=classifier", override("ckpt", str(directory)), *plugins]
        log.info("next: %s", " ".join(words))
    elif pages:
        log.info("next: open %s in a browser", operand(pages[-1]))
    elif config.stage == Stage.classifier:
        log.info("next: %s %s", typed_command("report"), operand(directory))


def _make(name: str, node: Any, directory: Path, config: Config, metrics: dict[str, Metrics]) -> Path | None:
    """Make what `after` names of a run, or warn why it cannot be: the run has its results, and keeps them."""
    from aeprobe.after import After

    again = ""
    try:
        after = nodes.build(node, f"after.{name}", After)  # type: ignore[type-abstract]
        again = f"; {typed_command(after.command)} {operand(directory)} tries again" if after.command else ""
        if file := after(directory, config, metrics):
            log.info("%s: %s", name, file)
        return file
    except Exception as error:
        log.warning("no %s: %s%s", name, error, again)
        return None
