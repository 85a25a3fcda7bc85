"""The launchers of a multirun, on Hydra's plugins for joblib and submitit. Hydra looks for them in this package.

Those of the plugins end the whole command with the first job that comes to nothing, be it cancelled, killed or
refused by the queue. Here each job ends by itself.
"""

import logging
import os
from collections.abc import Sequence
from functools import partial
from threading import Semaphore, Thread
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from aeprobe.errors import AeprobeError
from aeprobe.processes.signals import Interrupted
from aeprobe.sweeps.jobs import UnfinishedError
from aeprobe.sweeps.workers import Workers

log = logging.getLogger("aeprobe")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkersLauncher(Launcher):
    """`hydra/launcher=joblib`: several jobs at once, in processes of this machine that divide its cores.

    Args:
        n_jobs: how many at one time; -1 for as many as there are cores, -2 for one less, as joblib counts.
        pool: the plugin's settings of joblib's own pool.
    """

    def __init__(self, n_jobs: int, **pool: Any) -> None:
        self.n_jobs, self.pool = n_jobs, pool

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what a job needs.

        Raises:
            AeprobeError: `n_jobs` is no number of jobs, or a setting of the pool was given, which is not used.
        """
        import joblib
        from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf

        for name, value in self.pool.items():
            if value != getattr(JobLibLauncherConf, name, None):
                raise AeprobeError(f"hydra.launcher.{name}={value}: has no effect here; drop it")
        if self.n_jobs == 0:
            raise AeprobeError("hydra.launcher.n_jobs=0: must be at least 1, or -1 for every core")
        size = joblib.effective_n_jobs(self.n_jobs)
        share = str(max(1, joblib.cpu_count() // size))
        self.workers = Workers(size, {name: os.environ.get(name, share) for name in THREADS})
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and waits for all of them; one whose process was killed is lost, and the others go on.

        Raises:
            Interrupted: a signal came; the jobs were told, and have ended.
        """
        from hydra_plugins.hydra_joblib_launcher._core import execute_job
        from joblib import wrap_non_picklable_objects

        numbered = list(enumerate(job_overrides, start=initial_job_idx))
        log.info("Launching %d jobs, %d at a time", len(numbered), self.workers.size)
        for number, overrides in numbered:
            log.info("\t#%d : %s", number, " ".join(overrides))
        shared = self.context, self.config, self.task_function, Singleton.get_state()
        tasks = [wrap_non_picklable_objects(partial(execute_job, *job, *shared)) for job in numbered]
        return self.workers.run(
            tasks,
            lambda index, how: log.error("job #%d ended without a result: %s", initial_job_idx + index, how),
        )


class SlurmLauncher(Launcher):
    """Each job of a multirun as a job of Slurm, `most_at_once` in the queue at one time.

    The other parameters are submitit's, as in the plugin's `hydra/launcher=submitit_slurm`.
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
        """Submits the jobs and waits for all of them.

        Raises:
            Interrupted: a signal came; the jobs stay in the queue.
        """
        numbered = list(enumerate(job_overrides, start=initial_job_idx))
        log.info("Submitting %d jobs to Slurm", len(numbered))
        for number, overrides in numbered:
            log.info("\t#%d : %s", number, " ".join(overrides))
        done: dict[int, JobReturn] = {}
        room = Semaphore(self.most_at_once)

        def run(number: int, overrides: Sequence[str]) -> None:
            done[number] = JobReturn(status=JobStatus.FAILED, _return_value=UnfinishedError("lost"))
            try:
                with room:
                    done[number] = self.launcher.launch([overrides], number)[0]
            except Exception as error:  # submitit has several of its own, whose last line says what happened
                last = str(error).strip().rpartition("\n")[2].strip() or type(error).__name__
                log.error("job #%d ended without a result: %s", number, last)

        # Daemons, not a pool: Ctrl-C ends the command, and leaves its jobs in the queue.
        waiting = [Thread(target=run, args=job, daemon=True) for job in numbered]
        for thread in waiting:
            thread.start()
        try:
            for thread in waiting:
                thread.join()
        except Interrupted as error:
            error.what += "; its jobs stay in the queue"
            raise
        return [done[number] for number, _ in numbered]
