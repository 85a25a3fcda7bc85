"""Every check of the configuration that needs neither torch nor the data, so that a typo costs a second."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config import objective
from aeprobe.config.choices import Stage
from aeprobe.config.hints import choice, no_such_key
from aeprobe.config.overrides import key_of, literal
from aeprobe.config.rules import require
from aeprobe.config.schema import (
    MODULE,
    NETWORKS,
    OPTIMIZER_NUMBERS,
    PLATEAU,
    STAGES,
    Config,
    StageConfig,
    every_node,
    interval,
    keys,
    value_of,
)
from aeprobe.errors import AeprobeError
from aeprobe.paths import home

UNFIT = ("torch.optim.LBFGS", "torch.optim.SparseAdam")  # ask for losses, and for sparse gradients


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


def validate(cfg: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Check a composed configuration, without Hydra's own node, and return it as plain dataclasses.

    Raises:
        AeprobeError: an unknown or missing key, a wrong type, a value out of range, or two that contradict.
    """
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
    _check_ckpt(config)
    objective.direction(config)
    _check_data(config)
    for key, node, required in every_node(config):
        _check_node(key, node, required)
    for name in STAGES:
        _check_stage(name, getattr(config, name))
    if config.classifier.class_weights and isinstance(config.classifier.loss, dict):
        raise AeprobeError(
            f"classifier.class_weights={config.classifier.class_weights}: weighs the cross-entropy alone: take "
            "classifier.loss=cross_entropy, or give your loss its own weights: "
            "'classifier.loss={_target_: torch.nn.CrossEntropyLoss, weight: [1, 2, …]}'"
        )
    _check_typed(config.stage, typed)
    return config


def config_error(error: OmegaConfBaseException, config: Container | None = None) -> str:
    """Return one line for an error of OmegaConf: the key, what is wrong, what to do."""
    key = error.full_key or str(error.key)
    what = str(error.msg or error).partition("\n")[0].rstrip(".")
    if "Cannot assign str to Dict" in what:
        return f"{key}: is a group of settings; choose a file for it with {choice(key)}"
    if "not in" in what:
        return no_such_key(key, config)
    if "missing" in what.lower():
        return f"{key}: has no value; give one with {key}=VALUE"
    return f"{key}: {what}"


def _check_ckpt(config: Config) -> None:
    stage, ckpt = config.stage, config.ckpt
    needs = stage.trains_nothing or (stage == Stage.classifier and config.classifier.encoder.pretrained)
    if needs and not ckpt:
        example = "outputs/classifier/RUN" if stage == Stage.test else "outputs/autoencoder/RUN"
        raise AeprobeError(
            f"stage={stage} needs ckpt=, a run directory or a .ckpt file, for example ckpt={example}"
        )
    if ckpt and stage in (Stage.all, Stage.autoencoder):
        raise AeprobeError(
            f"ckpt={ckpt}: stage={stage} starts from new weights; drop ckpt=, or use stage=classifier, stage=test "
            "or stage=probe"
        )


def _check_data(config: Config) -> None:
    name, size, source = config.data.name, config.data.val_size, config.data.source.get("_target_")
    free = name != "mnist" or source in ("aeprobe.data.mnist.MNIST", None)
    require(free, "data.name", name, f"another name for data of {source}")
    fits = 0 <= size < 1 if isinstance(size, float) else size >= 0
    require(fits, "data.val_size", size, "0 or more, or a share below 1, such as 0.1")


def _check_node(key: str, node: Any, required: bool) -> None:
    """Check what can be told of a node before torch is imported, which looks its class up."""
    require(isinstance(node, dict), key, node, "a node with the name of a class as its _target_")
    require(key.rpartition(".")[2].isidentifier(), key, "", "called by a name of letters, digits and _")
    target = node.get("_target_")
    if target is None and not required:
        return
    named = isinstance(target, str) and re.fullmatch(r"([A-Za-z_]\w*\.)+[A-Za-z_]\w*", target)
    require(bool(named), f"{key}._target_", target, "the full name of a class, such as torch.optim.Adam")
    require(target not in UNFIT, f"{key}._target_", target, "one that steps by dense gradients alone")
    if key.endswith((".optimizer", ".scheduler")):  # is given the weights, or the optimizer
        require(node.get("_partial_") is True, f"{key}._partial_", node.get("_partial_"), "true")
    ours = ("_target_", "_partial_")
    nested = [k for k, v in node.items() if _holds_mapping(v) or (k.startswith("_") and k not in ours)]
    require(not nested, key, ", ".join(nested), f"plain arguments of {target}")


def _holds_mapping(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_mapping, value)))


def _check_stage(name: str, stage: StageConfig) -> None:
    """Check what neither the schema nor a class knows; note what the schedule counts, for a resumed run."""
    for own in stage.metrics:
        require(own not in objective.MEASURED[name], f"{name}.metrics.{own}", "", "another name: every run has it")
    for number, rule in OPTIMIZER_NUMBERS.items():
        if number in stage.optimizer or number == "lr":
            rule.require(f"{name}.optimizer.{number}", stage.optimizer.get(number))
    key, given = f"{name}.scheduler.interval", stage.scheduler.get("interval")
    require(given in (None, "step", "epoch"), key, given, "step or epoch")
    if target := stage.scheduler.get("_target_"):
        stage.scheduler["interval"] = counted = interval(stage.scheduler)
        require(target != PLATEAU or counted == "epoch", key, given, "epoch: it looks at each validation")


def _check_typed(stage: Stage, typed: Mapping[str, str]) -> None:
    """Refuse an override for a stage that is not run; a checkpoint's network is held against it later."""
    for key, override in typed.items():
        owner, _, name = key.partition(".")
        if owner == "probe" and stage != Stage.probe:
            raise AeprobeError(f"{override}: has no effect with stage={stage}; drop it, or use stage=probe")
        if owner not in STAGES or stage.trains(owner):
            continue
        group = name.partition(".")[0]
        if group != NETWORKS[owner] and not (stage == Stage.test and group in ("metrics", "evaluations")):
            raise AeprobeError(
                f"{override}: stage={stage} does not train the {owner}; drop it, or use stage=all or stage={owner}"
            )
