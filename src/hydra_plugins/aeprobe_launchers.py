"""Slurm as the launcher of a multirun, through Hydra's submitit plugin. Hydra looks for launchers in this package.

The plugin's own launcher ends the whole command with the first job that comes to nothing, be it cancelled, killed
or refused by the queue. Here each job is submitted and awaited by itself.
"""

import logging
from collections.abc import Sequence
from threading import Semaphore, Thread
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from aeprobe.naming import job_name
from aeprobe.sweep import FailedJobs

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
        import submitit  # noqa: F401 - sets its logger's level
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher

        submitit_launcher.log.setLevel(logging.WARNING)  # it would name the directory for each job
        logging.getLogger("submitit").setLevel(logging.ERROR)  # it warns every second of a cluster without sacct
        self.launcher = submitit_launcher.SlurmLauncher(**self.queue)
        self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submits the jobs and waits for all of them; one without a result has the return value None."""
        numbered = list(enumerate(job_overrides, start=initial_job_idx))
        log.info("Submitting %d jobs to Slurm", len(numbered))
        for number, overrides in numbered:
            log.info("\t#%d : %s", number, " ".join(overrides))
        done: dict[int, JobReturn] = {}
        room = Semaphore(self.most_at_once)
        # Daemons, not a pool: Ctrl-C ends the command, and leaves its jobs in the queue.
        waiting = [Thread(target=self._run, args=(*job, done, room), daemon=True) for job in numbered]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join()
        return [done[number] for number, _ in numbered]

    def _run(self, number: int, overrides: Sequence[str], done: dict[int, JobReturn], room: Semaphore) -> None:
        done[number] = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
        try:
            with room:
                done[number] = self.launcher.launch([overrides], number)[0]
        except Exception as error:  # submitit has several of its own, whose last line says what happened
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            log.error("job #%d ended without a result: %s", number, lines[-1])
            FailedJobs.note("running", job_name(overrides))
