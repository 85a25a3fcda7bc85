"""What a person adds to a stage by nodes of the configuration, beside what every run has."""

from collections.abc import Mapping
from importlib.util import find_spec

from lightning.pytorch.callbacks import Callback, DeviceStatsMonitor, StochasticWeightAveraging

from aeprobe.config import nodes
from aeprobe.config.schema import Config, StageConfig
from aeprobe.data.datamodule import MNISTDataModule
from aeprobe.errors import AeprobeError
from aeprobe.training.consistency import require_monitored


def callbacks(config: Config, stage: str, data: MNISTDataModule) -> list[Callback]:
    """The callbacks of a stage, new ones.

    Raises:
        AeprobeError: one cannot be made, does not fit into a run, or watches what the run does not measure.
    """
    settings: StageConfig = getattr(config, stage)
    made: dict[str, Callback] = {}
    for name, node in settings.callbacks.items():
        key = f"{stage}.callbacks.{name}"
        callback = nodes.build(node, key, Callback)
        assert callback is not None, "checked by validate"
        if isinstance(callback, StochasticWeightAveraging):
            raise AeprobeError(
                f"{key}: StochasticWeightAveraging averages after the last checkpoint is saved: its average would "
                f"be lost; take callbacks@{stage}.callbacks=ema, whose average is saved, tested and handed on"
            )
        if isinstance(callback, DeviceStatsMonitor) and find_spec("psutil") is None:
            raise AeprobeError(f"{key}: the load of a CPU is read by psutil: pip install 'aeprobe[monitor]'")
        if monitor := getattr(callback, "monitor", None):
            require_monitored(f"{key}.monitor", monitor, stage, config, data)
        _require_own_state(key, callback, made)
        made[key] = callback
    return list(made.values())


def _require_own_state(key: str, callback: Callback, others: Mapping[str, Callback]) -> None:
    """Raises AeprobeError where a checkpoint would keep the states of two callbacks under one name."""
    if type(callback).state_dict is Callback.state_dict:
        return
    for other, one in others.items():
        if one.state_key == callback.state_key:
            raise AeprobeError(
                f"{key}: a checkpoint would keep its state in the place of {other}'s ({callback.state_key}); "
                "drop one, or make the two differ"
            )
