"""The images of a stage, from one dictionary of settings: a checkpoint's, or those of `data.*`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aeprobe.config import nodes
from aeprobe.config.schema import Config, DataConfig, value_of
from aeprobe.config.trust import require_trusted
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError
from aeprobe.models.checkpoints import Checkpoint
from aeprobe.training.consistency import require_below_here, require_files


def data_settings(
    config: Config,
    seed: int,
    trained: Checkpoint | None = None,
    path: Path | None = None,
    typed: Mapping[str, str] | None = None,
    stored: bool = False,
) -> dict[str, Any]:
    """Return the settings of a stage's images: of a checkpoint that was trained on them, or the configuration's.

    Args:
        config: as `validate` returned it.
        seed: chooses the images held out, where there is no checkpoint.
        trained: the checkpoint whose encoder sees the images.
        path: of its file.
        typed: the settings that a person typed; one that contradicts the checkpoint is refused.
        stored: the configuration is an earlier run's, which unpacks nothing outside of the working directory.
    """
    data, typed = config.data, typed or {}
    chosen = {"name": data.name, "root": data.root, "val_size": data.val_size, "source": data.source}
    settings: dict[str, Any] = chosen | {"split_seed": seed, "files": {}, "shape": None, "ckpt": path}
    if trained is not None:
        kept, encoder = trained["datamodule_hyper_parameters"], trained["hyper_parameters"]
        settings["shape"], fixed = encoder["shape"], {name: encoder[name] for name in ("mean", "std")}
        if other_data(data, typed, trained):
            _require_typed_data(data, typed, fixed, ("mean", "std"), path)
        else:
            keys = ("name", "val_size", "mean", "std", *(f"source.{key}" for key in data.source))
            _require_typed_data(data, typed, kept | fixed, keys, path)
            if kept["source"] != data.source:  # which the person chose
                require_trusted([("data.source", kept["source"])], config.plugins, f"ckpt={path}")
            settings |= {key: kept[key] for key in ("name", "val_size", "split_seed", "source")}
            settings["files"] = kept.get("files", {})
            if not _kind(kept["source"]).fetched and "data.root" not in typed:
                settings["root"] = kept["root"]
    if stored:
        require_below_here(_source(settings), settings["root"])
    return settings


def build_data(settings: Mapping[str, Any], seed: int, batch_size: int, eval_batch_size: int) -> ImageDataModule:
    """Build the data module of `data_settings`, read, split and held against the checkpoint; `seed` orders."""
    source, path = _source(settings), settings["ckpt"]
    name, root, val_size, split_seed = (settings[key] for key in ("name", "root", "val_size", "split_seed"))
    data = ImageDataModule(name, root, val_size, split_seed, batch_size, eval_batch_size, seed, source=source)
    data.identity["source"] = data.hparams["source"] = settings["source"]
    data.prepare_data()
    data.setup()
    require_files(data, settings["files"], path)
    if settings["shape"] and [*data.shape] != [*settings["shape"]]:
        raise AeprobeError(
            f"data={name}: its images are {data.shape}, but the encoder of {path} takes "
            f"{tuple(settings['shape'])} (channels, height, width)"
        )
    return data


def _source(settings: Mapping[str, Any]) -> Source:
    source = nodes.build(settings["source"], "data.source", Source, root=settings["root"])  # type: ignore[type-abstract]
    assert source is not None, "checked by validate"
    return source


def other_data(settings: DataConfig, typed: Mapping[str, str], source: Checkpoint | None) -> str | None:
    """Return the title of a checkpoint's images, where a person typed `data=` and means others; else None."""
    if source is None or "data" not in typed:
        return None
    kept = source["datamodule_hyper_parameters"]
    elsewhere = "data.root" in typed and not _kind(settings.source).fetched and settings.root != kept["root"]
    source_class = settings.source["_target_"] != kept["source"]["_target_"]
    other = elsewhere or source_class or settings.name != kept["name"]
    return str(kept["title"]) if other else None


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
