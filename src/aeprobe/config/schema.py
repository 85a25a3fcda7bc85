"""The typed schema of the configuration: types, ranges, known keys, and the value of a key that is absent.

The values stand in conf/. A field's default here is its neutral value: the one that a stored configuration means
which lacks the key. A field without one is always stored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any, get_type_hints

from omegaconf import MISSING

from aeprobe.config import rules
from aeprobe.config.choices import Encoder, LossOn, Stage
from aeprobe.config.rules import Rule, one_of

STAGES = ("autoencoder", "classifier")
MODULE = "aeprobe.models.autoencoder.Autoencoder"
OPTIMIZER_NUMBERS = {"lr": rules.POSITIVE, "weight_decay": rules.NOT_NEGATIVE}  # torch takes an lr of 0
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"  # the one schedule that follows a metric: val/loss
NETWORKS = {"autoencoder": "network", "classifier": "head"}  # what a checkpoint fixes of the stage that it holds


class Role(StrEnum):
    """The use of a key that changes no number of the experiment: a table folds runs that differ in it."""

    name = "name"  # what a run is called, where it lies, what a search looks at
    display = "display"  # what is shown of it; may be typed with resume=
    place = "place"  # where and how fast it is computed, which may change the last bits


def key(neutral: Any = MISSING, role: Role | None = None, rule: Rule | None = None, ours: bool = False) -> Any:
    """Declare a plain value; `rule` is the range of one other than null.

    Among the keys of `trainer.*`, those that are `ours` are no arguments of Lightning's Trainer.
    """
    metadata = {"role": role, "rule": rule, "ours": ours}
    if isinstance(neutral, list):
        return field(default_factory=neutral.copy, metadata=metadata)
    return field(default=neutral, metadata=metadata)


def node(neutral: str | None = None, required: bool = False, young: bool = True) -> Any:
    """Declare a node: `_target_` names a class, the other keys are its arguments.

    One that is `required` is never null; one that is not `young` is always stored.
    """
    default = {"_target_": neutral} if young else {}
    return field(default_factory=default.copy, metadata={"node": "one", "required": required})


def node_or_word(neutral: str, *others: str) -> Any:
    """Declare a node, for which a word may stand."""
    words = (neutral, *others)
    rule = Rule(f"{' or '.join(words)}, or a node with a _target_", lambda v: isinstance(v, dict) or v in words)
    return field(default=neutral, metadata={"node": "or a word", "role": None, "rule": rule})


def nodes_by_name(role: Role | None = None, ours: bool = False) -> Any:
    """Declare nodes by names of the person's own; arguments as of `key`."""
    return field(default_factory=dict, metadata={"node": "several", "required": True, "role": role, "ours": ours})


@dataclass
class StageConfig:
    """The settings that both stages have."""

    batch_size: int = key(rule=rules.COUNT)
    max_epochs: int = key(rule=rules.COUNT)
    optimizer: dict[str, Any] = node(required=True, young=False)
    scheduler: dict[str, Any] = node(young=False)
    callbacks: dict[str, Any] = nodes_by_name()
    metrics: dict[str, Any] = nodes_by_name(Role.display)
    monitor: str = key("val/loss")

    def epochs(self, trainer: "TrainerConfig") -> int:
        """Return how many epochs are trained."""
        return min(self.max_epochs, trainer.limit_epochs or self.max_epochs)


@dataclass
class AutoencoderConfig(StageConfig):
    """Stage 1. Another class than ours may have keys of its own: its arguments."""

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
    encoder_lr: float | None = key(None, rule=rules.POSITIVE)
    loss: Any = node_or_word("cross_entropy")
    standardize: bool = key(False)
    code_noise: float = key(0.0, rule=rules.NOT_NEGATIVE)
    loss_on: LossOn = key(LossOn.logits)
    class_weights: str | None = key(None, rule=one_of(None, "balanced"))


@dataclass
class DataConfig:
    """The images and how they are split."""

    name: str = key(rule=rules.DATASET_NAME)
    source: dict[str, Any] = node(required=True)
    root: str = key(role=Role.name)
    val_size: int | float = MISSING
    labels: int | None = key(None, rule=rules.COUNT)
    mean: float = key(0.0, rule=rules.FINITE)
    std: float = key(1.0, rule=rules.POSITIVE)
    eval_batch_size: int = key(1000, Role.place, rules.COUNT)


@dataclass
class TrainerConfig:
    """Lightning's plain arguments, and ours."""

    accelerator: str = key("auto", Role.place, one_of("auto", "cpu", "gpu", "cuda", "mps"))
    strategy: str = key("auto", rule=one_of("auto", "ddp"))
    devices: int = key(1, rule=rules.COUNT)
    num_nodes: int = key(1, rule=rules.COUNT)
    precision: str = key("32-true", rule=one_of("32-true", "bf16-mixed", "16-mixed", "64-true"))
    limit_train_batches: int | float | None = key(None, rule=rules.BATCHES)
    limit_val_batches: int | float | None = key(None, rule=rules.BATCHES)
    limit_test_batches: int | float | None = key(None, rule=rules.BATCHES)
    gradient_clip_val: float | None = key(None, rule=rules.POSITIVE)
    gradient_clip_algorithm: str = key("norm", rule=one_of("norm", "value"))
    accumulate_grad_batches: int = key(1, rule=rules.COUNT)
    deterministic: bool = key(False)
    profiler: str | None = key(None, Role.display, one_of(None, "simple", "advanced"))
    check_val_every_n_epoch: int = key(1, rule=rules.COUNT)
    limit_epochs: int | None = key(None, rule=rules.COUNT, ours=True)
    max_time: str | None = key(None, rule=rules.DURATION, ours=True)
    threads: int | None = key(None, Role.place, rules.THREADS_ANYWHERE, ours=True)
    matmul_precision: str = key("highest", rule=one_of("highest", "high", "medium"), ours=True)
    progress: str = key("auto", Role.display, one_of("auto", "true", "false"), ours=True)
    figures: bool = key(True, Role.display, ours=True)
    evaluate: bool = key(False, Role.display, ours=True)
    recorders: dict[str, Any] = nodes_by_name(Role.display, ours=True)
    figure_epochs: list[int] = key([1, 5, 9], Role.display, rules.EPOCH_NUMBERS, ours=True)


@dataclass
class Config:
    """The root: what `python train.py --cfg job` prints."""

    stage: Stage = MISSING
    seed: int = key(rule=rules.SEED)
    ckpt: str | None = key(None)
    outputs: str = key("outputs", Role.name)
    sweep: str = key("", Role.name)
    objective: str | None = key(None, Role.name)
    logger: dict[str, Any] = nodes_by_name(Role.display)
    after: dict[str, Any] = nodes_by_name(Role.display)
    plugins: list[str] = key([], Role.display)
    probe: dict[str, Any] = node(required=True, young=False)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def keys(group: type = Config, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Yield every dotted key of the schema with its field; a group of keys has none."""
    hints = get_type_hints(group)
    for item in fields(group):
        if is_dataclass(hints[item.name]):
            yield from keys(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, item


def every_node(config: object) -> Iterator[tuple[str, Any, bool]]:
    """Yield every node of a configuration, or a mapping of its form: key, node, whether it must name a class."""
    for name, item in keys():
        kind, value = item.metadata.get("node"), value_of(config, name)
        if kind == "one":
            yield name, value, item.metadata["required"]
        elif kind == "several":
            yield from ((f"{name}.{own}", node, True) for own, node in value.items())
        elif kind == "or a word" and isinstance(value, Mapping):
            yield name, value, True
    yield "autoencoder", module_node(config), True


def module_node(config: object) -> dict[str, Any]:
    """Return the class of stage 1's module, and the arguments that it alone takes."""
    group = value_of(config, "autoencoder")
    known = {item.name for item in fields(AutoencoderConfig)} - {"_target_"}
    values = group if isinstance(group, Mapping) else vars(group)
    return {name: value for name, value in values.items() if name not in known}


def value_of(config: object, key: str) -> Any:
    """Return the value at a dotted key of a configuration, or a mapping of its form; None where there is none."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return config


def plain(config: Any) -> Any:
    """Return the configuration as plain values, with the enums as their words."""
    if is_dataclass(config):
        return {name: plain(value) for name, value in vars(config).items()}
    if isinstance(config, dict):
        return {name: plain(value) for name, value in config.items()}
    return str(config) if isinstance(config, StrEnum) else config


def interval(scheduler: Mapping[str, Any]) -> str:
    """Return what a schedule counts: "step" (of the optimizer) or "epoch".

    A node that does not say counts epochs, as users of Lightning expect; one with an argument that is "auto"
    counts steps.
    """
    return str(scheduler.get("interval") or ("step" if "auto" in scheduler.values() else "epoch"))


def depends_on_length(scheduler: Mapping[str, Any]) -> bool:
    """Tell if a schedule is another one in a training of more epochs: OneCycleLR ends at its last step."""
    return "auto" in scheduler.values() or str(scheduler.get("_target_")).endswith(".OneCycleLR")
