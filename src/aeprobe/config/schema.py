"""The typed schema of the configuration: types, known keys and what a key means that is not there.

The values stand in conf/. A field's default here is its neutral value: what a run means that was stored before the
key existed. A field without one has been there from the beginning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf

from aeprobe.config.choices import Encoder, LossOn, Stage
from aeprobe.config.fields import Role, key, node, node_or_word, nodes_by_name
from aeprobe.config.rules import (
    BATCHES,
    BETAS,
    COUNT,
    DATASET_NAME,
    DURATION,
    EPOCH_NUMBERS,
    EPOCHS,
    FINITE,
    NOT_NEGATIVE,
    PACKAGES,
    POSITIVE,
    SEED,
    THREADS,
    Rule,
    one_of,
)

STAGES = ("autoencoder", "classifier")
MODULE = "aeprobe.models.autoencoder.Autoencoder"
# Arguments of torch's optimizers, whose nodes are not typed.
OPTIMIZER_NUMBERS = {"lr": POSITIVE, "betas": BETAS} | dict.fromkeys(
    ("weight_decay", "momentum", "dampening", "eps"), NOT_NEGATIVE
)
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"  # the one schedule that follows a metric: val/loss
NETWORKS = {"autoencoder": "network", "classifier": "head"}  # what a checkpoint fixes of the stage that it holds


@dataclass
class StageConfig:
    """What both stages have."""

    batch_size: int = key(rule=COUNT)
    max_epochs: int = key(rule=EPOCHS)
    optimizer: dict[str, Any] = node(required=True, young=False)
    scheduler: dict[str, Any] = node(young=False)
    callbacks: dict[str, Any] = nodes_by_name()
    metrics: dict[str, Any] = nodes_by_name(Role.display)
    monitor: str = key("val/loss")

    def epochs(self, trainer: "TrainerConfig") -> int:
        """How many are trained."""
        return min(self.max_epochs, trainer.limit_epochs or self.max_epochs)


@dataclass
class AutoencoderConfig(StageConfig):
    """Stage 1. Its module may have keys of its own beside these: they are arguments of its class."""

    _target_: str = key(MODULE)
    network: dict[str, Any] = node("aeprobe.models.networks.MLPAutoencoder", required=True)
    loss: Any = node_or_word("mse", "bce", "l1")
    augmentation: dict[str, Any] = node()
    corruption: dict[str, Any] = node()
    regularizer: dict[str, Any] = node()
    evaluations: dict[str, Any] = nodes_by_name(Role.display)


@dataclass
class ClassifierConfig(StageConfig):
    """Stage 2."""

    head: dict[str, Any] = node("aeprobe.models.networks.MLP", required=True)
    encoder: Encoder = key(Encoder.frozen)
    encoder_lr: float | None = key(None, rule=Rule("null, or above 0", POSITIVE.holds))
    loss: Any = node_or_word("cross_entropy")
    standardize: bool = key(False)
    code_noise: float = key(0.0, rule=NOT_NEGATIVE)
    loss_on: LossOn = key(LossOn.logits)
    class_weights: str | None = key(None, rule=one_of(None, "balanced"))


@dataclass
class DataConfig:
    """The images and how they are split."""

    name: str = key(rule=DATASET_NAME)
    source: dict[str, Any] = node(required=True)
    root: str = key(role=Role.name)
    val_size: int | float = MISSING
    labels: int | None = key(None, rule=COUNT)
    mean: float = key(0.0, rule=FINITE)
    std: float = key(1.0, rule=Rule("a number above 0", POSITIVE.holds))
    eval_batch_size: int = key(1000, Role.place, COUNT)


@dataclass
class TrainerConfig:
    """Lightning's plain arguments, and ours."""

    accelerator: str = key("auto", Role.place, one_of("auto", "cpu", "gpu", "cuda", "mps"))
    strategy: str = key("auto", rule=one_of("auto", "ddp"))
    devices: int = key(1, rule=COUNT)
    num_nodes: int = key(1, rule=COUNT)
    precision: str = key("32-true", rule=one_of("32-true", "bf16-mixed", "16-mixed", "64-true"))
    limit_train_batches: int | float | None = key(None, rule=BATCHES)
    limit_val_batches: int | float | None = key(None, rule=BATCHES)
    limit_test_batches: int | float | None = key(None, rule=BATCHES)
    gradient_clip_val: float | None = key(None, rule=Rule("null, or above 0", POSITIVE.holds))
    gradient_clip_algorithm: str = key("norm", rule=one_of("norm", "value"))
    accumulate_grad_batches: int = key(1, rule=COUNT)
    deterministic: bool = key(False)
    profiler: str | None = key(None, Role.display, one_of(None, "simple", "advanced"))
    check_val_every_n_epoch: int = key(1, rule=COUNT)
    limit_epochs: int | None = key(None, rule=COUNT, ours=True)
    max_time: str | None = key(None, rule=DURATION, ours=True)
    threads: int | None = key(None, Role.place, THREADS, ours=True)
    matmul_precision: str = key("highest", rule=one_of("highest", "high", "medium"), ours=True)
    progress: str = key("auto", Role.display, one_of("auto", "true", "false"), ours=True)
    figures: bool = key(True, Role.display, ours=True)
    evaluate: bool = key(False, Role.display, ours=True)
    recorders: dict[str, Any] = nodes_by_name(Role.display, ours=True)
    figure_epochs: list[int] = key([1, 5, 9], Role.display, EPOCH_NUMBERS, ours=True)


@dataclass
class Config:
    """The root: what `python train.py --cfg job` prints."""

    stage: Stage = MISSING
    seed: int = key(rule=SEED)
    ckpt: str | None = key(None)
    outputs: str = key("outputs", Role.name, Rule("a directory", lambda path: bool(path.strip())))
    sweep: str = key("", Role.name)
    objective: str | None = key(None, Role.name)
    logger: dict[str, Any] = nodes_by_name(Role.display)
    after: dict[str, Any] = nodes_by_name(Role.display)
    plugins: list[str] = key([], Role.display, PACKAGES)
    probe: dict[str, Any] = node(required=True, young=False)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def keys(group: type = Config, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Every dotted key of the schema with its field; groups of keys are none."""
    hints = get_type_hints(group)
    for item in fields(group):
        if is_dataclass(hints[item.name]):
            yield from keys(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, item


def every_node(config: object) -> Iterator[tuple[str, Any, bool]]:
    """Every node of a configuration, or a mapping of its form: key, node, and whether it must name a class."""
    for name, item in keys():
        kind = item.metadata.get("node")
        if kind == "one":
            yield name, value_of(config, name), item.metadata["required"]
        elif kind == "several":
            yield from ((f"{name}.{own}", node, True) for own, node in value_of(config, name).items())
        elif kind == "or a word" and isinstance(found := value_of(config, name), Mapping):
            yield name, found, True
    yield "autoencoder", module_node(config), True


def module_node(config: object) -> dict[str, Any]:
    """The class of stage 1's module and the arguments that it alone takes, of a configuration or a mapping."""
    group = value_of(config, "autoencoder")
    known = {item.name for item in fields(AutoencoderConfig)} - {"_target_"}
    values = group if isinstance(group, Mapping) else vars(group)
    return {name: value for name, value in values.items() if name not in known}


def value_of(config: object, key: str) -> Any:
    """What a configuration, or a group of it, has at a dotted key; None: nothing."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return config


def plain(config: Any) -> Any:
    """The configuration as plain values, with the enums as their words."""
    if is_dataclass(config):
        return {name: plain(value) for name, value in vars(config).items()}
    if isinstance(config, dict):
        return {name: plain(value) for name, value in config.items()}
    return str(config) if isinstance(config, StrEnum) else config


def schema() -> DictConfig:
    """The schema as Hydra and OmegaConf take it: stages and sources also take keys that their classes may know."""
    config: DictConfig = OmegaConf.structured(Config)
    for group in (*(config[stage] for stage in STAGES), config.data.source):
        OmegaConf.set_struct(group, False)
    return config


def interval(scheduler: Mapping[str, Any]) -> str:
    """What a schedule counts: "step" (optimizer steps) or "epoch".

    A node that does not say counts epochs, as users of Lightning expect; one with an argument that is "auto"
    counts steps.
    """
    return str(scheduler.get("interval") or ("step" if "auto" in scheduler.values() else "epoch"))


def depends_on_length(scheduler: Mapping[str, Any]) -> bool:
    """Whether a schedule is another one in a training of more epochs: OneCycleLR ends at its last step."""
    return "auto" in scheduler.values() or str(scheduler.get("_target_")).endswith(".OneCycleLR")
