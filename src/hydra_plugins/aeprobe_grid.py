"""The grid of a multirun, `hydra/sweeper=basic`. Hydra looks for sweepers in this package, after its own.

Hydra's grid ends with the first job that failed, and runs a job twice that is typed twice.
"""

from itertools import chain

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from aeprobe.config.overrides import with_preset
from aeprobe.sweeps.jobs import GRID, Jobs

ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=BasicSweeperConf(_target_=GRID, params={}))


class GridSweeper(BasicSweeper):
    """Every combination of the values, each once."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Makes the launcher."""
        self.jobs = Jobs(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Runs the jobs.

        Raises:
            AeprobeError: one of a search would look at the test set; nothing was written.
            HydraException: one has no configuration; nothing was written.
        """
        parser = OverridesParser.create(config_loader=self.jobs.loader)
        overrides = parser.parse_overrides(with_preset(self.params, arguments))
        batches = self.split_arguments(overrides, self.max_batch_size)
        for settings in chain(*batches):
            self.jobs.compose(settings)
        self.jobs.begin()
        first = 0
        for batch in batches:
            self.jobs.run(batch, first)
            first += len(batch)
