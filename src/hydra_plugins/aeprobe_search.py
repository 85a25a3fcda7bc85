"""Optuna as the sweeper of a multirun. Hydra looks for sweepers in this package.

Hydra's own plugin for it needs Optuna 2 and SQLAlchemy 1, counts its trials from 0 whenever the command is given,
and never takes up a trial that was killed. Here a study goes on: its trials are in a file beside its jobs.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from aeprobe.config import objective
from aeprobe.errors import AeprobeError
from aeprobe.runs.checks import check
from aeprobe.sweeps.jobs import Jobs
from aeprobe.sweeps.space import Choice, combinations

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

log = logging.getLogger("aeprobe")
Direction = Literal["minimize", "maximize"]
PLAIN = ("sweep=", "search=", "trainer.progress=")  # overrides that make no other study


class OptunaSweeper(Sweeper):
    """Chooses settings by Optuna's TPE, each from what came out of those before.

    Args:
        params: what varies, by key: a list or an interval in Hydra's grammar. Typed ones win.
        n_trials: settings in the whole study, those of earlier commands included.
        n_jobs: how many are given to the launcher at a time.
        seed: of the sampler.
        direction: "minimize" or "maximize".
        objective: the metric's name as it was given; None for the stage's own.
    """

    def __init__(
        self,
        params: dict[str, str] | None,
        n_trials: int,
        n_jobs: int,
        seed: int,
        direction: Direction,
        objective: str | None,
    ) -> None:
        self.params, self.n_trials, self.n_jobs, self.seed = dict(params or {}), n_trials, n_jobs, seed
        self.direction, self.objective = direction, objective

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
        given = [f"{key}={value}" for key, value in self.params.items()] + arguments
        overrides = {override.get_key_element(): override for override in parser.parse_overrides(given)}
        choices = {k: Choice(override) for k, override in overrides.items() if override.is_sweep_override()}
        fixed = [str(override.input_line) for key, override in overrides.items() if key not in choices]
        if not choices:
            raise AeprobeError("search=optuna: nothing varies; give a list or an interval, such as seed=0,1")
        for name in ("n_trials", "n_jobs"):
            number = getattr(self, name)
            if not isinstance(number, int) or number < 1:
                raise AeprobeError(f"hydra.sweeper.{name}={number}: must be at least 1")
        self._check(choices, fixed)
        with _alone(self.jobs.directory):
            space = {key: choice.distribution() for key, choice in choices.items()}
            study = self._study(choices, fixed, space)
            self.jobs.begin()
            taken_up = _take_up(study)
            left = self.n_trials - (len(study.get_trials(deepcopy=False)) - taken_up)
            log.info("study of %d trials, %d left to run", self.n_trials, max(0, left))
            while left > 0:
                trials = [study.ask(space) for _ in range(min(left, self.n_jobs))]
                left -= len(trials)
                self._run(study, trials, choices, fixed)
            _tell_best(study, choices)

    def _check(self, choices: Mapping[str, Choice], fixed: Sequence[str]) -> None:
        """Tries each value of a list and both ends of an interval, before anything is stored."""
        listed = {key: choice.listed[0] for key, choice in choices.items() if choice.listed}
        config = self.jobs.compose(_overrides(fixed, listed))
        for choice in choices.values():
            choice.fit(config)
        wanted = set()
        for settings in combinations(list(choices.values())):
            overrides = _overrides(fixed, settings)
            job = check(self.jobs.compose(overrides), overrides)
            wanted.add(objective.resolve(job.objective, job.stage))
        if None in wanted:
            raise AeprobeError("search=optuna: stage=test trains nothing, so that there is nothing to choose by")
        if len(wanted) > 1:
            found = " and ".join(sorted(" ".join(metric) for metric in wanted if metric))
            raise AeprobeError(f"search=optuna: its jobs are chosen by {found}: give them one objective=")

    def _study(
        self, choices: Mapping[str, Choice], fixed: Sequence[str], space: Mapping[str, "BaseDistribution"]
    ) -> "optuna.Study":
        """The study that the sweep's directory holds, or a new one, also instead of one without results."""
        import optuna
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file = self.jobs.directory / "study.db"
        where: dict[str, Any] = {"study_name": "aeprobe", "storage": f"sqlite:///{file}"}
        asked = {
            "objective": self.objective,
            "direction": self.direction,
            "varies": {key: choice.typed for key, choice in choices.items()},
            "fixed": sorted(o for o in fixed if not o.startswith(PLAIN)),
        }
        study = optuna.create_study(**where, direction=self.direction, load_if_exists=True)
        if other := _other(study, asked, space):
            if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                raise AeprobeError(f"{file} is a study of other settings: {other}; choose another sweep=")
            log.info("%s has no result yet and begins anew: %s", file, other)
            optuna.delete_study(**where)
            study = optuna.create_study(**where, direction=self.direction)
        for what, now in asked.items():
            study.set_user_attr(what, now)
        # Another stream than that of the trials before, which the same seed would propose again.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.get_trials(deepcopy=False)))
        return study

    def _run(
        self,
        study: "optuna.Study",
        trials: Sequence["optuna.Trial"],
        choices: Mapping[str, Choice],
        fixed: Sequence[str],
    ) -> None:
        """Runs some trials at once. One that was interrupted or lost stays as it is, to be taken up."""
        from optuna.trial import TrialState

        settings = [{key: choices[key].text(value) for key, value in trial.params.items()} for trial in trials]
        outcomes = self.jobs.run([_overrides(fixed, of_trial) for of_trial in settings], trials[0].number)
        for trial, outcome in zip(trials, outcomes, strict=True):
            value = outcome.objective
            if value is not None and math.isfinite(value):
                study.tell(trial, value)
            elif outcome.status in ("completed", "failed"):
                study.tell(trial, state=TrialState.FAIL)


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


def _overrides(fixed: Sequence[str], settings: Mapping[str, str]) -> list[str]:
    return [*fixed, *(f"{key}={value}" for key, value in settings.items())]


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
    """Queues the trials that never ended once more; returns how many times that was done, and those queued now."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params, user_attrs={"takes up": trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    return sum("takes up" in trial.user_attrs for trial in trials) + sum(
        trial.state == TrialState.WAITING for trial in trials
    )


def _tell_best(study: "optuna.Study", choices: Mapping[str, Choice]) -> None:
    from optuna.trial import TrialState

    if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        best = study.best_trial
        settings = " ".join(f"{key}={choices[key].text(value)}" for key, value in best.params.items())
        log.info("best of the study: trial %d with %.5g: %s", best.number, best.value, settings)
