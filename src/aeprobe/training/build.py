"""From a checked configuration to the pieces of one stage; all that can fail early fails here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aeprobe.runtime

from torch import nn

from aeprobe.config import nodes
from aeprobe.config.choices import Stage
from aeprobe.config.schema import Config, StageConfig, module_node
from aeprobe.config.trust import trusted_in
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.labels import labelled
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Subject
from aeprobe.models import building, checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.optimization import Optimization
from aeprobe.models.regularizers import Regularizer
from aeprobe.runs.metrics import find_checkpoint, read_metrics
from aeprobe.training import additions
from aeprobe.training.consistency import (
    batches_of,
    require_best,
    require_classes,
    require_labels,
    require_two_classes,
    require_typed_architecture,
    require_validation,
)
from aeprobe.training.data import build_data, data_settings, other_data
from aeprobe.training.experiment import Experiment

TRIED = 8  # images that a loss is tried on


def build_autoencoder(config: Config, resumed: Path | None = None, stored: bool = False) -> Experiment:
    """Stage 1, with new weights; those of `resumed`, the run's own checkpoint, are loaded by the Trainer.

    Args:
        config: as `validate` returned it.
        resumed: the run's own checkpoint, to go on from.
        stored: whether the configuration is that of an earlier run, which goes on as it began.

    Raises:
        AeprobeError: the data are others than `resumed` was trained on, or something cannot be built.
    """
    settings = config.autoencoder
    source = checkpoints.read(resumed) if resumed else None
    augmentation = nodes.build(settings.augmentation, "autoencoder.augmentation", nn.Module)
    corruption = nodes.build(settings.corruption, "autoencoder.corruption", nn.Module)
    regularizer = nodes.build(settings.regularizer, "autoencoder.regularizer", Regularizer)
    of_data = data_settings(config, config.seed, source, resumed, stored=stored)
    data = build_data(of_data, config.seed, settings.batch_size, config.data.eval_batch_size)
    data.augmentation = augmentation
    if source and resumed:
        checkpoints.restore(source, resumed, trusted_in(config, stored))  # so that it fits, and is trusted
    kept = source["hyper_parameters"] if source else _autoencoder_settings(config, data.shape)
    optimization = _optimization(config, "autoencoder", data)
    added = additions.callbacks(config, "autoencoder", data)
    aeprobe.runtime.seed(config.seed)
    training = {"corruption": corruption, "regularizer": regularizer, "optimization": optimization}
    module = building.autoencoder(kept, mean_image=None if source else data.mean_image, **training)
    try:
        if regularizer is not None:
            regularizer.require_code(module.code_size)
    except ValueError as error:
        raise AeprobeError(f"autoencoder.regularizer: {error}") from error
    _require_trainable(module, data)
    module.add_metrics(additions.metrics(config, "autoencoder", data.shape, data.classes))
    subject = Subject(module, data.splits, config.seed)
    evaluations = additions.evaluations(config, subject, {}) if config.trainer.evaluate else {}
    if config.stage == Stage.all:  # stage 2 must not be found wrong after an hour of stage 1
        optimization = _optimization(config, "classifier", data)
        additions.callbacks(config, "classifier", data)
        later = building.classifier(_classifier_settings(config, kept, module, data), optimization=optimization)
        additions.metrics(config, "classifier", data.shape, later.classes)
        require_classes(later, data)
        _require_trainable(later, data)
        if config.data.labels:
            labelled(data.splits["train"].labels, config.data.labels, config.seed)
    return Experiment("autoencoder", module, data, config.seed, settings, callbacks=added, evaluations=evaluations)


def _autoencoder_settings(config: Config, shape: Sequence[int]) -> dict[str, Any]:
    """What a checkpoint keeps of stage 1's module: all that it is built from."""
    return {
        "module": module_node(config),
        "network": building.network_node(config.autoencoder.network, shape),
        "loss": config.autoencoder.loss,
        "shape": list(shape),
        "mean": config.data.mean,
        "std": config.data.std,
    }


def _classifier_settings(
    config: Config, encoder: Mapping[str, Any], trained: Autoencoder | Classifier, data: ImageDataModule
) -> dict[str, Any]:
    """What a checkpoint keeps of stage 2's module; `encoder` is what the encoder's checkpoint keeps."""
    settings = config.classifier
    require_two_classes(data)
    return {
        **{name: encoder[name] for name in ("network", "shape", "mean", "std")},
        "trains_encoder": settings.encoder.trains,
        "head": building.head_node(settings.head, trained.code_size, data.classes),
        **{name: getattr(settings, name) for name in ("standardize", "code_noise", "loss", "class_weights")},
        "loss_on": str(settings.loss_on),
    }


def build_classifier(
    config: Config,
    typed: Mapping[str, str],
    ckpt: Path | None,
    resuming: bool = False,
    stored: bool = False,
) -> Experiment:
    """Stage 2, on the encoder of `ckpt`, with a new head; to resume it, `ckpt` is its own. `stored` as above.

    An encoder with new weights has the network of `ckpt`; without one, that of the configuration.

    Raises:
        AeprobeError: `ckpt` holds no autoencoder, or it contradicts what was typed.
    """
    settings = config.classifier
    path = find_checkpoint(ckpt, "autoencoder") if ckpt else None
    source = checkpoints.read(path) if path else None
    trained = checkpoints.restore(source, path, trusted_in(config, stored)) if source and path else None
    if trained and not resuming and not isinstance(trained, Autoencoder):
        raise AeprobeError(f"ckpt={path}: holds a classifier, but stage=classifier starts from an autoencoder")
    if source and path:
        require_typed_architecture(config, typed, source, path, stages=("autoencoder",))
    of_data = data_settings(config, config.seed, source, path, typed, stored)
    data = build_data(of_data, config.seed, settings.batch_size, config.data.eval_batch_size)
    data.keep_labels(config.data.labels, config.seed)
    kept = source["hyper_parameters"] if source else _autoencoder_settings(config, data.shape)
    network = trained or building.autoencoder(kept)
    own = kept if resuming else _classifier_settings(config, kept, network, data)
    optimization = _optimization(config, "classifier", data)
    added = additions.callbacks(config, "classifier", data)
    aeprobe.runtime.seed(config.seed)
    pretrained = trained.encoder if trained and (resuming or settings.encoder.pretrained) else None
    module = building.classifier(own, encoder=pretrained, optimization=optimization)
    require_classes(module, data)
    _require_trainable(module, data)
    module.add_metrics(additions.metrics(config, "classifier", data.shape, module.classes))
    whose = other_data(config.data, typed, source)
    return Experiment("classifier", module, data, config.seed, settings, path, encoder_data=whose, callbacks=added)


def build_finished(config: Config, typed: Mapping[str, str]) -> Experiment:
    """The module of a finished run, `config.ckpt`, to be looked at again on the data that it was made for."""
    probed = config.stage == Stage.probe
    assert config.ckpt, "checked by validate"
    path = find_checkpoint(config.ckpt, "autoencoder" if probed else "classifier")
    source = checkpoints.read(path)
    module = checkpoints.restore(source, path, trusted_in(config))
    require_typed_architecture(config, typed, source, path, stages=("autoencoder", "classifier"))
    seed = config.seed if "seed" in typed else source["datamodule_hyper_parameters"]["seed"]
    data = build_data(data_settings(config, seed, source, path, typed), seed, 1, config.data.eval_batch_size)
    classes = data.classes
    if isinstance(module, Classifier) and not probed:
        require_labels(data, "test")
        require_classes(module, data)
        classes = module.classes
    module.add_metrics(additions.metrics(config, module.stage, data.shape, classes))
    subject = Subject(module, data.splits, seed)
    if probed:
        require_two_classes(data, "train", "test")
    asked = additions.evaluations(config, subject, typed) if probed or isinstance(module, Autoencoder) else {}
    whose, steps = other_data(config.data, typed, source), source["global_step"]
    if isinstance(module, Classifier) and path.parent.name == "checkpoints":  # it may have been of other images
        whose = read_metrics(path.parent.parent, missing_ok=True).get("encoder_data") or whose
    return Experiment(
        str(config.stage), module, data, seed, None, path, steps, encoder_data=whose, evaluations=asked
    )


def _require_trainable(module: Autoencoder | Classifier, data: ImageDataModule) -> None:
    """Raise AeprobeError where an optimizer, a schedule or a loss does not fit, before anything is written."""
    module.configure_optimizers()
    train = data.splits["train"]
    module.require_mean_loss(train.images[:TRIED], train.labels[:TRIED])


def _optimization(config: Config, stage: str, data: ImageDataModule) -> Optimization:
    """How a stage is trained on the data; of another stage than theirs, only to see that it can be."""
    settings: StageConfig = getattr(config, stage)
    trainer = config.trainer
    require_validation(stage, config, data)
    require_best(stage, config, data)
    batches = batches_of("train", data, settings.batch_size, trainer.limit_train_batches)
    epochs, accumulate = settings.epochs(trainer), trainer.accumulate_grad_batches
    second = config.classifier.encoder_lr if stage == "classifier" else None
    return Optimization(stage, settings.optimizer, settings.scheduler, batches, epochs, accumulate, second)
