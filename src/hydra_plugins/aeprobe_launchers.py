"""Slurm as the launcher of a multirun, through Hydra's submitit plugin. Hydra looks for launchers in this package.

The plugin's own launcher ends the whole command with the first job that comes to nothing, be it cancelled, killed
or refused by the queue. Here each job is submitted and awaited by itself.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

log = logging.getLogger("aeprobe")


class SlurmLauncher(Launcher):
    """Each job of a multirun as a job of Slurm.

    Args:
        most_at_once: how many jobs of this command are in the queue at one time.
        queue: submitit's parameters, as in the plugin's `hydra/launcher=submitit_slurm`.
    """

    def __init__(self, most_at_once: int, **queue: Any) -> None:
        self.most_at_once, self.queue = most_at_once, queue

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Prepares the plugin's launcher; its package is imported here, so that Hydra starts without it."""
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher

        submitit_launcher.log.setLevel(logging.WARNING)  # it would name the directory for each job
        self.launcher = submitit_launcher.SlurmLauncher(**self.queue)
        self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submits the jobs and waits for all of them; one without a result has the return value None."""
        numbered = list(enumerate(job_overrides, start=initial_job_idx))
        log.info("Submitting %d jobs to Slurm", len(numbered))
        for number, overrides in numbered:
            log.info("\t#%d : %s", number, " ".join(overrides))
        with ThreadPoolExecutor(self.most_at_once) as pool:
            return list(pool.map(self._run, *zip(*numbered, strict=True)))

    def _run(self, number: int, overrides: Sequence[str]) -> JobReturn:
        try:
            done: JobReturn = self.launcher.launch([overrides], number)[0]
        except Exception as error:  # submitit has several of its own, whose last line says what happened
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            log.error("job #%d ended without a result: %s", number, lines[-1])
            return JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
        return done
