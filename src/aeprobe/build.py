"""From a checked configuration to the pieces of one stage; all that can fail early fails here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aeprobe.runtime

from aeprobe import checkpoints
from aeprobe.autoencoder import Autoencoder
from aeprobe.batches import EpochBatches
from aeprobe.checkpoints import Checkpoint
from aeprobe.classifier import Classifier
from aeprobe.config import PLATEAU, Config, Initialization, Stage, StageConfig
from aeprobe.data import MNISTDataModule
from aeprobe.errors import AeprobeError
from aeprobe.idx import Identity
from aeprobe.networks import describe
from aeprobe.optimization import Optimization
from aeprobe.rundir import find_checkpoint


@dataclass
class Experiment:
    """What one stage is made of.

    Attributes:
        stage: "autoencoder", "classifier" or "test".
        module: what is trained or tested.
        data: the images, read and split.
        seed: of this run; for "test" that of the run that is tested, unless another was typed.
        settings: the stage's own; None for "test".
        ckpt: the file that the weights come from, and the number of steps that made them.
    """

    stage: str
    module: Autoencoder | Classifier
    data: MNISTDataModule
    seed: int
    settings: StageConfig | None = None
    ckpt: Path | None = None
    steps: int = 0

    def describe(self) -> str:
        """One line: architecture, number of weights that train, sizes of the splits."""
        kept = self.module.hparams
        weights = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.data.splits.items())
        architecture = describe(kept["widths"], kept["activation"])
        return f"{self.module.stage} {architecture}, {weights:,} trainable weights; images: {sizes}"


def build_autoencoder(config: Config, resumed: Path | None = None, stored: bool = False) -> Experiment:
    """Stage 1, with new weights; those of `resumed`, the run's own checkpoint, are loaded by the Trainer.

    Args:
        config: as `validate` returned it.
        resumed: the run's own checkpoint, to go on from.
        stored: whether the configuration is that of an earlier run, which goes on as it began.

    Raises:
        AeprobeError: the data are others than `resumed` was trained on, or something cannot be built.
    """
    own = config.autoencoder
    source = checkpoints.read(resumed) if resumed else None
    data = _data(config, config.seed, own.batch_size, source, resumed)
    optimization = _optimization(config, "autoencoder", data, stored)
    if config.stage == Stage.all:  # stage 2 must not be found wrong after an hour of stage 1
        _optimization(config, "classifier", data, stored)
    data.shift, data.shift_epochs = own.shift, own.max_epochs if own.shift_epochs is None else own.shift_epochs
    if config.stage == Stage.all:
        _require_classes(config.classifier.widths, data)
        _require_batch(config, data)
    aeprobe.runtime.seed(config.seed)
    module = Autoencoder(
        own.widths,
        own.activation,
        str(own.initialization),
        own.pixel_dropout,
        own.clusters,
        own.cluster_weight,
        config.data.mean,
        config.data.std,
        optimization,
    )
    if own.initialization == Initialization.he:
        module.start_at(data.mean_image())
    return Experiment("autoencoder", module, data, config.seed, own)


def build_classifier(
    config: Config, typed: Mapping[str, str], ckpt: str | Path, resuming: bool = False, stored: bool = False
) -> Experiment:
    """Stage 2, on the encoder of `ckpt`, with a new head; to resume it, `ckpt` is its own. `stored` as above.

    Raises:
        AeprobeError: `ckpt` holds no autoencoder, or it contradicts what was typed.
    """
    own = config.classifier
    path = find_checkpoint(ckpt, "autoencoder")
    source = checkpoints.read(path)
    trained = checkpoints.restore(source, path)
    if not resuming and not isinstance(trained, Autoencoder):
        raise AeprobeError(f"ckpt={path}: holds a classifier, but stage=classifier starts from an autoencoder")
    _require_typed_architecture(config, typed, source, path, stages=("autoencoder",))
    widths, activation = checkpoints.architecture(source)["autoencoder"]
    if widths[-1] != own.widths[0]:
        raise AeprobeError(
            f"classifier.widths={own.widths} begins with {own.widths[0]}, but the encoder in {path} is "
            f"{describe(widths, activation)}: its code has {widths[-1]} numbers"
        )
    data = _data(config, config.seed, own.batch_size, source, path, typed)
    _require_classes(own.widths, data)
    optimization = _optimization(config, "classifier", data, stored)
    aeprobe.runtime.seed(config.seed)
    module = Classifier(
        widths,
        activation,
        own.widths,
        own.activation,
        own.standardize,
        own.code_noise,
        str(own.initialization),
        str(own.loss_on),
        source["hyper_parameters"]["mean"],
        source["hyper_parameters"]["std"],
        optimization,
    )
    module.encoder.load_state_dict(trained.encoder.state_dict())
    return Experiment("classifier", module, data, config.seed, own, path)


def build_test(config: Config, typed: Mapping[str, str], ckpt: str | Path) -> Experiment:
    """The module of a finished run, to be measured again on the data that it was made for."""
    path = find_checkpoint(ckpt, "classifier")
    source = checkpoints.read(path)
    module = checkpoints.restore(source, path)
    _require_typed_architecture(config, typed, source, path, stages=("autoencoder", "classifier"))
    seed = config.seed if "seed" in typed else source["datamodule_hyper_parameters"]["seed"]
    data = _data(config, seed, 1, source, path, typed)
    if isinstance(module, Classifier):
        _require_classes(list(module.hparams["widths"]), data)
    return Experiment("test", module, data, seed, None, path, source["global_step"])


def _optimization(config: Config, stage: str, data: MNISTDataModule, stored: bool) -> Optimization:
    """How a stage is trained on the data; of another stage than theirs, only to see that it can be."""
    own: StageConfig = getattr(config, stage)
    trainer = config.trainer
    _require_validation(stage, config, data)
    batches = EpochBatches(
        len(data.splits["train"]), own.batch_size, config.seed, limit=trainer.limit_train_batches
    )
    made = Optimization(
        stage,
        own.optimizer,
        own.scheduler,
        max(len(batches), 1),  # a fraction that leaves none is refused with its own name
        own.epochs(trainer),
        trainer.gradient_clip_val,
        trainer.accumulate_grad_batches,
    )
    if not stored:
        made.require_own_numbers()
    return made


def _require_validation(stage: str, config: Config, data: MNISTDataModule) -> None:
    """Raises AeprobeError where a schedule would follow the loss of the test set, or nothing at all."""
    own: StageConfig = getattr(config, stage)
    every, epochs = config.trainer.check_val_every_n_epoch, own.epochs(config.trainer)
    if own.scheduler["_target_"] != PLATEAU or (data.val_size and every <= epochs):
        return
    why = f"is not measured in {epochs} epochs with trainer.check_val_every_n_epoch={every}"
    if not data.val_size:
        why = "is the test set's with data.val_size=0: hold images out, such as data.val_size=5000"
    raise AeprobeError(f"{stage}.scheduler: ReduceLROnPlateau follows val/loss, which {why}; or take another")


def _data(
    config: Config,
    seed: int,
    batch_size: int,
    source: Checkpoint | None = None,
    path: Path | None = None,
    typed: Mapping[str, str] | None = None,
) -> MNISTDataModule:
    """The data module, read and split; what a checkpoint says of the data wins over the configuration."""
    own, typed = config.data, typed or {}
    identity: dict[str, Any] = {"name": str(own.name), "val_size": own.val_size, "split_seed": seed}
    root = own.root
    stored: Mapping[str, Any] = {}
    if source is not None:
        stored = source["datamodule_hyper_parameters"]
        encoded = source["hyper_parameters"]
        for key, value in (identity | {"mean": own.mean, "std": own.std}).items():
            group = key == "name" and "data" in typed
            trained = encoded[key] if key in ("mean", "std") else stored[key]
            if (f"data.{key}" in typed or group) and value != trained:
                raise AeprobeError(
                    f"data.{key}={value}: the checkpoint {path} was trained with data.{key}={trained}; "
                    "drop the override"
                )
        identity = {key: stored[key] for key in identity}
        if identity["name"] == "folder" and "data.root" not in typed:
            root = stored["root"]
    data = MNISTDataModule(
        **identity,
        root=root,
        batch_size=batch_size,
        eval_batch_size=own.eval_batch_size,
        seed=seed,
        block=config.trainer.steps_per_execution,
        limit=config.trainer.limit_train_batches,
    )
    data.prepare_data()
    data.setup()
    require_files(data, stored.get("files", {}), path)
    return data


def require_files(data: MNISTDataModule, trained: Mapping[str, Identity], path: Path | None) -> None:
    """Holds the files that were read against those of a run or a checkpoint, which may not know its own.

    Args:
        data: after `setup`.
        trained: as `MNISTDataModule.files`.
        path: of the run or the checkpoint.

    Raises:
        AeprobeError: a file has another size or checksum.
    """
    for name, found in data.files.items():
        before = trained.get(name, found)
        if before != found:
            raise AeprobeError(
                f"data: {name} in {data.root} has {found['bytes']} bytes and SHA-256 {found['sha256']}, "
                f"but {path} was trained on {before['bytes']} bytes with {before['sha256']}: "
                "give that file back, or train anew"
            )


def _require_classes(widths: list[int], data: MNISTDataModule) -> None:
    if data.classes > widths[-1]:
        raise AeprobeError(
            f"classifier.widths={widths} ends with {widths[-1]}, but the labels go up to {data.classes - 1}: "
            f"give the head {data.classes} outputs or more"
        )


def _require_batch(config: Config, data: MNISTDataModule) -> None:
    """Raises AeprobeError where a fraction of stage 2's batches is none: trainer.py says so after stage 1."""
    size, limit = config.classifier.batch_size, config.trainer.limit_train_batches
    if not len(EpochBatches(len(data.splits["train"]), size, config.seed, limit=limit)):
        raise AeprobeError(
            f"trainer.limit_train_batches={limit}: less than one batch of classifier.batch_size={size}; "
            "give 1 for one batch, 1.0 for all"
        )


def _require_typed_architecture(
    config: Config, typed: Mapping[str, str], source: Checkpoint, path: Path, stages: tuple[str, ...]
) -> None:
    """Holds the widths and activations that a person typed against the checkpoint's."""
    found = checkpoints.architecture(source)
    for stage in stages:
        own: StageConfig = getattr(config, stage)
        for key, value in (("widths", own.widths), ("activation", own.activation)):
            if f"{stage}.{key}" not in typed:
                continue
            if stage not in found:
                raise AeprobeError(f"{typed[f'{stage}.{key}']}: {path} holds no {stage}; drop the override")
            widths, activation = found[stage]
            if value != (widths if key == "widths" else activation):
                wanted = describe(own.widths, own.activation if key == "activation" else activation)
                raise AeprobeError(
                    f"{typed[f'{stage}.{key}']}: the {stage} in {path} is {describe(widths, activation)}, "
                    f"not {wanted}; drop the override"
                )
