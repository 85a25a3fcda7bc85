"""Build one stage from a configuration or a checkpoint; all that can fail early fails here."""

import logging
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aeprobe.runtime

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aeprobe import nodes
from aeprobe.config import objective
from aeprobe.config.checks import typed_values
from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import (
    NETWORKS,
    Config,
    Encoder,
    Stage,
    StageConfig,
    experiment,
    module_node,
    plain,
    require,
    trusted_in,
    value_of,
)
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.sampler import labelled
from aeprobe.data.sources import Source
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation, Subject
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.regularizers import Regularizer
from aeprobe.models.stage import Optimization
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import SCHEMA, Metrics, find_checkpoint, read_metrics
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training import instantiate

log = logging.getLogger("aeprobe")
TRIED = 8  # images that a loss is tried on
GROUPS = [f"{stage}.{name}" for stage, name in NETWORKS.items()]  # a typed file of conf/ stands for its class
PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "aeprobe")


@dataclass
class BuiltStage:
    """One stage of a run."""

    name: str  # "autoencoder", "classifier", "test" or "probe"
    config: Config  # of the run
    directory: RunDirectory  # of the stage
    module: Autoencoder | Classifier  # that is trained or tested
    data: ImageDataModule  # read and split
    seed: int  # of this run; for "test" and "probe" that of the finished run, unless another was typed
    settings: StageConfig | None = None  # None for "test" and "probe"
    ckpt: Path | None = None  # the file that the weights come from
    steps: int = 0  # of the optimizer, that made them
    encoder_data: str | None = None  # the title of the images that the encoder was trained on, if they were others
    callbacks: Sequence[Callback] = ()  # the person's own
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)  # asked of the module at the end, by name

    @property
    def higher_is_better(self) -> dict[str, bool | None]:
        """The direction of each metric of the stage, by its name; None for one that has no better or worse."""
        added = self.module.val_metrics.items(keep_base=True, copy_state=False)
        return MEASURED[self.module.stage] | {name: metric.higher_is_better for name, metric in added}

    @property
    def keeps_best(self) -> bool:
        """True if validation chooses the epoch; not with few labels, to which it would add its own."""
        return bool(self.settings and self.data.val_size) and self.data.labels is None

    def header(self, overrides: Sequence[str], device: torch.device) -> Metrics:
        """Return what metrics.json says of a run that begins; of one that goes on, what may be another now."""
        data, hparams = self.data, self.module.hparams
        images = {name: len(split) for name, split in data.splits.items()}
        used = {"mean": hparams["mean"], "std": hparams["std"], "root": str(data.root), "images": images}
        header: Metrics = {
            "status": "running",
            "error": None,
            "overrides": list(overrides),
            "config": plain(self.config),
            "data": data.identity | used | {"files": data.files},
            "networks": {
                name: {"sizes": network.sizes, "between": network.between, "parameters": network.parameters}
                for name, network in self.module.structures().items()
            },
            "loss": self.module.loss_name,
            "higher_is_better": self.higher_is_better,
        }
        if self.directory.last:
            return header
        return header | {
            "schema": SCHEMA,
            "stage": self.name,
            "seed": self.seed,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "device": str(device),
            "threads": torch.get_num_threads(),  # of each process
            "processes": here().world,
            "ckpt": str(self.ckpt) if self.ckpt else None,
            "encoder_data": self.encoder_data,
            "epoch_size": data.epoch_size if self.settings else None,
            **({"of": _settings_behind(self.ckpt)} if self.name == Stage.probe else {}),
            "checkpoint": "best" if self.keeps_best else "last",
            "seconds": {"total": None, "fit": None, "figures": None},
            "epochs": [],
            "final": {},
        }

    def announce(self, device: torch.device) -> None:
        """Print what is trained or tested: architecture, number of weights that train, images, device."""
        module, encoder = self.module, getattr(self.settings, "encoder", Encoder.frozen)
        weights = sum(p.numel() for p in module.parameters() if p.requires_grad)
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.data.splits.items())
        trained = "" if encoder == Encoder.frozen else f", encoder {encoder.words}"
        log.info(f"{module.stage} {module.layers}, {weights:,} trainable weights{trained}; images: {sizes}")
        if self.encoder_data:
            log.info(f"images: {self.data.name}; the encoder was trained on {self.encoder_data}")
        if self.name == Stage.probe:
            log.info(f"probing the encoder of the {module.stage} in {self.ckpt}")
        threads, world = torch.get_num_threads(), here().world
        many = f"{threads} thread{'s'[: threads > 1]}" + (f" in each of {world} processes" if world > 1 else "")
        where = f"going on from {last.name} in" if (last := self.directory.last) else "into"
        log.info(f"on {device} with {many}, {where} {self.directory.path}")


def _settings_behind(ckpt: Path | None) -> Metrics | None:
    """Return the settings of the run of a checkpoint, so that its seeds fold; None for a file without its run."""
    with suppress(AeprobeError):
        if ckpt and len(ckpt.parents) > 1:
            run = read_metrics(ckpt.parents[1])
            settings = experiment(run["config"], run["data"], run["stage"])
            return settings | ({"ckpt": run["ckpt"]} if run["ckpt"] else {})
    return None


class Origin:
    """A checkpoint that a stage starts from, or goes on with; what a person typed must not contradict it.

    `other_data` is the title of its images, where a person typed `data=` and means others; `encoder_data` that of
    the images that its encoder was trained on, if they were others.
    """

    def __init__(self, path: Path, config: Config, typed: Mapping[str, str], trusted: Sequence[str]) -> None:
        self.path, self.trusted, self.content = path, trusted, checkpoints.read(path)
        self.settings, self.data = self.content["hyper_parameters"], self.content["datamodule_hyper_parameters"]
        self.steps = self.content["global_step"]
        chosen, own, self.other_data = config.data, self.data, None
        elsewhere = "data.root" in typed and chosen.root != own["root"] and not _is_fetched(chosen.source)
        other_class = chosen.source["_target_"] != own["source"]["_target_"]
        if "data" in typed and (elsewhere or other_class or chosen.name != own["name"]):
            self.other_data = str(own["title"])
        run = read_metrics(path.parent.parent, missing_ok=True) if path.parent.name == "checkpoints" else {}
        self.encoder_data = run.get("encoder_data") or self.other_data
        fixed = {f"data.{name}": self.settings[name] for name in ("mean", "std")}
        if self.other_data is None:
            fixed |= {f"data.{name}": own[name] for name in ("name", "val_size", "source")}
        for stage, name in NETWORKS.items():
            if stage == "autoencoder" or config.stage.trains_nothing:  # a new head is free
                fixed[f"{stage}.{name}"] = self.settings.get(name)
        for typed_key, override in typed.items():
            key = f"{typed_key}._target_" if typed_key in GROUPS else typed_key
            place = ".".join(key.split(".")[:2])
            wanted, had = value_of(config, key), value_of({"in": fixed.get(place)}, f"in{key[len(place) :]}")
            if isinstance(wanted, list) and isinstance(had, list) and len(wanted) == len(had):
                wanted = [before if now == "auto" else now for now, before in zip(wanted, had, strict=True)]
            if place in fixed and wanted != had:
                raise AeprobeError(
                    f"{override}: the checkpoint {path} was trained with {key}={had}; drop the override"
                )

    def restore(self, **training: Any) -> Any:
        """Return the checkpoint's module, in eval mode; with arguments of training, to go on with it."""
        module = checkpoints.restore(self.content, self.path, self.trusted, **training)
        return module.train() if training else module


def build(
    name: str, config: Config, overrides: Sequence[str], directory: RunDirectory, stored: bool = False
) -> BuiltStage:
    """Build one stage of a run: "autoencoder", "classifier", "test" or "probe".

    It goes on from `last` of its `directory`; a `stored` configuration is that of an earlier run. What is not as
    a checkpoint has it, or cannot be built, ends in an AeprobeError.
    """
    probed, alone = config.stage == Stage.probe, config.stage not in (Stage.all, Stage.autoencoder)
    typed = typed_values(overrides) if alone else {}  # the others start from no checkpoint of another run
    ckpt = config.ckpt if alone or name == "autoencoder" else str(directory.path.parent / "autoencoder")
    path = directory.last
    if path is None and ckpt:
        path = find_checkpoint(ckpt, "classifier" if name == Stage.test else "autoencoder")
    origin = Origin(path, config, typed, trusted_in(config, stored)) if path else None
    settings: StageConfig | None = None if config.stage.trains_nothing else getattr(config, name)
    seed = origin.data["seed"] if origin and not settings and "seed" not in typed else config.seed
    data = _build_data(config, seed, settings.batch_size if settings else 1, origin, typed)
    if origin and not settings:
        module = origin.restore()
    elif name == "autoencoder":
        module = _build_autoencoder(config, data, origin)
    else:
        module = _build_classifier(config, data, origin, bool(directory.last))
    if settings:
        data.augmentation = nodes.build_or_none(settings.augmentation, f"{name}.augmentation", nn.Module)
    if probed:
        data.require_labels("train", "test")
    else:
        module.require_fit(data, *(data.splits if settings else ("test",)))
    callbacks = instantiate.make_callbacks(config, name, data) if settings else []
    if settings:
        _require_trainable(module, data)
    module.add_metrics(instantiate.make_metrics(config, module.stage, getattr(module, "classes", data.classes)))
    evaluations = {}
    if config.trainer.evaluate or not settings:
        must = probed or config.trainer.evaluate or any("evaluations" in key for key in typed)
        evaluations = instantiate.make_evaluations(config, Subject(module, data.splits, seed), must)
    if name == "autoencoder" and config.stage == Stage.all:
        _check_classifier(config, module, data)
    return BuiltStage(
        name=name,
        config=config,
        directory=directory,
        module=module,
        data=data,
        seed=seed,
        settings=settings,
        ckpt=path if name != "autoencoder" else None,
        steps=origin.steps if origin and (directory.last or not settings) else 0,
        encoder_data=origin.encoder_data if origin else None,
        callbacks=callbacks,
        evaluations=evaluations,
    )


def _build_autoencoder(config: Config, data: ImageDataModule, own: Origin | None) -> Any:
    settings = config.autoencoder
    training: dict[str, Any] = {
        "corruption": nodes.build_or_none(settings.corruption, "autoencoder.corruption", nn.Module),
        "regularizer": nodes.build_or_none(settings.regularizer, "autoencoder.regularizer", Regularizer),
        "optimization": _optimization(config, "autoencoder", data),
    }
    aeprobe.runtime.seed(config.seed)
    if own:
        return own.restore(**training)
    return checkpoints.new_autoencoder(_autoencoder_settings(config, data.shape), data.mean_image, **training)


def _autoencoder_settings(config: Config, shape: Sequence[int]) -> dict[str, Any]:
    """Return what a checkpoint keeps of stage 1's module: all that it is built from."""
    return {
        "module": module_node(config),
        "network": checkpoints.network_node(config.autoencoder.network, shape),
        "loss": config.autoencoder.loss,
        "shape": list(shape),
        "mean": config.data.mean,
        "std": config.data.std,
    }


def _build_classifier(config: Config, data: ImageDataModule, origin: Origin | None, goes_on: bool) -> Any:
    """Build stage 2 with the encoder of a checkpoint, or one like it, or go on from its own checkpoint."""
    data.keep_labels(config.data.labels, config.seed)
    if origin and goes_on:
        return origin.restore(optimization=_optimization(config, "classifier", data))
    trained = origin.restore() if origin else None
    if origin and trained and trained.stage != "autoencoder":
        raise AeprobeError(
            f"ckpt={origin.path}: holds a classifier, but stage=classifier starts from an autoencoder"
        )
    encoder = origin.settings if origin else _autoencoder_settings(config, data.shape)
    code_size = (trained or checkpoints.new_autoencoder(encoder)).code_size
    pretrained = trained.encoder if trained and config.classifier.encoder.pretrained else None
    return _new_classifier(config, data, encoder, code_size, pretrained)


def _new_classifier(
    config: Config,
    data: ImageDataModule,
    encoder: Mapping[str, Any],
    code_size: int,
    pretrained: nn.Module | None = None,
) -> Classifier:
    """Build stage 2's module with a new head; `encoder` is what the encoder's checkpoint keeps."""
    settings = config.classifier
    data.require_labels(*data.splits)
    plain = {
        **{name: encoder[name] for name in ("network", "shape", "mean", "std")},
        "trains_encoder": settings.encoder.trains,
        "head": checkpoints.head_node(settings.head, code_size, data.classes),
        **{name: getattr(settings, name) for name in ("standardize", "code_noise", "loss", "class_weights")},
        "loss_on": str(settings.loss_on),
    }
    optimization = _optimization(config, "classifier", data)
    aeprobe.runtime.seed(config.seed)
    return checkpoints.new_classifier(plain, encoder=pretrained, optimization=optimization)


def _check_classifier(config: Config, encoder: Any, data: ImageDataModule) -> None:
    """Look at stage 2 before stage 1 trains: it must not be found wrong an hour later."""
    instantiate.make_callbacks(config, "classifier", data)
    module = _new_classifier(config, data, encoder.hparams, encoder.code_size)
    module.require_fit(data)
    _require_trainable(module, data)
    instantiate.make_metrics(config, "classifier", module.classes)
    if config.data.labels:
        labelled(data.splits["train"].labels, config.data.labels, config.seed)


def _build_data(
    config: Config, seed: int, batch_size: int, origin: Origin | None, typed: Mapping[str, str]
) -> ImageDataModule:
    """Read and split the images, as the checkpoint whose encoder sees them did, or by this run's seed."""
    settings = {key: getattr(config.data, key) for key in ("name", "root", "val_size", "eval_batch_size")}
    node, settings["split_seed"] = config.data.source, seed
    same = origin if origin and origin.other_data is None else None
    if same:
        if same.data["source"] != node:  # which the person chose
            nodes.require_trusted([("data.source", same.data["source"])], config.plugins, f"ckpt={same.path}")
        node = same.data["source"]
        settings |= {key: same.data[key] for key in ("name", "val_size", "split_seed")}
        if not _is_fetched(node) and "data.root" not in typed:
            settings["root"] = same.data["root"]
    source: Any = nodes.build(node, "data.source", Source, root=settings["root"])  # type: ignore[type-abstract]
    data = ImageDataModule(**settings, batch_size=batch_size, seed=seed, source=source)
    data.identity["source"] = data.hparams["source"] = node
    data.prepare_data()
    data.setup()
    if same:
        data.require_files(same.data["files"], same.path)
    if origin and [*data.shape] != [*(shape := origin.settings["shape"])]:
        needs = f"the encoder of {origin.path} takes {tuple(shape)} (channels, height, width)"
        raise AeprobeError(f"data={data.name}: its images are {data.shape}, but {needs}")
    return data


def _is_fetched(node: Mapping[str, Any]) -> bool:
    return bool(nodes.bound(node, "data.source", Source).func.fetched)  # type: ignore[type-abstract,attr-defined]


def _require_trainable(module: Autoencoder | Classifier, data: ImageDataModule) -> None:
    """Raise AeprobeError where an optimizer, a schedule or a loss does not fit, before anything is written."""
    module.configure_optimizers()
    train = data.splits["train"]
    module.require_mean_loss(train.images[:TRIED], train.labels[:TRIED])


def _optimization(config: Config, stage: str, data: ImageDataModule) -> Optimization:
    """Return what makes the optimizer and the schedule of a stage; each follows what is measured alone."""
    settings: StageConfig = getattr(config, stage)
    trainer, metric = config.trainer, settings.monitor
    if metric != "val/loss":  # where that is the test set's, there is no best.ckpt
        instantiate.require_monitored(f"{stage}.monitor", metric, stage, config, data)
        require(metric.startswith("val/"), f"{stage}.monitor", metric, "one of validation, such as val/loss")
        objective.higher_is_better(config, stage, metric)
    batches, epochs = instantiate.training_batches(config, stage, data), settings.epochs(trainer)
    second = config.classifier.encoder_lr if stage == "classifier" else None
    optimization = Optimization(
        *(stage, settings.optimizer, settings.scheduler, batches, epochs, trainer.accumulate_grad_batches, second)
    )
    schedule = optimization.scheduler
    if schedule and issubclass(schedule.func, ReduceLROnPlateau):  # type: ignore[arg-type]
        mode, key = schedule.keywords.get("mode", "min"), f"{stage}.scheduler"
        counted = settings.scheduler["interval"]
        require(counted == "epoch", f"{key}.interval", counted, "epoch: it looks at each validation")
        require(mode == "min", f"{key}.mode", mode, "min: it follows val/loss")
        instantiate.require_monitored(f"{key}: {schedule.func.__name__} follows", "val/loss", stage, config, data)
    return optimization
