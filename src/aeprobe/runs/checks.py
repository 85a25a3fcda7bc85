"""Check a composed configuration against the checkpoint that it names and the processes that were started."""

from collections.abc import Sequence

from omegaconf import DictConfig

from aeprobe.config.checks import typed_values, validate
from aeprobe.config.schema import Config, Stage
from aeprobe.processes.launch import require_as_started
from aeprobe.runs.metrics import find_checkpoint


def check(cfg: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Check all of a run that can be checked without torch; arguments and result as of `validate`.

    Raises:
        AeprobeError: from `validate`, or there is no such checkpoint, or other processes than were typed.
    """
    config = validate(cfg, overrides)
    require_as_started(config, typed_values(overrides))
    if config.ckpt:
        find_checkpoint(config.ckpt, "autoencoder" if config.stage == Stage.classifier else "classifier")
    return config
