"""What a search may choose by: images that were held out, never the test set; numbers that can be compared."""

from aeprobe.config import objective
from aeprobe.config.choices import Stage
from aeprobe.config.overrides import override
from aeprobe.config.schema import Config, plain
from aeprobe.config.settings import flat
from aeprobe.errors import AeprobeError
from aeprobe.runs.metrics import find_checkpoint


def require_held_out(config: Config) -> None:
    """Holds a job of a search to its purpose: what is chosen by the test set is not measured by it any more.

    Raises:
        AeprobeError: no images are held out, so that its objective would be measured on the test set.
    """
    wanted = objective.resolve(config)
    if wanted is None or not wanted[1].startswith("val/"):
        return
    held_out, where, advice = config.data.val_size, "", "hold images out, such as data.val_size=5000"
    if config.stage == Stage.classifier and config.ckpt:  # it keeps the encoder's split
        from aeprobe.models import checkpoints  # imports torch

        stored = checkpoints.read(find_checkpoint(config.ckpt, "autoencoder"))
        held_out = int(stored["datamodule_hyper_parameters"]["val_size"])
        where = f"the encoder in ckpt={config.ckpt} was trained with "
        advice = "search on an encoder that was trained with images held out"
    if held_out == 0:
        train = wanted[1].replace("val/", "train/")
        raise AeprobeError(
            f"{where}data.val_size=0: the search would choose by the test set, which {wanted[1]} is measured on; "
            f"{advice}, or give objective={train}"
        )


def require_one_loss(first: Config, other: Config) -> None:
    """Holds two jobs of a search to one loss, where it is what they are chosen by.

    Raises:
        AeprobeError: theirs differ, so that the smaller scale would win; says by what to choose instead.
    """
    wanted = objective.resolve(other)
    if wanted is None:
        return
    stage, metric = wanted
    _, keys = objective.comparable(metric, stage, [flat(plain(first)), flat(plain(other))])
    if keys:
        name = f"val/{objective.COMPARABLE[stage]}"
        better = override("objective", f"{stage} {name}" if other.stage == Stage.all else name)
        raise AeprobeError(
            f"{', '.join(keys)}: {metric} has another scale for each value, and the search would choose by the "
            f"scale; give {better}"
        )
