"""Optuna as the sweeper of a multirun. Hydra looks for sweepers in this package.

Hydra's own plugin for it needs Optuna 2 and SQLAlchemy 1, counts its trials from 0 whenever the command is given,
and never takes up a trial that was killed. Here a study goes on: its trials are in a file beside its jobs.
"""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from aeprobe.errors import AeprobeError

if TYPE_CHECKING:
    import optuna

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
        params: dict[str, str],
        n_trials: int,
        n_jobs: int,
        seed: int,
        direction: Direction,
        objective: str | None,
    ) -> None:
        self.params, self.n_trials, self.n_jobs, self.seed = dict(params), n_trials, n_jobs, seed
        self.direction, self.objective = direction, objective

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Makes the launcher."""
        self.context, self.directory = hydra_context, Path(config.hydra.sweep.dir)
        self.hydra_context, self.config = hydra_context, config  # for `validate_batch_is_legal`
        self.launching = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs the trials that are missing.

        Raises:
            AeprobeError: nothing varies, a number is out of range, or the study is another one.
        """
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        given = [f"{key}={value}" for key, value in self.params.items()] + arguments
        overrides = {override.get_key_element(): override for override in parser.parse_overrides(given)}
        varying = {key: override for key, override in overrides.items() if override.is_sweep_override()}
        fixed = [str(override.input_line) for key, override in overrides.items() if key not in varying]
        if not varying:
            raise AeprobeError("search=optuna: nothing varies; give a list or an interval, such as seed=0,1")
        for name in ("n_trials", "n_jobs"):
            if not getattr(self, name) >= 1:
                raise AeprobeError(f"hydra.sweeper.{name}={getattr(self, name)}: must be at least 1")
        self.validate_batch_is_legal([[*fixed, *(f"{k}={_first(v)}" for k, v in varying.items())]])
        study = self._study({key: str(override.input_line) for key, override in varying.items()}, fixed)
        taken_up = _take_up(study)
        left = self.n_trials - (len(study.get_trials(deepcopy=False)) - taken_up)
        log.info("study of %d trials, %d left to run", self.n_trials, max(0, left))
        space = {key: _distribution(override) for key, override in varying.items()}
        while left > 0:
            trials = [study.ask(space) for _ in range(min(left, self.n_jobs))]
            left -= len(trials)
            self._run(study, trials, fixed)
        _tell_best(study)

    def _study(self, varying: dict[str, str], fixed: Sequence[str]) -> "optuna.Study":
        """The study that the sweep's directory holds, or a new one."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directory = self.directory
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, directory / "multirun.yaml")
        storage = f"sqlite:///{directory / 'study.db'}"
        study = optuna.create_study(
            storage=storage, study_name="aeprobe", direction=self.direction, load_if_exists=True
        )
        # Another stream than that of the trials before, which the same seed would propose again.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.get_trials(deepcopy=False)))
        asked = {
            "objective": self.objective,
            "direction": self.direction,
            "varies": varying,
            "fixed": sorted(o for o in fixed if not o.startswith(PLAIN)),
        }
        for what, now in asked.items():
            before = study.user_attrs.get(what, now)
            if before != now:
                raise AeprobeError(
                    f"{directory / 'study.db'} is a study of other settings: {what} was {json.dumps(before)}, "
                    f"not {json.dumps(now)}; choose another sweep="
                )
            study.set_user_attr(what, now)
        return study

    def _run(self, study: "optuna.Study", trials: Sequence["optuna.Trial"], fixed: Sequence[str]) -> None:
        """Runs some trials at once. One that was interrupted stays as it is, to be taken up."""
        from optuna.trial import TrialState

        batch = [[*fixed, *(f"{key}={_text(value)}" for key, value in trial.params.items())] for trial in trials]
        self.validate_batch_is_legal(batch)
        for trial, done in zip(trials, self.launching.launch(batch, trials[0].number), strict=True):
            value = done.return_value
            if value is not None and math.isfinite(value):
                study.tell(trial, value)
            elif value is not None:
                study.tell(trial, state=TrialState.FAIL)


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


def _distribution(override: Override) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if override.is_discrete_sweep():
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    low, high, logarithmic = interval.start, interval.end, "log" in interval.tags
    if low is None or high is None or not low < high or (logarithmic and not low > 0):
        raise AeprobeError(
            f"{override.input_line}: an interval goes from a smaller to a greater number; log from above 0"
        )
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=logarithmic)
    return FloatDistribution(low, high, log=logarithmic)


def _first(override: Override) -> str:
    """A value that may be chosen, to see whether the configuration composes with it."""
    if override.is_discrete_sweep():
        return str(next(iter(override.sweep_string_iterator())))
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    return _text(interval.start)


def _text(value: Any) -> str:
    """As it is typed: four digits of a float are enough, and its directory's name stays readable."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _tell_best(study: "optuna.Study") -> None:
    from optuna.trial import TrialState

    if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        best = study.best_trial
        settings = " ".join(f"{key}={_text(value)}" for key, value in best.params.items())
        log.info("best of the study: trial %d with %.5g: %s", best.number, best.value, settings)
