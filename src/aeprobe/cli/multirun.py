"""A multirun as a whole: what it needs, where it writes, and what came of its jobs. Needs no torch."""

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError

from aeprobe.cli import skip_completed
from aeprobe.config import objective
from aeprobe.config.choices import Stage
from aeprobe.config.overrides import override
from aeprobe.config.schema import Config, plain
from aeprobe.config.settings import flat
from aeprobe.errors import AeprobeError, tell
from aeprobe.paths import typed_command
from aeprobe.processes import launch
from aeprobe.runs.checks import check
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
        """Refuse a search whose fixed settings already choose by the test set: nothing is written then."""
        Multirun.first = None
        with suppress(InterpolationResolutionError):  # a name that cannot be: Hydra tells it, and warns here
            Multirun.directory = Path(config.hydra.sweep.dir)
        if Multirun.directory is None or not is_search(config.hydra):
            return
        fixed = OmegaConf.create(config)
        with open_dict(fixed):
            del fixed["hydra"]
        try:
            checked = check(fixed)
        except AeprobeError:  # what varies may be what is missing: the jobs say what is wrong
            return
        try:
            require_held_out(checked)
        except AeprobeError as error:  # Hydra makes a warning of a callback's exceptions
            tell(str(error))
            sys.exit(1)


def forget() -> None:
    """Forget an earlier command of this process."""
    Multirun.directory = None


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
    names = [f"{name} ({ending})" for name, ending in endings.items() if ending != "completed"]
    if not names:
        return ""
    return f"{len(names)} of {len(endings)} jobs are not completed in {Multirun.directory}: {', '.join(names)}"
