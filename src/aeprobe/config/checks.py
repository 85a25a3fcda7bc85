"""Every check of the configuration that needs neither torch nor the data, so that a typo costs a second."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config import objective
from aeprobe.config.choices import Encoder, Stage
from aeprobe.config.hints import hint
from aeprobe.config.overrides import literal
from aeprobe.config.rules import require
from aeprobe.config.schema import (
    MODULE,
    NETWORKS,
    SOURCES,
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

NODES = tuple(key for key, field in keys() if field.metadata.get("node") == "one")


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
        values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        config: Config = OmegaConf.to_object(OmegaConf.merge(schema(), literal(values)))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise AeprobeError(config_error(error)) from error
    config.outputs, config.data.root = home(config.outputs), home(config.data.root)
    config.ckpt = config.ckpt and home(config.ckpt)
    _check_keys(config)
    check_ranges(config)
    _check_root(config)
    check_data(config.data)
    check_stages(config)
    typed = typed_values(overrides)
    _check_typed(config.stage, typed)
    _check_effect(config, typed, swept)
    return config


def _check_keys(config: Config) -> None:
    """Raises AeprobeError for a key that a stage does not have; a module of another class may have its own."""
    strange = {*vars(config.classifier)} - {item.name for item in fields(config.classifier)}
    unknown = [f"classifier.{name}" for name in strange]
    module = module_node(config)
    if module.pop("_target_") == MODULE:
        unknown += [f"autoencoder.{name}" for name in module]
    if unknown:
        given = next(iter(flat({unknown[0]: value_of(plain(config), unknown[0])})), unknown[0])
        raise AeprobeError(f"{given}: no such key; {hint(given)}")


def check_ranges(config: object, prefix: str = "") -> None:
    """Holds every value against the rule of its field in the schema; null is left to the field's type.

    Raises:
        AeprobeError: one is out of range.
    """
    for key, field in keys(type(config), prefix):
        value, rule = value_of(config, key.removeprefix(prefix)), field.metadata.get("rule")
        if value is not None and rule:
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
    free = data.name != "mnist" or source in (SOURCES["mnist"], None)
    require(free, "data.name", data.name, f"another name for data of {source}")
    # A folder of one's own can hold any number of images: the data module checks against the real number.
    share, limit = isinstance(data.val_size, float), 59_999 if data.name == "mnist" else 2**31
    rule = f"between 0 and {limit}, or a share below 1, such as 0.1"
    require(0 <= data.val_size < 1 if share else 0 <= data.val_size <= limit, "data.val_size", data.val_size, rule)


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


def _idle() -> Iterator[tuple[str, str, Callable[[Any], bool]]]:
    """Keys without effect: each with the key that makes it so, and whether that has such a value."""
    yield "classifier.encoder_lr", "classifier.encoder", lambda encoder: not Encoder(encoder).trains
    yield "classifier.monitor", "data.labels", lambda labels: labels is not None
    yield "data.labels", "stage", lambda stage: not stage.trains("classifier")
    for key in ("trainer.limit_test_batches", "trainer.profiler", "trainer.precision"):
        yield key, "stage", lambda stage: stage == Stage.probe  # no batch of it is Lightning's
    yield "trainer.figure_epochs", "trainer.figures", lambda drawn: not drawn
    yield "trainer.figure_epochs", "stage", lambda stage: stage == Stage.classifier  # it reconstructs nothing
    yield "trainer.gradient_clip_algorithm", "trainer.gradient_clip_val", lambda value: value is None
    for key, field in keys():
        if field.metadata.get("training"):
            yield key, "stage", lambda stage: stage.trains_nothing
    for stage in STAGES:
        optimizer, scheduler = f"{stage}.optimizer", f"{stage}.scheduler"
        network = f"{stage}.{NETWORKS[stage]}"
        yield f"{network}.activation", f"{network}.widths", lambda widths: widths and len(widths) == 2  # one layer
        yield f"{optimizer}.dampening", f"{optimizer}.momentum", lambda momentum: not momentum
        for key in ("base_momentum", "max_momentum"):
            yield f"{scheduler}.{key}", f"{scheduler}.cycle_momentum", lambda cycled: cycled is False
        for key in ("epochs", "steps_per_epoch"):
            yield f"{scheduler}.{key}", f"{scheduler}.total_steps", lambda total: total is not None


def _check_effect(config: Config, typed: Mapping[str, str], swept: bool) -> None:
    """Refuses what was typed in vain; a value that asks for nothing (null, 0, false, an empty list) is none."""
    for key, by, idle in _idle():
        if key not in typed or not value_of(config, key) or not idle(value_of(config, by)):
            continue
        if by.partition(".")[0] in STAGES and not config.stage.trains(by.partition(".")[0]):
            continue  # held against a checkpoint
        varies = {"experiment", by, by.rpartition(".")[0]} & typed.keys()
        if not (swept and varies and by != "stage"):  # else some of the runs may use it
            why = f"{by}={value_of(config, by)}"
            raise AeprobeError(f"{typed[key]}: has no effect with {why}; drop it, or change {by}")
    for node in NODES:
        for key in typed if not value_of(config, f"{node}._target_") else ():
            if key.startswith(f"{node}.") and value_of(config, key) and not (swept and node in typed):
                group = node.rpartition(".")[2]
                raise AeprobeError(
                    f"{typed[key]}: has no effect without a {group}; choose one: {group}@{node}=NAME"
                )
