"""The typed schema of the configuration: types and known keys only; the values stand in conf/."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

PIXELS = 28 * 28
ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Tanh")
OPTIMIZER_NUMBERS = ("lr", "weight_decay", "betas", "momentum", "dampening", "eps")
ARCHITECTURE = ("widths", "activation")  # what a checkpoint fixes of the stage that it holds


class Stage(StrEnum):
    """Which stages a run has."""

    all = "all"
    autoencoder = "autoencoder"
    classifier = "classifier"
    test = "test"

    def trains(self, stage: str) -> bool:
        """Whether this run trains `stage` ("autoencoder" or "classifier")."""
        return self in (Stage.all, stage)


class LossOn(StrEnum):
    """What the classifier's cross-entropy is given."""

    logits = "logits"
    softmax = "softmax"


class Initialization(StrEnum):
    """The weights that a stage starts from."""

    torch = "torch"
    he = "he"


class Dataset(StrEnum):
    """Where the images come from."""

    mnist = "mnist"
    folder = "folder"


@dataclass
class StageConfig:
    """What both stages have. Optimizer and scheduler have the keys of the class that `_target_` names."""

    widths: list[int] = MISSING
    activation: str = MISSING
    initialization: Initialization = MISSING
    batch_size: int = MISSING
    max_epochs: int = MISSING
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)

    def epochs(self, trainer: "TrainerConfig") -> int:
        """How many are trained."""
        return min(self.max_epochs, trainer.limit_epochs or self.max_epochs)


@dataclass
class AutoencoderConfig(StageConfig):
    """Stage 1."""

    shift: int = MISSING
    shift_epochs: int | None = MISSING
    pixel_dropout: float = MISSING
    clusters: int = MISSING
    cluster_weight: float = MISSING


@dataclass
class ClassifierConfig(StageConfig):
    """Stage 2."""

    standardize: bool = MISSING
    code_noise: float = MISSING
    loss_on: LossOn = MISSING


@dataclass
class DataConfig:
    """The images and how they are split."""

    name: Dataset = MISSING
    root: str = MISSING
    val_size: int = MISSING
    mean: float = MISSING
    std: float = MISSING
    eval_batch_size: int = MISSING


@dataclass
class TrainerConfig:
    """Lightning's plain arguments, and ours."""

    accelerator: str = MISSING
    strategy: str = MISSING
    devices: int = MISSING
    num_nodes: int = MISSING
    precision: str = MISSING
    limit_train_batches: int | float | None = MISSING
    limit_val_batches: int | float | None = MISSING
    limit_test_batches: int | float | None = MISSING
    gradient_clip_val: float | None = MISSING
    accumulate_grad_batches: int = MISSING
    deterministic: bool = MISSING
    profiler: str | None = MISSING
    check_val_every_n_epoch: int = MISSING
    limit_epochs: int | None = MISSING
    threads: int | None = MISSING
    steps_per_execution: int = MISSING
    progress: str = MISSING
    figures: bool = MISSING
    figure_epochs: list[int] = MISSING


@dataclass
class Config:
    """The root: what `python train.py --cfg job` prints."""

    stage: Stage = MISSING
    seed: int = MISSING
    ckpt: str | None = MISSING
    outputs: str = MISSING
    sweep: str = MISSING
    objective: str | None = MISSING
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def plain(config: Config) -> dict[str, Any]:
    """The configuration as plain values, with the enums as their words."""

    def words(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: str(value) if isinstance(value, StrEnum) else value for key, value in items}

    return asdict(config, dict_factory=words)


def known_keys(schema: type = Config, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the schema, and the keys of the optimizers in conf/optimizer."""
    hints = get_type_hints(schema)
    for name in (f.name for f in fields(schema)):
        yield prefix + name
        if is_dataclass(hints[name]):
            yield from known_keys(hints[name], f"{prefix}{name}.")
        if name == "optimizer":
            yield from (f"{prefix}{name}.{key}" for key in OPTIMIZER_NUMBERS)


def nearest(key: str, known: Iterable[str] = ()) -> str:
    """A clause that names the known key most like `key`: the right name elsewhere, else a near spelling."""
    known = list(known or known_keys())
    owner, _, name = key.rpartition(".")
    root = owner.partition(".")[0]
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    elsewhere.sort(key=lambda k: (k.partition(".")[0] != root, k))
    beside = [k for k in known if k.partition(".")[0] == root and "." in k]
    alike = get_close_matches(name, [k.rpartition(".")[2] for k in beside or known], n=1)
    close = elsewhere or [k for k in beside or known if k.rpartition(".")[2] in alike]
    return f"did you mean {close[0]}?" if close else "`python train.py --cfg job` lists the keys"


ConfigStore.instance().store("schema", node=Config)
