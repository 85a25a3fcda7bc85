"""From `data.*` of a checked configuration, or of a checkpoint, to the images of a stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aeprobe.config import nodes
from aeprobe.config.schema import Config, DataConfig, value_of
from aeprobe.config.trust import require_trusted
from aeprobe.data.datamodule import MNISTDataModule
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError
from aeprobe.models.checkpoints import Checkpoint
from aeprobe.training.consistency import require_below_here, require_files


def build_data(
    config: Config,
    seed: int,
    batch_size: int,
    source: Checkpoint | None = None,
    path: Path | None = None,
    typed: Mapping[str, str] | None = None,
    stored: bool = False,
) -> MNISTDataModule:
    """The data module, read and split; what a checkpoint says of the data wins over the configuration.

    Args:
        config: as `validate` returned it.
        seed: of the order of the batches; where there is no checkpoint, of the images held out too.
        batch_size: of training.
        source: a checkpoint that was trained on the data.
        path: of its file.
        typed: what a person typed.
        stored: whether the configuration is that of an earlier run, which goes on as it began.

    Raises:
        AeprobeError: the data are others than the checkpoint's, or cannot be read.
    """
    settings, typed = config.data, typed or {}
    val_size, split_seed, root, node = settings.val_size, seed, settings.root, settings.source
    name, files = settings.name, dict[str, Any]()
    if source is not None:
        kept, encoded = source["datamodule_hyper_parameters"], source["hyper_parameters"]
        preprocessing = {name: encoded[name] for name in ("mean", "std")}
        if other_data(settings, typed, source):
            _require_typed_data(settings, typed, preprocessing, ("mean", "std"), path)
        else:
            keys = ("name", "val_size", "mean", "std", *(f"source.{key}" for key in settings.source))
            _require_typed_data(settings, typed, kept | preprocessing, keys, path)
            if kept["source"] != settings.source:  # which the person chose
                require_trusted([("data.source", kept["source"])], config.plugins, f"ckpt={path}")
            name, val_size, split_seed, node = (kept[key] for key in ("name", "val_size", "split_seed", "source"))
            files = kept.get("files", {})
            if not _kind(node).fetched and "data.root" not in typed:
                root = kept["root"]
    images = nodes.build(node, "data.source", Source, root=root)  # type: ignore[type-abstract]
    assert images is not None, "checked by validate"
    data = MNISTDataModule(
        name, root, val_size, split_seed, batch_size, settings.eval_batch_size, seed, source=images
    )
    data.identity["source"] = data.hparams["source"] = node
    if stored:
        require_below_here(images, root)
    data.prepare_data()
    data.setup()
    require_files(data, files, path)
    if source is not None and [*data.shape] != [*source["hyper_parameters"]["shape"]]:
        raise AeprobeError(
            f"data={name}: its images are {tuple(data.shape)}, but the encoder of {path} takes "
            f"{tuple(source['hyper_parameters']['shape'])} (channels, height, width)"
        )
    return data


def other_data(settings: DataConfig, typed: Mapping[str, str], source: Checkpoint | None) -> str | None:
    """What a checkpoint's images are called, where a person typed `data=` and means others; else None."""
    if source is None or "data" not in typed:
        return None
    kept = source["datamodule_hyper_parameters"]
    elsewhere = "data.root" in typed and not _kind(settings.source).fetched and settings.root != kept["root"]
    source_class = settings.source["_target_"] != kept["source"]["_target_"]
    other = elsewhere or source_class or settings.name != kept["name"]
    name = str(kept["name"])
    return (f"{name} {kept['root']}" if name in ("folder", "images") else name) if other else None


def _kind(node: Mapping[str, Any]) -> type[Source]:
    kind: type[Source] = nodes.bound(node, "data.source", Source).func  # type: ignore[type-abstract, assignment]
    return kind


def _require_typed_data(
    settings: DataConfig, typed: Mapping[str, str], kept: Mapping[str, Any], keys: Sequence[str], path: Path | None
) -> None:
    """Raises AeprobeError where what a person typed of the data is not what a checkpoint was trained with."""
    for key in keys:
        chosen = f"data.{key}" in typed or (key in ("name", "source._target_") and "data" in typed)
        if chosen and (wanted := value_of(settings, key)) != (had := value_of(kept, key)):
            raise AeprobeError(
                f"data.{key}={wanted}: the checkpoint {path} was trained with data.{key}={had}; drop the override"
            )
