"""Optuna as the sweeper of a multirun, in the package where Hydra looks for sweepers.

Hydra's own plugin for it (1.3.0) needs Optuna 2. Here a study goes on: its trials are in a file beside its jobs.
As there, interval(1,5) draws floats and int(interval(1,5)) whole numbers.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from aeprobe.cli.multirun import require_comparable, without_hydra
from aeprobe.config import objective
from aeprobe.config.checks import check
from aeprobe.errors import AeprobeError

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

log = logging.getLogger("aeprobe")
PLAIN = ("sweep=", "search=", "trainer.progress=")  # overrides that make no other study


@dataclass
class OptunaSweeper(Sweeper):
    """Choose settings by Optuna's TPE, each by the results of those before."""

    params: dict[str, str] | None  # what varies, by key: a list or an interval in Hydra's grammar; typed ones win
    n_trials: int  # settings in the whole study, those of earlier commands included
    n_jobs: int  # how many are given to the launcher at a time
    seed: int  # of the sampler
    direction: Literal["minimize", "maximize"]
    objective: str | None  # the metric's name as it was given; None for the stage's own

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher."""
        self.loader, self.sweep_config = hydra_context.config_loader, config
        self.job_launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are missing; raise AeprobeError, and store nothing, for a value that cannot be."""
        parser = OverridesParser.create(config_loader=self.loader)
        preset = [f"{key}={value}" for key, value in (self.params or {}).items()]
        given = parser.parse_overrides([*preset, *arguments])
        overrides = {override.get_key_element(): override for override in given}
        self.lines = {key: str(override.input_line) for key, override in overrides.items()}  # in their order
        self.space = {key: distribution(each) for key, each in overrides.items() if each.is_sweep_override()}
        if not self.space:
            raise AeprobeError("search=optuna: nothing varies; give a list or an interval, such as seed=0,1")
        self._check()
        study = self._study()
        left = self.n_trials - _take_up(study)
        log.info("study of %d trials, %d left to run", self.n_trials, max(0, left))
        for begun in range(0, left, self.n_jobs):
            self._run(study, [study.ask(self.space) for _ in range(min(left - begun, self.n_jobs))])
        if any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
            best = study.best_trial
            settings = " ".join(f"{key}={value}" for key, value in self._typed(best).items())
            log.info("best of the study: trial %d with %.5g: %s", best.number, best.value, settings)

    def _check(self) -> None:
        """Try each value of a list and both ends of an interval, before anything is stored."""
        values = {key: ends(varied) for key, varied in self.space.items()}
        first = {key: tried[0] for key, tried in values.items()}
        jobs = []
        for settings in [first, *(first | {key: value} for key in values for value in values[key][1:])]:
            overrides = self._overrides(settings)
            job = self.loader.load_sweep_config(self.sweep_config, overrides)
            jobs.append(check(without_hydra(job), overrides))
        require_comparable(jobs)
        wanted = {objective.resolve(config) for config in jobs}
        if len(wanted) > 1 or None in wanted:
            metrics = " and ".join(sorted(" ".join(metric) if metric else "nothing" for metric in wanted))
            raise AeprobeError(f"search=optuna: its jobs are chosen by {metrics}: give them one objective=")

    def _study(self) -> "optuna.Study":
        """Return the study that the sweep's directory holds, or a new one."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file = Path(self.sweep_config.hydra.sweep.dir, "study.db")
        file.parent.mkdir(parents=True, exist_ok=True)
        asked = {
            "objective": self.objective,
            "direction": self.direction,
            "varies": {key: self.lines[key] for key in self.space},
            "fixed": sorted(o for o in self._overrides({}) if not o.startswith(PLAIN)),
        }
        study = optuna.create_study(
            study_name="aeprobe", storage=f"sqlite:///{file}", direction=self.direction, load_if_exists=True
        )
        if (before := study.user_attrs.get("settings", asked)) != asked:
            raise AeprobeError(f"{file} is a study of other settings: {json.dumps(before)}; choose another sweep=")
        study.set_user_attr("settings", asked)
        # Another stream than that of the trials before, which the same seed would propose again.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.get_trials(deepcopy=False)))
        return study

    def _run(self, study: "optuna.Study", trials: Sequence["optuna.Trial"]) -> None:
        """Run some trials at once; those of a command that is ended stay as they are, to be taken up."""
        from optuna.trial import TrialState

        batch = [self._overrides(self._typed(trial)) for trial in trials]
        for trial, done in zip(trials, self.job_launcher.launch(batch, trials[0].number), strict=True):
            if done.status != JobStatus.COMPLETED:
                raise done._return_value  # the property would print it, too
            value = done._return_value
            known = value is not None and math.isfinite(value)
            study.tell(trial, value if known else None, None if known else TrialState.FAIL)

    def _typed(self, trial: "optuna.Trial | optuna.trial.FrozenTrial") -> dict[str, str]:
        return {key: text(self.space[key], value) for key, value in trial.params.items()}

    def _overrides(self, settings: Mapping[str, str]) -> list[str]:
        """Return a job's overrides in the order of the command line: a dictionary may change what varies."""
        chosen = {key: line for key, line in self.lines.items() if key not in self.space or key in settings}
        return [f"{key}={settings[key]}" if key in settings else line for key, line in chosen.items()]


def _take_up(study: "optuna.Study") -> int:
    """Queue the trials that never ended once more, and return how many others the study has had."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params, user_attrs={"takes up": trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    taken_up = sum("takes up" in trial.user_attrs for trial in trials)
    return sum(trial.state.is_finished() for trial in trials) - taken_up


def distribution(override: Override) -> "BaseDistribution":
    """Return Optuna's distribution of a key that varies by a list or by an interval."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if override.is_discrete_sweep():
        return CategoricalDistribution([*dict.fromkeys(override.sweep_string_iterator())])
    interval: Any = override.value()
    kind = IntDistribution if isinstance(interval.start, int) else FloatDistribution
    try:
        return kind(interval.start, interval.end, "log" in interval.tags)
    except ValueError as error:
        raise AeprobeError(f"{override.input_line}: {error}") from None


def ends(varied: Any) -> list[str]:
    """Return the values of a distribution to check: each of a list, both ends of an interval."""
    listed = getattr(varied, "choices", None) or (varied.low, varied.high)
    return [text(varied, value) for value in listed]


def text(varied: Any, value: Any) -> str:
    """Return a value of a distribution as it is typed. Four digits of a float make a readable name."""
    if isinstance(value, float):
        value = min(max(float(f"{value:.4g}"), varied.low), varied.high)
    return str(value)
