"""Every check of the configuration that needs neither torch nor the data, so that a typo costs a second."""

import math
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config import objective
from aeprobe.config.hints import hint
from aeprobe.config.no_effect import check_effect
from aeprobe.config.overrides import literal
from aeprobe.config.rules import require, require_count, require_number, require_seed
from aeprobe.config.schema import ARCHITECTURE, Config, DataConfig, Dataset, Stage
from aeprobe.config.stage_checks import check_stages
from aeprobe.config.trainer_checks import check_processes, check_trainer
from aeprobe.errors import AeprobeError
from aeprobe.paths import from_here
from aeprobe.runs.run_directory import find_checkpoint


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
    _check_root(config)
    check_data(config.data)
    check_trainer(config.trainer)
    check_processes(config, typed_values(overrides))
    check_stages(config)
    _check_typed(config.stage, typed_values(overrides))
    check_effect(config, typed_values(overrides), swept)
    return config


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
    require_seed("seed", config.seed)
    require(bool(config.outputs.strip()), "outputs", repr(config.outputs), "a directory")
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
    if config.ckpt:
        find_checkpoint(config.ckpt, "autoencoder" if config.stage == Stage.classifier else "classifier")


def check_data(data: DataConfig) -> None:
    """Checks the ranges of `data.*`, typed or stored in a checkpoint.

    Raises:
        AeprobeError: a value is out of range.
    """
    # A folder of one's own can hold any number of images: the data module checks against the real number.
    limit = 59_999 if data.name == Dataset.mnist else 2**31
    require(0 <= data.val_size <= limit, "data.val_size", data.val_size, f"between 0 and {limit}")
    require(math.isfinite(data.mean), "data.mean", data.mean, "a finite number")
    require_number("data.std", data.std, 0, "a number above 0", above=True)
    require_count("data.eval_batch_size", data.eval_batch_size)


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
