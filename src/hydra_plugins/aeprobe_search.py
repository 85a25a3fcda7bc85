"""Optuna as the sweeper of a multirun. Hydra looks for sweepers in this package.

Hydra's own plugin for it needs Optuna 2 and SQLAlchemy 1, counts its trials from 0 whenever the command is given,
and never takes up a trial that was killed. Here a study goes on: its trials are in a file beside its jobs.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from aeprobe.config import objective
from aeprobe.config.overrides import with_preset
from aeprobe.config.rules import SEED, Rule, word_of
from aeprobe.errors import AeprobeError
from aeprobe.runs.checks import check
from aeprobe.sweeps.jobs import Jobs
from aeprobe.sweeps.space import Choice, combinations

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

log = logging.getLogger("aeprobe")
COUNT = Rule("at least 1, a whole number", lambda number: type(number) is int and number >= 1)
RULES = {
    "n_trials": COUNT,
    "n_jobs": COUNT,
    "seed": Rule("a whole number between 0 and 4294967295", lambda seed: type(seed) is int and SEED.holds(seed)),
    "direction": word_of(("minimize", "maximize")),
}
PLAIN = ("sweep=", "search=", "trainer.progress=")  # overrides that make no other study


@dataclass
class OptunaSweeper(Sweeper):
    """Chooses settings by Optuna's TPE, each from what came out of those before."""

    params: dict[str, str] | None  # what varies, by key: a list or an interval in Hydra's grammar; typed ones win
    n_trials: int  # settings in the whole study, those of earlier commands included
    n_jobs: int  # how many are given to the launcher at a time
    seed: int  # of the sampler
    direction: Literal["minimize", "maximize"]
    objective: str | None  # the metric's name as it was given; None for the stage's own

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Makes the launcher."""
        self.jobs = Jobs(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Runs the trials that are missing.

        Raises:
            AeprobeError: nothing varies, a value cannot be, the study is another one or is at work; nothing was
                stored.
        """
        parser = OverridesParser.create(config_loader=self.jobs.loader)
        given = parser.parse_overrides(with_preset(self.params, arguments))
        overrides = {override.get_key_element(): override for override in given}
        self.choices = {k: Choice(override) for k, override in overrides.items() if override.is_sweep_override()}
        self.lines = {key: str(override.input_line) for key, override in overrides.items()}  # in their order
        if not self.choices:
            raise AeprobeError("search=optuna: nothing varies; give a list or an interval, such as seed=0,1")
        for name, rule in RULES.items():
            rule.require(f"hydra.sweeper.{name}", getattr(self, name))
        self._check()
        with _alone(self.jobs.directory):
            space = {key: choice.distribution() for key, choice in self.choices.items()}
            study = self._study(space)
            self.jobs.begin()
            left = self.n_trials - _take_up(study)
            log.info("study of %d trials, %d left to run", self.n_trials, max(0, left))
            while left > 0:
                trials = [study.ask(space) for _ in range(min(left, self.n_jobs))]
                left -= len(trials)
                self._run(study, trials)
            if _completed(study):
                best = study.best_trial
                settings = " ".join(f"{key}={value}" for key, value in self._settings(best).items())
                log.info("best of the study: trial %d with %.5g: %s", best.number, best.value, settings)

    def _check(self) -> None:
        """Tries each value of a list and both ends of an interval, before anything is stored."""
        listed = {key: choice.listed[0] for key, choice in self.choices.items() if choice.listed}
        config = self.jobs.compose(self._overrides(listed))
        for choice in self.choices.values():
            choice.fit(config)
        wanted = set()
        for settings in combinations(list(self.choices.values())):
            overrides = self._overrides(settings)
            job = check(self.jobs.compose(overrides), overrides)
            wanted.add(objective.resolve(job))
        if None in wanted:
            raise AeprobeError("search=optuna: stage=test trains nothing, so that there is nothing to choose by")
        if len(wanted) > 1:
            found = " and ".join(sorted(" ".join(metric) for metric in wanted if metric))
            raise AeprobeError(f"search=optuna: its jobs are chosen by {found}: give them one objective=")

    def _study(self, space: Mapping[str, "BaseDistribution"]) -> "optuna.Study":
        """The study that the sweep's directory holds, or a new one, also instead of one without results."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file = self.jobs.directory / "study.db"
        where: dict[str, Any] = {"study_name": "aeprobe", "storage": f"sqlite:///{file}"}
        asked = {
            "objective": self.objective,
            "direction": self.direction,
            "varies": {key: choice.typed for key, choice in self.choices.items()},
            "fixed": sorted(o for o in self._overrides({}) if not o.startswith(PLAIN)),
        }
        study = optuna.create_study(**where, direction=self.direction, load_if_exists=True)
        if other := _other(study, asked, space):
            if _completed(study):
                raise AeprobeError(f"{file} is a study of other settings: {other}; choose another sweep=")
            log.info("%s has no result yet and begins anew: %s", file, other)
            optuna.delete_study(**where)
            study = optuna.create_study(**where, direction=self.direction)
        for what, now in asked.items():
            study.set_user_attr(what, now)
        # Another stream than that of the trials before, which the same seed would propose again.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.get_trials(deepcopy=False)))
        return study

    def _run(self, study: "optuna.Study", trials: Sequence["optuna.Trial"]) -> None:
        """Runs some trials at once. One that was interrupted or lost stays as it is, to be taken up."""
        from optuna.trial import TrialState

        batch = [self._overrides(self._settings(trial)) for trial in trials]
        for trial, outcome in zip(trials, self.jobs.run(batch, trials[0].number), strict=True):
            value = outcome.objective
            if value is not None and math.isfinite(value):
                study.tell(trial, value)
            elif outcome.status in ("completed", "failed"):
                study.tell(trial, state=TrialState.FAIL)

    def _settings(self, trial: "optuna.Trial | optuna.trial.FrozenTrial") -> dict[str, str]:
        return {key: self.choices[key].text(value) for key, value in trial.params.items()}

    def _overrides(self, settings: Mapping[str, str]) -> list[str]:
        """What is typed for a job, in the order of the command line: a dictionary may change what varies."""
        chosen = {key: line for key, line in self.lines.items() if key not in self.choices or key in settings}
        return [f"{key}={settings[key]}" if key in settings else line for key, line in chosen.items()]


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keeps other searches out of a study: each would take up the trials of the other.

    Raises:
        AeprobeError: one is at work in it, or it cannot be locked.
    """
    lock = FileLock(directory / ".study.lock", timeout=0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise AeprobeError(
            f"{directory / 'study.db'}: another command searches in it; wait for it, or choose another sweep="
        ) from None
    except OSError as error:
        raise AeprobeError(f"{directory} cannot be written ({error.strerror}): choose another outputs=") from None
    try:
        yield
    finally:
        lock.release()


def _other(study: "optuna.Study", asked: Mapping[str, Any], space: Mapping[str, "BaseDistribution"]) -> str | None:
    """What the study was asked that is not asked now, in words; None: it is the same."""
    for what, now in asked.items():
        before = study.user_attrs.get(what, now)
        if before != now:
            return f"{what} was {json.dumps(before)}, not {json.dumps(now)}"
    for trial in study.get_trials(deepcopy=False):
        for key, before in trial.distributions.items():
            if type(before) is not type(space.get(key, before)):
                return f"{key} had numbers of another kind"
    return None


def _take_up(study: "optuna.Study") -> int:
    """Queues the trials that never ended once more, and returns how many others the study has had."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params, user_attrs={"takes up": trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    taken_up = sum("takes up" in trial.user_attrs for trial in trials)
    return sum(trial.state.is_finished() for trial in trials) - taken_up


def _completed(study: "optuna.Study") -> bool:
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
