"""The typed schema of the configuration: types, known keys and what a key means that is not there.

The values stand in conf/. The default of a field here is its neutral value: the one that leaves everything as it
was before the key existed, so that a run which was stored without the key means that. A field without one has been
there from the beginning. What a field's role is for: `aeprobe.config.settings`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

PIXELS = 28 * 28
ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Tanh")
OPTIMIZER_NUMBERS = ("lr", "weight_decay", "betas", "momentum", "dampening", "eps")
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"  # the one schedule that follows a metric: val/loss
ARCHITECTURE = ("widths", "activation")  # what a checkpoint fixes of the stage that it holds


class Role(StrEnum):
    """What a key is for that changes no number of the experiment: runs that differ in it belong together."""

    name = "name"  # what a run is called, where it lies, what a search looks at
    display = "display"  # what is shown of it; may be typed with resume=
    place = "place"  # where and how fast it is computed, which may change the last bits


def key(neutral: Any = MISSING, role: Role | None = None) -> Any:
    """A field of the schema, with the value that it has where a stored configuration lacks it."""
    if isinstance(neutral, list | dict):
        return field(default_factory=neutral.copy, metadata={"role": role})
    return field(default=neutral, metadata={"role": role})


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
    initialization: Initialization = key(Initialization.torch)
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

    shift: int = key(0)
    shift_epochs: int | None = key(None)
    pixel_dropout: float = key(0.0)
    clusters: int = key(10)
    cluster_weight: float = key(0.0)


@dataclass
class ClassifierConfig(StageConfig):
    """Stage 2."""

    standardize: bool = key(False)
    code_noise: float = key(0.0)
    loss_on: LossOn = key(LossOn.logits)


@dataclass
class DataConfig:
    """The images and how they are split."""

    name: Dataset = MISSING
    root: str = key(role=Role.name)
    val_size: int = MISSING
    mean: float = key(0.0)
    std: float = key(1.0)
    eval_batch_size: int = key(1000, Role.place)


@dataclass
class TrainerConfig:
    """Lightning's plain arguments, and ours."""

    accelerator: str = key("auto", Role.place)
    strategy: str = key("auto")
    devices: int = key(1)
    num_nodes: int = key(1)
    precision: str = key("32-true")
    limit_train_batches: int | float | None = key(None)
    limit_val_batches: int | float | None = key(None)
    limit_test_batches: int | float | None = key(None)
    gradient_clip_val: float | None = key(None)
    accumulate_grad_batches: int = key(1)
    deterministic: bool = key(False)
    profiler: str | None = key(None, Role.display)
    check_val_every_n_epoch: int = key(1)
    limit_epochs: int | None = key(None)
    threads: int | None = key(None, Role.place)
    steps_per_execution: int = key(1, Role.display)
    progress: str = key("auto", Role.display)
    figures: bool = key(True, Role.display)
    figure_epochs: list[int] = key([1, 5, 9], Role.display)


@dataclass
class Config:
    """The root: what `python train.py --cfg job` prints."""

    stage: Stage = MISSING
    seed: int = MISSING
    ckpt: str | None = key(None)
    outputs: str = key("outputs", Role.name)
    sweep: str = key("", Role.name)
    objective: str | None = key(None, Role.name)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def plain(config: Config) -> dict[str, Any]:
    """The configuration as plain values, with the enums as their words."""

    def words(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: str(value) if isinstance(value, StrEnum) else value for key, value in items}

    return asdict(config, dict_factory=words)


def interval(scheduler: Mapping[str, Any]) -> str:
    """What a schedule counts: "step" (optimizer steps) or "epoch".

    A node that does not say, or says null, counts epochs, as users of Lightning expect; one with an argument
    that is "auto" counts steps. The nodes of stored runs that do not say are older: see `resume`.
    """
    return str(scheduler.get("interval") or ("step" if "auto" in scheduler.values() else "epoch"))


def depends_on_length(scheduler: Mapping[str, Any]) -> bool:
    """Whether a schedule is another one in a training of more epochs: OneCycleLR ends at its last step."""
    return "auto" in scheduler.values() or str(scheduler.get("_target_")).endswith(".OneCycleLR")


def known_keys(schema: type = Config, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the schema, and the keys of the optimizers in conf/optimizer."""
    hints = get_type_hints(schema)
    for name in (f.name for f in fields(schema)):
        yield prefix + name
        if is_dataclass(hints[name]):
            yield from known_keys(hints[name], f"{prefix}{name}.")
        if name == "scheduler":
            yield f"{prefix}{name}.interval"
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
