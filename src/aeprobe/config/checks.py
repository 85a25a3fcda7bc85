"""Every check of the configuration that needs neither torch nor the data, so that a typo costs half a second."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config import objective
from aeprobe.config.overrides import key_of, literal
from aeprobe.config.schema import (
    MODULE,
    NETWORKS,
    OPTIMIZER_NUMBERS,
    STAGES,
    Config,
    Stage,
    StageConfig,
    every_node,
    keys,
    require,
    value_of,
)
from aeprobe.errors import AeprobeError
from aeprobe.paths import home, typed_command
from aeprobe.processes.launch import require_as_started
from aeprobe.runs.metrics import find_checkpoint

UNFIT = ("torch.optim.LBFGS", "torch.optim.SparseAdam")  # ask for losses, and for sparse gradients
OPTIONAL = ("scheduler", "augmentation", "corruption", "regularizer")  # nodes that may name no class


def typed_values(overrides: Sequence[str]) -> dict[str, str]:
    """Return the dotted keys that a person typed, with the override as typed; a group counts as its package.

    >>> typed_values(["seed=1", "optimizer@autoencoder.optimizer=adamw"])
    {'seed': 'seed=1', 'autoencoder.optimizer': 'optimizer@autoencoder.optimizer=adamw'}
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {key_of(override): str(override.input_line) for override in parsed}


def in_schema(values: Mapping[str, Any]) -> Any:
    """Merge plain values into the schema; a class of another name for stage 1 may have keys of its own."""
    config = OmegaConf.structured(Config)
    if value_of(values, "autoencoder._target_") not in (MODULE, None):
        OmegaConf.set_struct(config.autoencoder, False)
    return OmegaConf.merge(config, literal(values))


def check(cfg: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Check all of a run that can be checked without torch: `validate`, its processes and its checkpoint."""
    config = validate(cfg, overrides)
    require_as_started(config, typed_values(overrides))
    if config.ckpt:
        find_checkpoint(config.ckpt, "autoencoder" if config.stage == Stage.classifier else "classifier")
    return config


def validate(cfg: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Check a composed configuration, without Hydra's own node, and return it as plain dataclasses."""
    typed = typed_values(overrides)
    try:
        # Into the schema once more: `+key=1` gets past the composed node, and `~key` takes away from it.
        values: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        config: Config = OmegaConf.to_object(in_schema(values))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        key, colon, what = config_error(error, cfg).partition(":")
        raise AeprobeError(f"{key if 'no such key' in what else typed.get(key, key)}{colon}{what}") from error
    config.outputs, config.data.root = home(config.outputs), home(config.data.root)
    config.ckpt = config.ckpt and home(config.ckpt)
    for key, field in keys():
        value, rule = value_of(config, key), field.metadata.get("rule")
        if value is not None and rule:
            rule.require(key, value)
    for key, node in every_node(config):
        _check_node(key, node)
    for name in STAGES:
        _check_stage(name, getattr(config, name))
    _check_contradictions(config, typed)
    objective.direction(config)
    return config


def _check_node(key: str, node: Any) -> None:
    """Check what can be told of a node before torch is imported, which looks its class up."""
    require(isinstance(node, dict), key, node, "a node with the name of a class as its _target_")
    require(key.rpartition(".")[2].isidentifier(), key, "", "called by a name of letters, digits and _")
    target = node.get("_target_")
    if target is None and key.partition(".")[2] in OPTIONAL:
        return
    named = isinstance(target, str) and re.fullmatch(r"([A-Za-z_]\w*\.)+[A-Za-z_]\w*", target)
    require(bool(named), f"{key}._target_", target, "the full name of a class, such as torch.optim.Adam")
    require(target not in UNFIT, f"{key}._target_", target, "one that steps by dense gradients alone")
    ours = ("_target_", "_partial_")
    nested = [k for k, v in node.items() if _holds_mapping(v) or (k.startswith("_") and k not in ours)]
    require(not nested, key, ", ".join(nested), f"plain arguments of {target}")


def _holds_mapping(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_mapping, value)))


def _check_stage(name: str, stage: StageConfig) -> None:
    """Check what neither the schema nor a class knows; note what a schedule counts where its node does not say.

    That is epochs, as users of Lightning expect, or the optimizer's steps where an argument is "auto".
    """
    for own in stage.metrics:
        require(own not in objective.MEASURED[name], f"{name}.metrics.{own}", "", "another name: every run has it")
    for number, rule in OPTIMIZER_NUMBERS.items():
        if number in stage.optimizer or number == "lr":
            rule.require(f"{name}.optimizer.{number}", stage.optimizer.get(number))
    given = stage.scheduler.get("interval")
    require(given in (None, "step", "epoch"), f"{name}.scheduler.interval", given, "step or epoch")
    if stage.scheduler.get("_target_"):
        stage.scheduler["interval"] = given or ("step" if "auto" in stage.scheduler.values() else "epoch")


def _check_contradictions(config: Config, typed: Mapping[str, str]) -> None:
    """Refuse settings that contradict, and an override for a stage that is not run."""
    stage, ckpt, weights = config.stage, config.ckpt, config.classifier.class_weights
    if not ckpt and (stage.trains_nothing or (stage == Stage.classifier and config.classifier.encoder.pretrained)):
        example = f"outputs/{'classifier' if stage == Stage.test else 'autoencoder'}/RUN"
        raise AeprobeError(
            f"stage={stage} needs ckpt=, a run directory or a .ckpt file, for example ckpt={example}"
        )
    if ckpt and stage.trains("autoencoder"):
        raise AeprobeError(
            f"ckpt={ckpt}: stage={stage} starts from new weights; drop ckpt=, or use stage=classifier, stage=test "
            "or stage=probe"
        )
    source = config.data.source.get("_target_")
    own = config.data.name != "mnist" or source == "aeprobe.data.mnist.MNIST"
    require(own, "data.name", config.data.name, f"another name for data of {source}")
    if weights and isinstance(config.classifier.loss, dict):
        raise AeprobeError(
            f"classifier.class_weights={weights}: weighs the cross-entropy alone; give your loss its own weights: "
            "'classifier.loss={_target_: torch.nn.CrossEntropyLoss, weight: [1, 2, …]}'"
        )
    augmentation = config.classifier.augmentation.get("_target_")
    if augmentation and stage.trains("classifier") and not config.classifier.encoder.trains:
        raise AeprobeError(
            f"classifier.augmentation={augmentation}: the codes of a frozen encoder are computed once; use "
            "classifier.encoder=finetuned, or scratch"
        )
    for key, override in typed.items():
        owner, group = [*key.split("."), ""][:2]
        if owner == "probe" and stage != Stage.probe:
            raise AeprobeError(f"{override}: has no effect with stage={stage}; drop it, or use stage=probe")
        if owner not in STAGES or stage.trains(owner) or group == NETWORKS[owner]:
            continue  # a checkpoint's network is held against it later
        if stage != Stage.test or group not in ("metrics", "evaluations"):
            raise AeprobeError(
                f"{override}: stage={stage} does not train the {owner}; drop it, or use stage=all or stage={owner}"
            )


def config_error(error: OmegaConfBaseException, config: Container | None = None) -> str:
    """Return one line for an error of OmegaConf: the key, what is wrong, what to do."""
    key = error.full_key or str(error.key)
    what = str(error.msg or error).partition("\n")[0].rstrip(".")
    if "Cannot assign str to Dict" in what:
        return f"{key}: is a group of settings; choose a file for it with {_choice(key)}"
    if "not in" in what:
        return no_such_key(key, config)
    if "missing" in what.lower():
        return f"{key}: has no value; give one with {key}=VALUE"
    return f"{key}: {what}"


def no_such_key(key: str, config: Container | None = None) -> str:
    """Return the line that refuses a key and names the nearest one, of a composed configuration or the schema."""
    if preset := re.search(r"(?:^|@)(experiment|search)\b", key):
        return f"{key}: no such key; a file of conf/{preset[1]} has to begin with the line `# @package _global_`"
    root: Any = config._get_root() if config is not None else OmegaConf.structured(Config)
    pool = _keys(OmegaConf.to_container(root))  # Hydra's own keys for a key of Hydra's alone
    groups = {name: group for name, group in pool if name.startswith("hydra") == key.startswith("hydra")}
    lasts = {name.rpartition(".")[2]: "" for name in groups.keys() - {key}}
    near = get_close_matches(re.split(r"[./]", key.partition("@")[0])[-1], lasts, n=1)
    named = [name for name in groups if name != key and name.rpartition(".")[2] in near]
    if not named:
        return f"{key}: no such key; `{typed_command()} --cfg job` lists the keys"
    name = min(named, key=lambda name: name.partition(".")[0] != key.partition(".")[0])
    return f"{key}: no such key; did you mean {_choice(name) if groups[name] else name}?"


def _choice(group: str) -> str:
    """Return the override that chooses a file of conf/ for a group of keys."""
    folder = group.rpartition(".")[2].replace("evaluations", "evaluation")
    return f"{folder}@{group}=NAME" if "." in group else f"{group}=NAME"


def _keys(values: Any, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield every dotted key of nested values, and whether it is a group of keys."""
    for name, value in values.items():
        yield f"{prefix}{name}", isinstance(value, dict)
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")
