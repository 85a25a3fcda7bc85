"""From a checked configuration to the pieces of one stage; all that can fail early fails here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aeprobe.runtime

from lightning.pytorch.callbacks import Callback
from torch import nn

from aeprobe.config import nodes
from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import Config, Stage, StageConfig, every_node, module_node
from aeprobe.data.datamodule import MNISTDataModule
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError
from aeprobe.evaluation.evaluation import Evaluation
from aeprobe.models import building, checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.optimization import Optimization
from aeprobe.models.regularizers import Regularizer
from aeprobe.runs.metrics import find_checkpoint
from aeprobe.runs.stage_run import ENCODERS
from aeprobe.training import additions
from aeprobe.training.consistency import (
    batches_of,
    require_best,
    require_classes,
    require_two_classes,
    require_typed_architecture,
    require_validation,
)
from aeprobe.training.data import build_data


@dataclass
class Experiment:
    """What one stage is made of.

    Attributes:
        stage: "autoencoder", "classifier", "test" or "probe".
        module: what is trained or tested.
        data: the images, read and split.
        seed: of this run; for "test" and "probe" that of the finished run, unless another was typed.
        settings: the stage's own; None for "test" and "probe".
        ckpt: the file that the weights come from, and the number of steps that made them.
        callbacks: the person's own.
        evaluations: what is asked of the module at the end, by name.
    """

    stage: str
    module: Autoencoder | Classifier
    data: MNISTDataModule
    seed: int
    settings: StageConfig | None = None
    ckpt: Path | None = None
    steps: int = 0
    callbacks: Sequence[Callback] = ()
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)

    @property
    def higher_is_better(self) -> dict[str, bool | None]:
        """Of each metric of the stage, by its name; None for one that has no better or worse."""
        added = self.module.val_metrics.items(keep_base=True, copy_state=False)
        return MEASURED[self.module.stage] | {name: metric.higher_is_better for name, metric in added}

    def networks(self) -> dict[str, Any]:
        """What metrics.json says of the stage's networks, by their names."""
        return {
            name: {"sizes": network.sizes, "between": network.between, "parameters": network.parameters}
            for name, network in self.module.structures().items()
        }

    @property
    def keeps_best(self) -> bool:
        """Whether validation chooses the epoch; not among few labels, which validation's would be added to."""
        return bool(self.settings and self.data.val_size) and self.data.labels is None

    @property
    def layers(self) -> str:
        """Of its encoder, or of a classifier's head: "784-500-200-100-30 with ReLU"."""
        return str(self.module.structures()["head" if isinstance(self.module, Classifier) else "encoder"])

    def describe(self) -> str:
        """One line: architecture, number of weights that train, sizes of the splits."""
        weights = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.data.splits.items())
        return (
            f"{self.module.stage} {self.layers}, {weights:,} trainable weights{self._encoder()}; images: {sizes}"
        )

    def _encoder(self) -> str:
        """Of a classifier, what stage 2 does with its encoder, where that is not the report's."""
        words = ENCODERS.get(str(getattr(self.settings, "encoder", "")))
        return f", encoder {words}" if words else ""


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
    kind: Any = nodes.bound(config.data.source, "data.source", Source).func  # type: ignore[type-abstract]
    if source is None and kind.shape:  # a mistyped network is found before anything is unpacked
        building.require_memory(building.rehearse("autoencoder", _autoencoder_settings(config, kind.shape)))
    data = build_data(config, config.seed, settings.batch_size, source, resumed, stored=stored)
    data.augmentation = augmentation
    if source and resumed:
        checkpoints.restore(source, resumed, _trusted(config, stored))  # so that it fits, and is trusted
    kept = source["hyper_parameters"] if source else _autoencoder_settings(config, data.shape)
    if source is None and not kind.shape:
        building.require_memory(building.rehearse("autoencoder", kept))
    optimization = _optimization(config, "autoencoder", data, stored)
    added = additions.callbacks(config, "autoencoder", data)
    evaluations = additions.evaluations(config) if config.trainer.evaluate else {}
    aeprobe.runtime.seed(config.seed)
    training = {"corruption": corruption, "regularizer": regularizer, "optimization": optimization}
    module = building.autoencoder(kept, mean_image=None if source else data.mean_image, **training)
    try:
        if regularizer is not None:
            regularizer.require_code(module.code_size)
    except ValueError as error:
        raise AeprobeError(f"autoencoder.regularizer: {error}") from error
    module.add_metrics(additions.metrics(config, "autoencoder", data.shape, data.classes))
    if config.stage == Stage.all:  # stage 2 must not be found wrong after an hour of stage 1
        _optimization(config, "classifier", data, stored)
        additions.callbacks(config, "classifier", data)
        later = building.classifier(_classifier_settings(config, kept, module, data))
        additions.metrics(config, "classifier", data.shape, later.classes)
        require_classes(later, data)
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
    config: Config, encoder: Mapping[str, Any], trained: Autoencoder | Classifier, data: MNISTDataModule
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
    trained = checkpoints.restore(source, path, _trusted(config, stored)) if source and path else None
    if trained and not resuming and not isinstance(trained, Autoencoder):
        raise AeprobeError(f"ckpt={path}: holds a classifier, but stage=classifier starts from an autoencoder")
    if source and path:
        require_typed_architecture(config, typed, source, path, stages=("autoencoder",))
    data = build_data(config, config.seed, settings.batch_size, source, path, typed, stored)
    data.keep_labels(config.data.labels, config.seed)
    kept = source["hyper_parameters"] if source else _autoencoder_settings(config, data.shape)
    network = trained or building.autoencoder(kept)
    own = kept if resuming else _classifier_settings(config, kept, network, data)
    building.require_memory(building.rehearse("classifier", own))
    optimization = _optimization(config, "classifier", data, stored)
    added = additions.callbacks(config, "classifier", data)
    aeprobe.runtime.seed(config.seed)
    pretrained = trained.encoder if trained and (resuming or settings.encoder.pretrained) else None
    module = building.classifier(own, encoder=pretrained, optimization=optimization)
    require_classes(module, data)
    module.add_metrics(additions.metrics(config, "classifier", data.shape, module.classes))
    return Experiment("classifier", module, data, config.seed, settings, path, callbacks=added)


def build_finished(config: Config, typed: Mapping[str, str], ckpt: str | Path) -> Experiment:
    """The module of a finished run, to be looked at again on the data that it was made for."""
    probed = config.stage == Stage.probe
    path = find_checkpoint(ckpt, "autoencoder" if probed else "classifier")
    source = checkpoints.read(path)
    module = checkpoints.restore(source, path, _trusted(config, stored=False))
    require_typed_architecture(config, typed, source, path, stages=("autoencoder", "classifier"))
    seed = config.seed if "seed" in typed else source["datamodule_hyper_parameters"]["seed"]
    data = build_data(config, seed, 1, source, path, typed)
    classes = data.classes
    if isinstance(module, Classifier):
        require_classes(module, data)
        classes = module.classes
    module.add_metrics(additions.metrics(config, module.stage, data.shape, classes))
    asked = additions.evaluations(config) if probed or isinstance(module, Autoencoder) else {}
    return Experiment(str(config.stage), module, data, seed, None, path, source["global_step"], evaluations=asked)


def _trusted(config: Config, stored: bool) -> list[str]:
    """What a checkpoint may name besides: the person's plugins, and each class that they named for this run."""
    named = () if stored else (node["_target_"] for _, node, _ in every_node(config))
    return [*config.plugins, *filter(None, named)]


def _optimization(config: Config, stage: str, data: MNISTDataModule, stored: bool) -> Optimization:
    """How a stage is trained on the data; of another stage than theirs, only to see that it can be."""
    settings: StageConfig = getattr(config, stage)
    trainer = config.trainer
    require_validation(stage, config, data)
    require_best(stage, config, data)
    batches = batches_of("train", data, settings.batch_size, trainer.limit_train_batches)
    epochs, accumulate = settings.epochs(trainer), trainer.accumulate_grad_batches
    second = config.classifier.encoder_lr if stage == "classifier" else None
    optimization = Optimization(stage, settings.optimizer, settings.scheduler, batches, epochs, accumulate, second)
    if not stored:
        optimization.require_own_numbers()
    return optimization
