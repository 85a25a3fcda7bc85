"""Every check of the configuration that needs neither torch nor the data, so that a typo costs a second."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

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
    STAGES,
    Config,
    DataConfig,
    keys,
    module_node,
    plain,
    schema,
    value_of,
)
from aeprobe.config.settings import flat
from aeprobe.config.stage_checks import check_stages
from aeprobe.errors import AeprobeError
from aeprobe.paths import home


def typed_values(overrides: Sequence[str]) -> dict[str, str]:
    """The dotted keys that a person typed, with the override as typed; a group counts as its package.

    >>> typed_values(["seed=1", "optimizer@autoencoder.optimizer=adamw"])
    {'seed': 'seed=1', 'autoencoder.optimizer': 'optimizer@autoencoder.optimizer=adamw'}
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {key_of(override): str(override.input_line) for override in parsed}


def validate(cfg: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Checks a composed configuration and returns it as plain dataclasses.

    Args:
        cfg: the composed configuration, without Hydra's own node.
        overrides: what the person typed for this run.

    Raises:
        AeprobeError: an unknown or missing key, a wrong type, a value out of range, or two that contradict.
    """
    try:
        # Into the schema once more: `+key=1` gets past the composed node, and `~key` takes away from it.
        values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        config: Config = OmegaConf.to_object(OmegaConf.merge(schema(), literal(values)))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise AeprobeError(_as_typed(config_error(error, cfg), typed_values(overrides))) from error
    config.outputs, config.data.root = home(config.outputs), home(config.data.root)
    config.ckpt = config.ckpt and home(config.ckpt)
    _check_keys(config, cfg)
    check_ranges(config)
    _check_root(config)
    check_data(config.data)
    check_stages(config)
    typed = typed_values(overrides)
    _check_typed(config.stage, typed)
    return config


def _check_keys(config: Config, cfg: DictConfig) -> None:
    """Raises AeprobeError for a key that a stage does not have; a module of another class may have its own."""
    strange = {*vars(config.classifier)} - {item.name for item in fields(config.classifier)}
    unknown = [f"classifier.{name}" for name in strange]
    module = module_node(config)
    if module.pop("_target_") == MODULE:
        unknown += [f"autoencoder.{name}" for name in module]
    if unknown:
        given = next(iter(flat({unknown[0]: value_of(plain(config), unknown[0])})), unknown[0])
        raise AeprobeError(no_such_key(given, cfg))


def check_ranges(config: object, prefix: str = "") -> None:
    """Holds every value against the rule of its field in the schema; null is left to the field's type.

    Raises:
        AeprobeError: one is out of range.
    """
    for key, field in keys(type(config), prefix):
        value, rule = value_of(config, key.removeprefix(prefix)), field.metadata.get("rule")
        if value is not None and rule:
            rule.require(key, value)


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


def _as_typed(line: str, typed: Mapping[str, str]) -> str:
    """Return an error's line that begins with what was typed instead of with its key alone."""
    key, colon, what = line.partition(":")
    return f"{typed.get(key, key)}{colon}{what}" if "no such key" not in what else line


def _check_root(config: Config) -> None:
    needs = config.stage.trains_nothing or (
        config.stage == Stage.classifier and config.classifier.encoder.pretrained
    )
    if needs and not config.ckpt:
        example = "outputs/classifier/RUN" if config.stage == Stage.test else "outputs/autoencoder/RUN"
        raise AeprobeError(
            f"stage={config.stage} needs ckpt=, a run directory or a .ckpt file, for example ckpt={example}"
        )
    if config.ckpt is not None and not needs and config.stage != Stage.classifier:
        raise AeprobeError(
            f"ckpt={config.ckpt}: stage={config.stage} starts from new weights; drop ckpt=, "
            "or use stage=classifier, stage=test or stage=probe"
        )
    objective.direction(config)


def check_data(data: DataConfig) -> None:
    """Checks `data.*`, typed or stored in a checkpoint.

    Raises:
        AeprobeError: a value is out of range.
    """
    check_ranges(data, "data.")
    source = data.source.get("_target_") if isinstance(data.source, dict) else None
    free = data.name != "mnist" or source in ("aeprobe.data.mnist.MNIST", None)
    require(free, "data.name", data.name, f"another name for data of {source}")
    fits = 0 <= data.val_size < 1 if isinstance(data.val_size, float) else data.val_size >= 0
    require(fits, "data.val_size", data.val_size, "0 or more, or a share below 1, such as 0.1")


def _check_typed(stage: Stage, typed: Mapping[str, str]) -> None:
    for key, override in typed.items():
        owner, _, name = key.partition(".")
        if owner == "probe" and stage != Stage.probe:
            raise AeprobeError(f"{override}: has no effect with stage={stage}; drop it, or use stage=probe")
        # What a checkpoint fixes is held against it, once it is read.
        measured = stage == Stage.test and name.partition(".")[0] in ("metrics", "evaluations")
        if (
            owner in STAGES
            and not stage.trains(owner)
            and name.partition(".")[0] != NETWORKS[owner]
            and not measured
        ):
            raise AeprobeError(
                f"{override}: stage={stage} does not train the {owner}; drop it, or use stage=all or stage={owner}"
            )
