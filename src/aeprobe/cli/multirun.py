"""A multirun as a whole: what it needs, where it writes, and what came of its jobs. Needs no torch."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError

from aeprobe.cli import skip_completed
from aeprobe.config import objective
from aeprobe.config.checks import check
from aeprobe.config.overrides import override, with_preset
from aeprobe.config.schema import Config, Stage, plain
from aeprobe.config.settings import flat
from aeprobe.errors import AeprobeError, tell
from aeprobe.paths import typed_command
from aeprobe.processes import launch
from aeprobe.runs.metrics import find_checkpoint

EXTRAS = {
    "hydra/launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "hydra/launcher=slurm": "hydra_plugins.hydra_submitit_launcher",
    "search=optuna": "optuna",
}


class Multirun(Callback):
    """Looks at a multirun before Hydra makes its directory.

    Attributes:
        directory: of the jobs of this command; None where it is no multirun.
        first: the configuration of the first job of a search in this process.
    """

    directory: ClassVar[Path | None] = None
    first: ClassVar[Config | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse jobs that a search cannot compare, or that do not share a launcher; nothing is written then."""
        forget()
        with suppress(InterpolationResolutionError):  # a name that cannot be: Hydra tells it, and warns here
            Multirun.directory = Path(config.hydra.sweep.dir)
        if Multirun.directory is None:
            return
        try:
            for job in _jobs(config):
                _require_shared(config, job)
                if is_search(config.hydra) and (checked := _checked(job)):
                    require_held_out(checked)
                    require_one_loss(checked)
        except AeprobeError as error:  # Hydra makes a warning of a callback's exceptions
            tell(str(error))
            sys.exit(1)
        Multirun.first = None


def _jobs(config: DictConfig) -> Iterator[DictConfig]:
    """Yield a grid's first job, and one for each further value that decides what can be compared or shared."""
    if not str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):
        return  # a search by Optuna looks at its own
    loader = GlobalHydra.instance().config_loader()
    try:
        typed = with_preset(config.hydra.sweeper.get("params"), list(config.hydra.overrides.task))
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(typed)
        lines = {override.get_key_element(): _lines(override) for override in overrides}
        first = {key: choices[0] for key, choices in lines.items()}
        yield loader.load_sweep_config(config, [*first.values()])
        for override in overrides:
            key = override.get_key_element()
            is_group = bool(loader.get_group_options(override.key_or_group))
            for line in lines[key][1:] if is_group or is_search(config.hydra) else ():
                yield loader.load_sweep_config(config, [*(first | {key: line}).values()])
    except HydraException:
        return  # Hydra, or the job itself, says what is wrong


def _lines(override: Override) -> list[str]:
    if not override.is_discrete_sweep():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _checked(job: DictConfig) -> Config | None:
    """Return a job's configuration, checked; None where the job itself says what is wrong with it."""
    with read_write(job), open_dict(job):
        del job["hydra"]
    try:
        return check(job)
    except AeprobeError:
        return None


def _require_shared(config: DictConfig, job: DictConfig) -> None:
    """Refuse a preset that varies and sets the launcher or the sweeper, which all jobs share."""
    for group in ("launcher", "sweeper"):
        if config.hydra[group] != job.hydra[group]:
            typed, choice = " ".join(job.hydra.overrides.task), job.hydra.runtime.choices[f"hydra/{group}"]
            raise AeprobeError(
                f"{typed}: sets hydra.{group}, which all jobs share, so that no value that varies can choose it; "
                f"type hydra/{group}={choice}"
            )


def forget() -> None:
    """Forget an earlier command of this process."""
    Multirun.directory, Multirun.first = None, None


def is_search(hydra: Any) -> bool:
    """Tell if a multirun of this `hydra` node chooses between its jobs: by search=, its params or its sweeper."""
    asked = hydra.runtime.choices.get("search") or hydra.sweeper.get("params")
    return bool(asked) or not str(hydra.sweeper.get("_target_")).endswith(".BasicSweeper")


def require_one_loss(config: Config) -> None:
    """Refuse a job of a search that is chosen by a loss of another scale than the first job's."""
    Multirun.first = Multirun.first or config
    if (wanted := objective.resolve(config)) is None:
        return
    stage, metric = wanted
    _, keys = objective.comparable(metric, stage, [flat(plain(job)) for job in (Multirun.first, config)])
    if keys:
        name = f"val/{objective.COMPARABLE[stage]}"
        better = override("objective", f"{stage} {name}" if config.stage == Stage.all else name)
        raise AeprobeError(
            f"{', '.join(keys)}: {metric} has another scale for each value, and the search would choose by the "
            f"scale; give {better}"
        )


def require_held_out(config: Config) -> None:
    """Refuse a job of a search whose objective would be measured on the test set: no images are held out."""
    wanted = objective.resolve(config)
    if wanted is None or not wanted[1].startswith("val/"):
        return
    held_out, where, advice = config.data.val_size, "", "hold images out, such as data.val_size=5000"
    if config.stage == Stage.classifier and config.ckpt:  # it keeps the encoder's split
        from aeprobe.models import checkpoints  # imports torch

        stored = checkpoints.read(find_checkpoint(config.ckpt, "autoencoder"))
        held_out = int(stored["datamodule_hyper_parameters"]["val_size"])
        where = f"the encoder in ckpt={config.ckpt} was trained with "
        advice = "search on an encoder that was trained with images held out"
    if held_out == 0:
        raise AeprobeError(
            f"{where}data.val_size=0: the search would choose by the test set, which {wanted[1]} is measured on; "
            f"{advice}, or give objective={wanted[1].replace('val/', 'train/')}"
        )


def require_one_process(arguments: Sequence[str]) -> None:
    """Refuse jobs on several processes, before anything is made for a multirun."""
    asked = [a for a in arguments if re.match(r"trainer(\.strategy)?=.*\bddp\b", a)]
    world = launch.here().world
    if asked or world > 1:
        why = asked[0] if asked else f"{world} processes were started"
        raise AeprobeError(f"{why}: {skip_completed.ALONE.format(typed_command())}")


def require_extras(arguments: Sequence[str]) -> None:
    """Refuse a search that is no multirun, and a launcher or a search whose packages are not installed."""
    search = [argument for argument in arguments if argument.startswith("search=")]
    if search and not {"-m", "--multirun"} & {*arguments}:
        raise AeprobeError(f"{search[0]}: a search has many runs: {typed_command()} -m {search[0]} sweep=NAME")
    for argument, package in EXTRAS.items():
        if argument in arguments and find_spec(package) is None:
            raise AeprobeError(
                f"{argument}: {package.removeprefix('hydra_plugins.')} is not installed: .venv/bin/python -m pip "
                "install --constraint constraints.txt --editable '.[sweep,slurm,optuna]'"
            )


def advice() -> str:
    """Return how to go on with a multirun that was interrupted; "" for one run."""
    return f"; go on by the same command, with sweep={Multirun.directory.name}" if Multirun.directory else ""


def unfinished() -> str:
    """Return a line that names the jobs in the sweep's directory that are not completed; "" where all are."""
    if Multirun.directory is None:
        return ""
    endings = {job.name: skip_completed.ending(job) for job in skip_completed.jobs(Multirun.directory)}
    names = [
        f"{name} ({ending or 'without metrics.json'})" for name, ending in endings.items() if ending != "completed"
    ]
    if not names:
        return ""
    return f"{len(names)} of {len(endings)} jobs are not completed in {Multirun.directory}: {', '.join(names)}"
