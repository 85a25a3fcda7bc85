"""The typed schema of the configuration: its keys, their types and ranges, the values of those that are absent.

The values stand in conf/. A field's default here is its neutral value: the one that a stored configuration means
which lacks the key. A field without one is always stored.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any, get_type_hints

from omegaconf import MISSING

from aeprobe.errors import AeprobeError

STAGES = ("autoencoder", "classifier")
MODULE = "aeprobe.models.autoencoder.Autoencoder"
NETWORKS = {"autoencoder": "network", "classifier": "head"}  # what a checkpoint fixes of the stage that it holds


class Stage(StrEnum):
    """The stages that a run has."""

    all = "all"
    autoencoder = "autoencoder"
    classifier = "classifier"
    test = "test"
    probe = "probe"

    @property
    def trains_nothing(self) -> bool:
        """Tell if a finished run is looked at again."""
        return self in (Stage.test, Stage.probe)

    def trains(self, stage: str) -> bool:
        """Tell if this run trains `stage` ("autoencoder" or "classifier")."""
        return self in (Stage.all, stage)


class LossOn(StrEnum):
    """The input of the classifier's cross-entropy."""

    logits = "logits"
    softmax = "softmax"


class Encoder(StrEnum):
    """The encoder of stage 2: trained in stage 1 or with new weights; as it is, or trained too."""

    frozen = "frozen"
    finetuned = "finetuned"
    random = "random"
    scratch = "scratch"

    @property
    def pretrained(self) -> bool:
        """Tell if it has the weights of stage 1."""
        return self in (Encoder.frozen, Encoder.finetuned)

    @property
    def trains(self) -> bool:
        """Tell if stage 2 changes it."""
        return self in (Encoder.finetuned, Encoder.scratch)

    @property
    def words(self) -> str:
        """Its treatment in a sentence."""
        return {"random": "frozen with random weights", "scratch": "trained from scratch"}.get(self, str(self))


def require(condition: bool, key: str, value: object, rule: str) -> None:
    """Raise AeprobeError where the condition does not hold; `rule` says in words what the value must be."""
    if not condition:
        raise AeprobeError(f"{key}={value}: must be {rule}")


@dataclass(frozen=True)
class Rule:
    """A range of values, and its name in messages."""

    text: str
    allows: Callable[[Any], bool]

    def require(self, key: str, value: object) -> None:
        """Raise AeprobeError where the value is not in the range."""
        require(self.allows(value), key, value, self.text)


def one_of(*words: str | None) -> Rule:
    """Allow these words, in any case."""
    choices = ", ".join("null" if word is None else word for word in words)
    return Rule(f"one of {choices}", lambda value: (value.lower() if isinstance(value, str) else value) in words)


def word_or_node(*words: str) -> Rule:
    """Allow these words, or a node in their place."""
    return Rule(f"{' or '.join(words)}, or a node with a _target_", lambda v: isinstance(v, dict) or v in words)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


FINITE = Rule("a finite number", _finite)
POSITIVE = Rule("a finite number above 0", lambda value: _finite(value) and value > 0)
NOT_NEGATIVE = Rule("a finite number, 0 or more", lambda value: _finite(value) and value >= 0)
COUNT = Rule("at least 1 and below 2147483648", lambda value: 1 <= value < 2**31)
SEED = Rule("between 0 and 4294967295", lambda value: 0 <= value < 2**32)
THREADS = Rule("from 1 to 1024", lambda value: isinstance(value, int) and 1 <= value <= 1024)
EPOCHS = Rule("epochs, counted from 1", lambda value: min(value, default=1) >= 1)
NAME = Rule("a name of at most 40 letters, digits and . _ + -", lambda v: bool(re.fullmatch(r"[\w.+-]{1,40}", v)))
HELD_OUT = Rule(
    "0 or more, or a share below 1, such as 0.1",
    lambda value: 0 <= value < 1 if isinstance(value, float) else value >= 0,
)
BATCHES = Rule(
    "null, a number of batches (1, 2, …) or a fraction (0.1, 1.0)",
    lambda value: value >= 1 if isinstance(value, int) else 0 < value <= 1,
)
DURATION = Rule(
    "days:hours:minutes:seconds, such as 00:01:30:00; in a file in quotes",
    lambda value: bool(re.fullmatch(r"\d{1,3}(:\d\d){3}", value)),
)
OPTIMIZER_NUMBERS = {"lr": POSITIVE, "weight_decay": NOT_NEGATIVE}  # torch takes an lr of 0


def key(neutral: Any = MISSING, role: str = "", rule: Rule | None = None, node: str = "") -> Any:
    """Declare a key, with its neutral value and the range of one other than null.

    A table folds runs that differ only in keys that have a `role`, since these change no number: the "name" of a
    run; "display", which may be typed with resume=; the "place" where it is computed. A `node` is "one" that names
    a class by its `_target_`, "several" by names of the person's own, or stands for "a word".
    """
    metadata = {"role": role, "rule": rule, "node": node}
    if isinstance(neutral, list | dict):
        return field(default_factory=neutral.copy, metadata=metadata)
    return field(default=neutral, metadata=metadata)


def node(target: str | None = None) -> Any:
    """Declare a node that a stored configuration may lack: it means this class, or none."""
    return key({"_target_": target}, node="one")


@dataclass
class StageConfig:
    """The settings that both stages have."""

    batch_size: int = key(rule=COUNT)
    max_epochs: int = key(rule=COUNT)
    optimizer: dict[str, Any] = key({}, node="one")
    scheduler: dict[str, Any] = key({}, node="one")
    augmentation: dict[str, Any] = node()
    callbacks: dict[str, Any] = key({}, node="several")
    metrics: dict[str, Any] = key({}, "display", node="several")
    monitor: str = key("val/loss")

    def epochs(self, trainer: "TrainerConfig") -> int:
        """Return how many epochs are trained."""
        return min(self.max_epochs, trainer.limit_epochs or self.max_epochs)


@dataclass
class AutoencoderConfig(StageConfig):
    """Stage 1. Another class than ours may have keys of its own: its arguments."""

    _target_: str = key(MODULE)
    network: dict[str, Any] = node("aeprobe.models.networks.MLPAutoencoder")
    loss: Any = key("mse", rule=word_or_node("mse", "bce", "l1"), node="a word")
    corruption: dict[str, Any] = node()
    regularizer: dict[str, Any] = node()
    evaluations: dict[str, Any] = key({}, "display", node="several")


@dataclass
class ClassifierConfig(StageConfig):
    """Stage 2."""

    head: dict[str, Any] = node("aeprobe.models.networks.MLP")
    encoder: Encoder = key(Encoder.frozen)
    encoder_lr: float | None = key(None, rule=POSITIVE)
    loss: Any = key("cross_entropy", rule=word_or_node("cross_entropy"), node="a word")
    standardize: bool = key(False)
    code_noise: float = key(0.0, rule=NOT_NEGATIVE)
    loss_on: LossOn = key(LossOn.logits)
    class_weights: str | None = key(None, rule=one_of(None, "balanced"))


@dataclass
class DataConfig:
    """The images and how they are split."""

    name: str = key(rule=NAME)
    source: dict[str, Any] = node()
    root: str = key(role="name")
    val_size: int | float = key(rule=HELD_OUT)
    labels: int | None = key(None, rule=COUNT)
    mean: float = key(0.0, rule=FINITE)
    std: float = key(1.0, rule=POSITIVE)
    eval_batch_size: int = key(1000, "place", COUNT)


@dataclass
class TrainerConfig:
    """Lightning's plain arguments, and ours."""

    accelerator: str = key("auto", "place", one_of("auto", "cpu", "gpu", "cuda", "mps"))
    strategy: str = key("auto", rule=one_of("auto", "ddp"))
    devices: int = key(1, rule=COUNT)
    num_nodes: int = key(1, rule=COUNT)
    precision: str = key("32-true", rule=one_of("32-true", "bf16-mixed", "16-mixed", "64-true"))
    limit_train_batches: int | float | None = key(None, rule=BATCHES)
    limit_val_batches: int | float | None = key(None, rule=BATCHES)
    limit_test_batches: int | float | None = key(None, rule=BATCHES)
    gradient_clip_val: float | None = key(None, rule=POSITIVE)
    gradient_clip_algorithm: str = key("norm", rule=one_of("norm", "value"))
    accumulate_grad_batches: int = key(1, rule=COUNT)
    deterministic: bool = key(False)
    profiler: str | None = key(None, "display", one_of(None, "simple", "advanced"))
    check_val_every_n_epoch: int = key(1, rule=COUNT)
    limit_epochs: int | None = key(None, rule=COUNT)
    max_time: str | None = key(None, rule=DURATION)
    threads: int | None = key(None, "place", THREADS)
    matmul_precision: str = key("highest", rule=one_of("highest", "high", "medium"))
    progress: str = key("auto", "display", one_of("auto", "true", "false"))
    figures: bool = key(True, "display")
    evaluate: bool = key(False, "display")
    recorders: dict[str, Any] = key({}, "display", node="several")
    figure_epochs: list[int] = key([1, 5, 9], "display", EPOCHS)


@dataclass
class Config:
    """The root: what `python train.py --cfg job` prints."""

    stage: Stage = MISSING
    seed: int = key(rule=SEED)
    ckpt: str | None = key(None)
    outputs: str = key("outputs", "name")
    sweep: str = key("", "name")
    objective: str | None = key(None, "name")
    logger: dict[str, Any] = key({}, "display", node="several")
    after: dict[str, Any] = key({}, "display", node="several")
    plugins: list[str] = key([], "display")
    probe: dict[str, Any] = key({}, node="one")
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


def every_node(config: object) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every node of a configuration, or a mapping of its form."""
    for name, item in keys():
        kind, value = item.metadata.get("node"), value_of(config, name)
        if kind == "several":
            yield from ((f"{name}.{own}", node) for own, node in value.items())
        elif kind == "one" or (kind and isinstance(value, Mapping)):
            yield name, value
    yield "autoencoder", module_node(config)


def module_node(config: object) -> dict[str, Any]:
    """Return the class of stage 1's module, and the arguments that it alone takes."""
    group = value_of(config, "autoencoder")
    known = {item.name for item in fields(AutoencoderConfig)} - {"_target_"}
    values = group if isinstance(group, Mapping) else vars(group)
    return {name: value for name, value in values.items() if name not in known}


def trusted_in(config: Config, stored: bool = False) -> list[str]:
    """Return what a checkpoint may name for a run: the person's plugins, and each class that they named for it.

    The names of a `stored` configuration, which came with a file, say nothing.
    """
    named = () if stored else (node["_target_"] for _, node in every_node(config))
    return [*config.plugins, *filter(None, named)]


def value_of(config: object, key: str) -> Any:
    """Return the value at a dotted key of a configuration, or a mapping of its form; None where there is none."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return config


def plain(config: Any) -> Any:
    """Return the configuration as plain values, with the enums as their words."""
    values = vars(config) if is_dataclass(config) else config
    if isinstance(values, dict):
        return {name: plain(value) for name, value in values.items()}
    return str(values) if isinstance(values, StrEnum) else values


def flat(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration's values by their dotted keys.

    >>> flat({"seed": 0, "data": {"root": "data"}})
    {'seed': 0, 'data.root': 'data'}
    """
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def complete(stored: Mapping[str, Any], neutral: Any = plain(Config())) -> dict[str, Any]:  # noqa: B008 - a constant
    """Return a stored configuration with the neutral value of each key that it lacks."""
    return {
        name: complete(value, neutral[name])
        if isinstance(value, Mapping) and isinstance(neutral.get(name), Mapping)
        else value
        for name, value in {**neutral, **stored}.items()
        if value != MISSING
    }


NEUTRAL = flat(complete({}))  # the value of every key that has one
ROLES = {name: role for name, item in keys() if (role := item.metadata.get("role"))}  # they change no number


def changes_a_number(key: str) -> bool:
    """Tell if a dotted key can change a number of the experiment: neither it nor its group has a role."""
    names = key.split(".")
    return not any(".".join(names[:length]) in ROLES for length in range(1, len(names) + 1))


def experiment(stored: Mapping[str, Any], data: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the settings that make a run's stage the experiment that it is: a table folds the seeds of one.

    `stored` and `data` are its configuration and its images, as metrics.json has them. A classifier's settings
    hold the autoencoder's too, where one run trained both.
    """
    config = complete(stored)
    groups = ["trainer", stage]
    if config.get("stage") == "all" and stage == "classifier":
        groups.insert(1, "autoencoder")
    settings = {key: value for key, value in flat(config).items() if key.partition(".")[0] in groups}
    settings |= {f"data.{key}": data.get(key) for key in ("name", "val_size", "mean", "std")}
    if stage == "classifier":
        settings["data.labels"] = value_of(config, "data.labels")
    settings = {key: _number(key, value) for key, value in settings.items() if changes_a_number(key)}
    if data.get("name") == "mnist":  # which has the same files everywhere
        return settings
    files = data.get("files")
    sums = [str(file.get("sha256"))[:12] for file in files.values()] if isinstance(files, dict) else []
    return settings | ({"data.files": sums} if sums else {"data.root": data.get("root")})


def _number(key: str, value: Any) -> Any:
    """Return 1 for 1.0, in numbers that the schema does not type, such as an optimizer's."""
    if isinstance(value, list):
        return [_number(key, item) for item in value]
    typed = key.startswith("trainer.")
    return int(value) if isinstance(value, float) and value.is_integer() and not typed else value


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return sixteen hexadecimal digits that stand for settings; a key with its neutral value counts as absent."""
    told = {key: value for key, value in settings.items() if key not in NEUTRAL or value != NEUTRAL[key]}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
