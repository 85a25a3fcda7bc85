"""Build one stage from a configuration or a checkpoint; all that can fail early fails here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aeprobe.runtime

from torch import nn

from aeprobe import nodes
from aeprobe.config.checks import typed_values
from aeprobe.config.schema import Config, Stage, StageConfig, module_node, trusted_in, value_of
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.labels import labelled
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Subject
from aeprobe.models import building, checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.checkpoints import Checkpoint
from aeprobe.models.classifier import Classifier
from aeprobe.models.optimization import Optimization
from aeprobe.models.regularizers import Regularizer
from aeprobe.nodes import require_trusted
from aeprobe.runs.metrics import find_checkpoint, read_metrics
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training import checks
from aeprobe.training.experiment import Experiment
from aeprobe.training.instantiate import make_callbacks, make_evaluations, make_metrics

TRIED = 8  # images that a loss is tried on
Settings = dict[str, Any]  # of a module or of its images: a configuration's, or those that a checkpoint keeps


def build(
    stage: str, config: Config, overrides: Sequence[str], directory: RunDirectory, stored: bool = False
) -> Experiment:
    """Build one stage of a run.

    Args:
        stage: "autoencoder", "classifier", "test" or "probe".
        config: as `validate` returned it.
        overrides: as they were typed.
        directory: the stage's; its `last` is the stage's own checkpoint, to go on from.
        stored: the configuration is that of an earlier run, which goes on as it began.

    Raises:
        AeprobeError: a checkpoint contradicts the configuration or the data, or something cannot be built.
    """
    typed = typed_values(overrides)
    if config.stage.trains_nothing:
        return _build_finished(config, typed)
    if stage == "autoencoder":
        return _build_autoencoder(config, directory.last, stored)
    if config.stage == Stage.all:
        return _build_classifier(config, {}, directory.path.parent / "autoencoder", directory.last, stored)
    return _build_classifier(config, typed, Path(config.ckpt) if config.ckpt else None, directory.last, stored)


def _build_autoencoder(config: Config, last: Path | None, stored: bool) -> Experiment:
    settings = config.autoencoder
    source = checkpoints.read(last) if last else None
    corruption = nodes.build_or_none(settings.corruption, "autoencoder.corruption", nn.Module)
    regularizer = nodes.build_or_none(settings.regularizer, "autoencoder.regularizer", Regularizer)
    data = _build_data(config, config.seed, settings.batch_size, source, last, {}, stored)
    data.augmentation = nodes.build_or_none(settings.augmentation, "autoencoder.augmentation", nn.Module)
    optimization = _optimization(config, "autoencoder", data)
    callbacks = make_callbacks(config, "autoencoder", data)
    training = {"corruption": corruption, "regularizer": regularizer, "optimization": optimization}
    aeprobe.runtime.seed(config.seed)
    if source and last:
        module: Any = checkpoints.restore(source, last, trusted_in(config, stored), **training).train()
    else:
        module = building.autoencoder(_autoencoder_settings(config, data.shape), data.mean_image, **training)
    try:
        if regularizer is not None:
            regularizer.require_code(module.code_size)
    except ValueError as error:
        raise AeprobeError(f"autoencoder.regularizer: {error}") from error
    _require_trainable(module, data)
    module.add_metrics(make_metrics(config, "autoencoder", data.classes))
    evaluations = {}
    if config.trainer.evaluate:
        evaluations = make_evaluations(config, Subject(module, data.splits, config.seed), must=True)
    if config.stage == Stage.all:  # stage 2 must not be found wrong after an hour of stage 1
        make_callbacks(config, "classifier", data)
        plain = _classifier_settings(config, module.hparams, module.code_size, data)
        later = building.classifier(plain, optimization=_optimization(config, "classifier", data))
        make_metrics(config, "classifier", later.classes)
        checks.require_classes(later, data)
        _require_trainable(later, data)
        if config.data.labels:
            labelled(data.splits["train"].labels, config.data.labels, config.seed)
    steps = source["global_step"] if source else 0
    return Experiment(
        "autoencoder", module, data, config.seed, settings, None, steps, None, callbacks, evaluations
    )


def _build_classifier(
    config: Config, typed: Mapping[str, str], ckpt: Path | None, last: Path | None, stored: bool
) -> Experiment:
    """Build stage 2 on the encoder of `ckpt`, with a new head, or go on from its own checkpoint `last`.

    An encoder with new weights has the network of `ckpt`; without one, that of the configuration.
    """
    settings, trusted = config.classifier, trusted_in(config, stored)
    path = last or (find_checkpoint(ckpt, "autoencoder") if ckpt else None)
    source, trained = checkpoints.read(path) if path else None, None
    if source and path and not last:
        trained = checkpoints.restore(source, path, trusted)
        if not isinstance(trained, Autoencoder):
            raise AeprobeError(f"ckpt={path}: holds a classifier, but stage=classifier starts from an autoencoder")
    if source and path:
        checks.require_typed_architecture(config, typed, source, path, stages=("autoencoder",))
    data = _build_data(config, config.seed, settings.batch_size, source, path, typed, stored)
    data.keep_labels(config.data.labels, config.seed)
    optimization = _optimization(config, "classifier", data)
    callbacks = make_callbacks(config, "classifier", data)
    if source and last:
        module: Any = checkpoints.restore(source, last, trusted, optimization=optimization).train()
    else:
        encoder_settings = source["hyper_parameters"] if source else _autoencoder_settings(config, data.shape)
        code_size = (trained or building.autoencoder(encoder_settings)).code_size
        plain = _classifier_settings(config, encoder_settings, code_size, data)
        aeprobe.runtime.seed(config.seed)
        pretrained = trained.encoder if trained and settings.encoder.pretrained else None
        module = building.classifier(plain, encoder=pretrained, optimization=optimization)
    checks.require_classes(module, data)
    _require_trainable(module, data)
    module.add_metrics(make_metrics(config, "classifier", module.classes))
    other = _other_data(config, typed, source)
    steps = source["global_step"] if source and last else 0
    return Experiment("classifier", module, data, config.seed, settings, path, steps, other, callbacks)


def _build_finished(config: Config, typed: Mapping[str, str]) -> Experiment:
    """Build the module of a finished run, `config.ckpt`, to be measured again on the data that it was made for."""
    probed = config.stage == Stage.probe
    assert config.ckpt, "checked by validate"
    path = find_checkpoint(config.ckpt, "autoencoder" if probed else "classifier")
    source = checkpoints.read(path)
    module = checkpoints.restore(source, path, trusted_in(config))
    checks.require_typed_architecture(config, typed, source, path, stages=("autoencoder", "classifier"))
    seed = config.seed if "seed" in typed else source["datamodule_hyper_parameters"]["seed"]
    data = _build_data(config, seed, 1, source, path, typed)
    other, classes, evaluations = _other_data(config, typed, source), data.classes, {}
    if isinstance(module, Classifier):
        if path.parent.name == "checkpoints":  # its encoder may have been of other images
            other = read_metrics(path.parent.parent, missing_ok=True).get("encoder_data") or other
        if not probed:
            checks.require_labels(data, "test")
            checks.require_classes(module, data)
            classes = module.classes
    module.add_metrics(make_metrics(config, module.stage, classes))
    if probed:
        checks.require_two_classes(data, "train", "test")
    if probed or isinstance(module, Autoencoder):
        must = probed or config.trainer.evaluate or any("evaluations" in key for key in typed)
        evaluations = make_evaluations(config, Subject(module, data.splits, seed), must)
    steps = source["global_step"]
    return Experiment(
        str(config.stage), module, data, seed, None, path, steps, encoder_data=other, evaluations=evaluations
    )


def _autoencoder_settings(config: Config, shape: Sequence[int]) -> Settings:
    """Return what a checkpoint keeps of stage 1's module: all that it is built from."""
    return {
        "module": module_node(config),
        "network": building.network_node(config.autoencoder.network, shape),
        "loss": config.autoencoder.loss,
        "shape": list(shape),
        "mean": config.data.mean,
        "std": config.data.std,
    }


def _classifier_settings(
    config: Config, encoder: Mapping[str, Any], code_size: int, data: ImageDataModule
) -> Settings:
    """Return what a checkpoint keeps of stage 2's module; `encoder` is what the encoder's checkpoint keeps."""
    settings = config.classifier
    checks.require_two_classes(data)
    return {
        **{name: encoder[name] for name in ("network", "shape", "mean", "std")},
        "trains_encoder": settings.encoder.trains,
        "head": building.head_node(settings.head, code_size, data.classes),
        **{name: getattr(settings, name) for name in ("standardize", "code_noise", "loss", "class_weights")},
        "loss_on": str(settings.loss_on),
    }


def _build_data(
    config: Config,
    seed: int,
    batch_size: int,
    trained: Checkpoint | None,
    path: Path | None,
    typed: Mapping[str, str],
    stored: bool = False,
) -> ImageDataModule:
    """Build the data module: read, split and held against the checkpoint `trained`, whose encoder sees the images.

    Without one, the seed also chooses the images held out. A typed setting that contradicts it is refused.
    """
    settings: Settings = {key: getattr(config.data, key) for key in ("name", "root", "val_size", "source")}
    settings["split_seed"], files = seed, {}
    if trained is not None:
        own, encoder = trained["datamodule_hyper_parameters"], trained["hyper_parameters"]
        fixed = {name: encoder[name] for name in ("mean", "std")}
        if _other_data(config, typed, trained):
            _require_typed_data(config, typed, fixed, ("mean", "std"), path)
        else:
            keys = ("name", "val_size", "mean", "std", *(f"source.{key}" for key in config.data.source))
            _require_typed_data(config, typed, own | fixed, keys, path)
            if own["source"] != config.data.source:  # which the person chose
                require_trusted([("data.source", own["source"])], config.plugins, f"ckpt={path}")
            settings |= {key: own[key] for key in ("name", "val_size", "split_seed", "source")}
            files = own["files"]
            if not _source_class(own["source"]).fetched and "data.root" not in typed:
                settings["root"] = own["root"]
    node, root = settings.pop("source"), settings["root"]
    source: Any = nodes.build(node, "data.source", Source, root=root)  # type: ignore[type-abstract]
    if stored:
        checks.require_below_here(source, root)
    settings |= {"batch_size": batch_size, "eval_batch_size": config.data.eval_batch_size}
    data = ImageDataModule(**settings, seed=seed, source=source)
    data.identity["source"] = data.hparams["source"] = node
    data.prepare_data()
    data.setup()
    checks.require_files(data, files, path)
    if trained is not None and [*data.shape] != [*(shape := trained["hyper_parameters"]["shape"])]:
        raise AeprobeError(
            f"data={data.name}: its images are {data.shape}, but the encoder of {path} takes {tuple(shape)} "
            "(channels, height, width)"
        )
    return data


def _other_data(config: Config, typed: Mapping[str, str], trained: Checkpoint | None) -> str | None:
    """Return the title of a checkpoint's images, where a person typed `data=` and means others; else None."""
    if trained is None or "data" not in typed:
        return None
    settings, own = config.data, trained["datamodule_hyper_parameters"]
    elsewhere = "data.root" in typed and settings.root != own["root"]
    elsewhere = elsewhere and not _source_class(settings.source).fetched
    source_class = settings.source["_target_"] != own["source"]["_target_"]
    return str(own["title"]) if elsewhere or source_class or settings.name != own["name"] else None


def _source_class(node: Mapping[str, Any]) -> Any:
    return nodes.bound(node, "data.source", Source).func  # type: ignore[type-abstract]


def _require_typed_data(
    config: Config, typed: Mapping[str, str], trained: Mapping[str, Any], keys: Sequence[str], path: Path | None
) -> None:
    """Raise AeprobeError where what a person typed of the data is not what a checkpoint was trained with."""
    for key in keys:
        chosen = f"data.{key}" in typed or (key in ("name", "source._target_") and "data" in typed)
        if chosen and (wanted := value_of(config.data, key)) != (had := value_of(trained, key)):
            raise AeprobeError(
                f"data.{key}={wanted}: the checkpoint {path} was trained with data.{key}={had}; drop the override"
            )


def _require_trainable(module: Autoencoder | Classifier, data: ImageDataModule) -> None:
    """Raise AeprobeError where an optimizer, a schedule or a loss does not fit, before anything is written."""
    module.configure_optimizers()
    train = data.splits["train"]
    module.require_mean_loss(train.images[:TRIED], train.labels[:TRIED])


def _optimization(config: Config, stage: str, data: ImageDataModule) -> Optimization:
    """Return what makes the optimizer and the schedule of a stage that trains on these images."""
    settings: StageConfig = getattr(config, stage)
    trainer = config.trainer
    checks.require_validation(stage, config, data)
    checks.require_best(stage, config, data)
    batches = checks.batches_of("train", data, settings.batch_size, trainer.limit_train_batches)
    epochs, accumulate = settings.epochs(trainer), trainer.accumulate_grad_batches
    second = config.classifier.encoder_lr if stage == "classifier" else None
    return Optimization(stage, settings.optimizer, settings.scheduler, batches, epochs, accumulate, second)
