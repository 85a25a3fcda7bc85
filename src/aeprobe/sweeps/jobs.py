"""The jobs of one multirun: each is run once, and says itself what it came to. Needs no torch."""

import logging
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config.schema import STAGES, Config
from aeprobe.errors import AeprobeError, tell
from aeprobe.paths import typed_command
from aeprobe.processes.signals import Interrupted
from aeprobe.runs.checks import check
from aeprobe.runs.metrics import read_metrics
from aeprobe.sweeps.held_out import require_held_out, require_one_loss

log = logging.getLogger("aeprobe")
GRID = "hydra_plugins.aeprobe_grid.GridSweeper"
JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"  # see `aeprobe_launchers`
WORKERS = "hydra_plugins.aeprobe_launchers.WorkersLauncher"
GRIDS = (GRID, "hydra._internal.core_plugins.basic_sweeper.BasicSweeper")
ENDINGS = {
    "failed": "failed",
    "interrupted": "interrupted, to go on by the same command",
    "lost": "ended without a result",  # its process was killed, or never began
}


class UnfinishedError(AeprobeError):
    """A job came to nothing; why was told where it happened. Its status is a key of ENDINGS."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        return f"a job {ENDINGS[self.status]}"


@dataclass(frozen=True)
class Job:
    """One job of a multirun. Two with the same `settings`, its whole configuration, are the same job."""

    overrides: Sequence[str]
    name: str  # its directory's, below that of the sweep
    settings: str


@dataclass(frozen=True)
class Outcome:
    """What a job came to: "completed" or a key of ENDINGS, and the number that a search looks at, if any."""

    status: str
    objective: float | None = None


class Jobs:
    """Composes and launches the jobs of a multirun, for any sweeper and any launcher.

    The arguments are those of a sweeper's `setup`.
    """

    ended: ClassVar[dict[str, str]] = {}  # the status of every job that this command has run, by its name
    directory: ClassVar[Path] = Path()  # the sweep's

    def __init__(self, context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.config = context.config_loader, config
        self._way = _way(config)
        if config.hydra.launcher._target_ == JOBLIB:
            with read_write(config), open_dict(config.hydra.launcher):
                config.hydra.launcher._target_ = WORKERS
        self.launcher = Plugins.instance().instantiate_launcher(context, task_function, config)
        self.search = is_search(config.hydra)
        self._known: dict[tuple[str, ...], Job] = {}  # to compose takes a tenth of a second
        self._outcomes: dict[str, Outcome] = {}
        self._first: Config | None = None
        Jobs.directory = Path(config.hydra.sweep.dir)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, without Hydra's own node, as its launcher will compose it.

        Raises:
            AeprobeError: it is one of a search that would look at the test set, or compare other losses.
            HydraException: its overrides make no configuration.
        """
        config = self.loader.load_sweep_config(self.config, list(overrides))
        name = str(config.hydra.sweep.subdir)
        self._require_same_way(config, overrides)
        with read_write(config), open_dict(config):
            del config["hydra"]
        if self.search:
            try:
                checked = check(config, overrides)
            except AeprobeError:
                pass  # it cannot run, and will say so itself
            else:
                require_held_out(checked)
                self._first = self._first or checked
                require_one_loss(self._first, checked)
        try:
            settings = OmegaConf.to_yaml(config, resolve=True)
        except OmegaConfBaseException:  # the job itself will tell what is wrong
            settings = OmegaConf.to_yaml(config)
        self._known[tuple(overrides)] = Job(overrides, name, settings)
        return config

    def _require_same_way(self, config: DictConfig, overrides: Sequence[str]) -> None:
        """Raises AeprobeError where one of several presets sets the launcher or the sweeper, too late for both."""
        choices, before = config.hydra.runtime.choices, self.config.hydra.runtime.choices
        for group, now in _way(config).items():
            different = [key for key in now if now[key] != self._way[group].get(key)]
            if different:
                chosen = choices[f"hydra/{group}"]
                other = chosen != before[f"hydra/{group}"]
                typed = f"hydra/{group}={chosen}" if other else f"hydra.{group}.{different[0]}={now[different[0]]}"
                presets = [one for one in overrides if one.startswith(("experiment=", "search="))] or overrides
                raise AeprobeError(
                    f"{' '.join(presets)}: sets hydra.{group}, which all jobs share, so that no value "
                    f"that varies can choose it; type {typed}"
                )

    def begin(self) -> None:
        """Makes the sweep's directory, with its configuration; to be called once nothing is refused."""
        self.directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.directory / "multirun.yaml")

    def run(self, batch: Sequence[Sequence[str]], first: int) -> list[Outcome]:
        """Launches some jobs, waits for all of them, and returns one outcome for each.

        Args:
            batch: the overrides of each job. One that is the same as another of this command is not run again.
            first: the number of the first.

        Raises:
            Interrupted: a signal came; it says what to type to go on.
        """
        jobs = [self._composed(overrides) for overrides in batch]
        new = {job.settings: job for job in jobs if job and job.settings not in self._outcomes}
        launched = list(new.values())
        if doubles := sum(job is not None for job in jobs) - len(launched):
            log.info("%d of %d jobs are the same as another, and run once with it", doubles, len(jobs))
        try:
            returned = self.launcher.launch([job.overrides for job in launched], first) if launched else []
        except Interrupted as error:
            error.advice = f"; go on with: {self._command()}"
            raise
        for job, done in zip(launched, returned, strict=True):
            self._outcomes[job.settings] = _note(job, done)
        return [self._outcomes[job.settings] if job else Outcome("failed") for job in jobs]

    def _composed(self, overrides: Sequence[str]) -> Job | None:
        """A combination of values may be wrong where each of them is right: that is a failed job."""
        try:
            if tuple(overrides) not in self._known:
                self.compose(overrides)
            return self._known[tuple(overrides)]
        except (AeprobeError, HydraException, OmegaConfBaseException) as error:
            tell(f"{' '.join(overrides)}: {str(error).partition(chr(10))[0]}")
            Jobs.ended[" ".join(overrides)] = "failed"
            return None

    def _command(self) -> str:
        """This command once more, with the sweep's name."""
        given = sys.argv[1:]
        named = any(argument.startswith(("sweep=", "hydra.sweep.dir=")) for argument in given)
        return f"{typed_command()} {shlex.join([*given, *([] if named else [f'sweep={self.config.sweep}'])])}"

    @classmethod
    def unfinished(cls) -> list[str]:
        """A line for each way in which jobs of this command came to nothing."""
        lines = []
        for status, ending in ENDINGS.items():
            if names := [name for name, ended in cls.ended.items() if ended == status]:
                lines.append(f"{len(names)} {ending} in {cls.directory}: {', '.join(names)}")
        return lines


def _way(config: DictConfig) -> dict[str, Any]:
    """The settings of the launcher and the sweeper, as they stand in the configuration."""
    return {group: OmegaConf.to_container(config.hydra[group]) for group in ("launcher", "sweeper")}


def _note(job: Job, done: JobReturn) -> Outcome:
    value = done._return_value  # the property writes to stderr and raises what the job has told already
    if done.status == JobStatus.COMPLETED:
        outcome = Outcome("completed", value)
    elif isinstance(value, UnfinishedError):
        outcome = Outcome(value.status if value.status != "lost" else _left(Jobs.directory / job.name))
    elif isinstance(value, AeprobeError):
        tell(f"{job.name}: {value}")
        outcome = Outcome("failed")
    else:
        raise value
    Jobs.ended[job.name] = outcome.status
    return outcome


def _left(directory: Path) -> str:
    """The status of a job that said nothing: a queue may end it once it has marked itself interrupted."""
    for part in (directory, *(directory / stage for stage in STAGES)):
        with suppress(AeprobeError):
            if read_metrics(part)["status"] == "interrupted":
                return "interrupted"
    return "lost"


def is_search(hydra: Any) -> bool:
    """Whether a multirun of this `hydra` node chooses between its jobs: by search=, its params or its sweeper."""
    asked = hydra.runtime.choices.get("search") or hydra.sweeper.get("params")
    return bool(asked) or hydra.sweeper.get("_target_") not in GRIDS
