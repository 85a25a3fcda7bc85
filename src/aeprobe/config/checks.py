"""Every check of the configuration that needs neither torch nor the data, so that a typo costs a second."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config import objective
from aeprobe.config.hints import hint
from aeprobe.config.no_effect import check_effect
from aeprobe.config.overrides import literal
from aeprobe.config.rules import require
from aeprobe.config.schema import ARCHITECTURE, Config, DataConfig, Dataset, Stage, keys
from aeprobe.config.stage_checks import check_stages
from aeprobe.errors import AeprobeError
from aeprobe.paths import from_here


def typed_values(overrides: Sequence[str]) -> dict[str, str]:
    """The dotted keys that a person typed, with the override as typed; a group counts as its package.

    >>> typed_values(["seed=1", "optimizer@autoencoder.optimizer=adamw"])
    {'seed': 'seed=1', 'autoencoder.optimizer': 'optimizer@autoencoder.optimizer=adamw'}
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {o.package or o.key_or_group.replace("/", "."): str(o.input_line) for o in parsed}


def validate(cfg: DictConfig, overrides: Sequence[str] = (), swept: bool = False) -> Config:
    """Checks a composed configuration and returns it as plain dataclasses.

    Args:
        cfg: the composed configuration, without Hydra's own node.
        overrides: what the person typed for this run.
        swept: whether it is one of a multirun's, for all of which some of them were typed.

    Raises:
        AeprobeError: an unknown or missing key, a wrong type, a value out of range, or two that contradict.
    """
    try:
        # Into the schema once more: `+key=1` gets past the composed node, and `~key` takes away from it.
        plain = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        config: Config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), literal(plain)))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise AeprobeError(config_error(error)) from error
    config.outputs, config.data.root = from_here(config.outputs), from_here(config.data.root)
    config.ckpt = config.ckpt and from_here(config.ckpt)
    check_ranges(config)
    _check_root(config)
    check_data(config.data)
    check_stages(config)
    typed = typed_values(overrides)
    _check_typed(config.stage, typed)
    check_effect(config, typed, swept)
    return config


def check_ranges(config: object, prefix: str = "") -> None:
    """Holds every value against the rule of its field in the schema; null is left to the field's type.

    Raises:
        AeprobeError: one is out of range.
    """
    for key, field in keys(type(config), prefix):
        value: Any = config
        for name in key.removeprefix(prefix).split("."):
            value = getattr(value, name)
        if value is not None and (rule := field.metadata.get("rule")):
            rule.require(key, value)


def config_error(error: OmegaConfBaseException) -> str:
    """One line for an error of OmegaConf: the key, what is wrong, what to do."""
    key = error.full_key or str(error.key)
    what = str(error.msg or error).partition("\n")[0].rstrip(".")
    if "Cannot assign str to Dict" in what:
        return f"{key}: is a group of settings; choose a file for it with {key.rpartition('.')[2]}@{key}=NAME"
    if "not in" in what:
        return f"{key}: no such key; {hint(key)}"
    if "missing" in what.lower():
        return f"{key}: has no value; give one with {key}=VALUE"
    return f"{key}: {what}"


def _check_root(config: Config) -> None:
    needs = config.stage in (Stage.classifier, Stage.test)
    if needs and not config.ckpt:
        example = "outputs/autoencoder/RUN" if config.stage == Stage.classifier else "outputs/classifier/RUN"
        raise AeprobeError(
            f"stage={config.stage} needs ckpt=, a run directory or a .ckpt file, for example ckpt={example}"
        )
    if config.ckpt is not None and not needs:
        raise AeprobeError(
            f"ckpt={config.ckpt}: stage={config.stage} starts from new weights; drop ckpt=, "
            "or use stage=classifier or stage=test"
        )
    objective.resolve(config.objective, config.stage)


def check_data(data: DataConfig) -> None:
    """Checks `data.*`, typed or stored in a checkpoint.

    Raises:
        AeprobeError: a value is out of range.
    """
    check_ranges(data, "data.")
    # A folder of one's own can hold any number of images: the data module checks against the real number.
    limit = 59_999 if data.name == Dataset.mnist else 2**31
    require(0 <= data.val_size <= limit, "data.val_size", data.val_size, f"between 0 and {limit}")


def _check_typed(stage: Stage, typed: Mapping[str, str]) -> None:
    for key, override in typed.items():
        owner, _, name = key.partition(".")
        if owner not in ("autoencoder", "classifier") or stage.trains(owner):
            continue
        if name in ARCHITECTURE:  # held against the checkpoint, once it is read
            continue
        raise AeprobeError(
            f"{override}: stage={stage} does not train the {owner}; drop it, or use stage=all or stage={owner}"
        )
