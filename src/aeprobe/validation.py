"""Every check of the configuration that needs neither torch nor the data, so that a typo costs a second."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe import objective, processes
from aeprobe.config import (
    ACTIVATIONS,
    ARCHITECTURE,
    OPTIMIZER_NUMBERS,
    PIXELS,
    Config,
    DataConfig,
    Dataset,
    Stage,
    StageConfig,
    TrainerConfig,
    nearest,
)
from aeprobe.errors import AeprobeError
from aeprobe.rundir import find_checkpoint


def typed_values(overrides: Sequence[str]) -> dict[str, str]:
    """The dotted keys that a person typed, with the override as typed; a group counts as its package.

    >>> typed_values(["seed=1", "optimizer@autoencoder.optimizer=adamw"])
    {'seed': 'seed=1', 'autoencoder.optimizer': 'optimizer@autoencoder.optimizer=adamw'}
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {o.package or o.key_or_group.replace("/", "."): str(o.input_line) for o in parsed}


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
        plain = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        config: Config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise AeprobeError(config_error(error)) from error
    _check_root(config)
    _check_data(config.data)
    _check_trainer(config.trainer)
    _check_processes(config, typed_values(overrides))
    _check_stage("autoencoder", config.autoencoder)
    _check_stage("classifier", config.classifier)
    shift, epochs, noise = config.autoencoder.shift, config.autoencoder.shift_epochs, config.classifier.code_noise
    _require(0 <= shift <= 14, "autoencoder.shift", shift, "from 0 to 14 pixels")
    _require(epochs is None or epochs >= 0, "autoencoder.shift_epochs", epochs, "null, or 0 or more")
    share = config.autoencoder.pixel_dropout
    _require(0 <= share < 1, "autoencoder.pixel_dropout", share, "a share, from 0 up to, but not, 1")
    _number("classifier.code_noise", noise, 0, "a finite number, 0 or more")
    _check_widths(config)
    _check_typed(config.stage, typed_values(overrides))
    return config


def config_error(error: OmegaConfBaseException) -> str:
    """One line for an error of OmegaConf: the key, what is wrong, what to do."""
    key = error.full_key or str(error.key)
    what = str(error.msg or error).partition("\n")[0].rstrip(".")
    if "Cannot assign str to Dict" in what:
        return f"{key}: is a group of settings; choose a file for it with {key.rpartition('.')[2]}@{key}=NAME"
    if "not in" in what:
        return f"{key}: no such key; {nearest(key)}"
    if "missing" in what.lower():
        return f"{key}: has no value; give one with {key}=VALUE"
    return f"{key}: {what}"


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise AeprobeError(f"{key}={value}: must be {rule}")


def _number(key: str, value: object, low: float, rule: str, *, above: bool = False) -> None:
    """Requires a finite number >= low, or > low."""
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    _require(ok and (value > low if above else value >= low), key, value, rule)  # type: ignore[operator]


def _counts(key: str, value: int) -> None:
    """Requires a number of something, that torch can count to."""
    _require(value >= 1, key, value, "at least 1")
    _require(value < 2**31, key, value, "below 2147483648")


def _check_root(config: Config) -> None:
    _require(0 <= config.seed < 2**32, "seed", config.seed, "between 0 and 4294967295")
    _require(bool(config.outputs.strip()), "outputs", repr(config.outputs), "a directory")
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


def _check_data(data: DataConfig) -> None:
    # A folder of one's own can hold any number of images: the data module checks against the real number.
    limit = 59_999 if data.name == Dataset.mnist else 2**31
    _require(0 <= data.val_size <= limit, "data.val_size", data.val_size, f"between 0 and {limit}")
    _require(math.isfinite(data.mean), "data.mean", data.mean, "a finite number")
    _number("data.std", data.std, 0, "a number above 0", above=True)
    _counts("data.eval_batch_size", data.eval_batch_size)


def _check_trainer(trainer: TrainerConfig) -> None:
    for name in ("devices", "num_nodes", "accumulate_grad_batches", "check_val_every_n_epoch"):
        _counts(f"trainer.{name}", getattr(trainer, name))
    if trainer.limit_epochs is not None:
        _counts("trainer.limit_epochs", trainer.limit_epochs)
    most = 4 * (os.cpu_count() or 1)  # many more crash torch, or wait for each other without end
    ok = trainer.threads is None or 1 <= trainer.threads <= most
    _require(ok, "trainer.threads", trainer.threads, f"null, or from 1 to {most} on this machine")
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        value = getattr(trainer, name)
        ok = value is None or (value >= 1 if isinstance(value, int) else 0 < value <= 1)
        _require(ok, f"trainer.{name}", value, "null, a number of batches (1, 2, …) or a fraction (0.1, 1.0)")
    epochs = trainer.figure_epochs
    _require(all(epoch >= 1 for epoch in epochs), "trainer.figure_epochs", epochs, "epochs, counted from 1")
    if trainer.gradient_clip_val is not None:
        _number("trainer.gradient_clip_val", trainer.gradient_clip_val, 0, "null, or above 0", above=True)
    choices = {
        "strategy": ("auto", "ddp"),
        "accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
        "precision": ("32-true", "bf16-mixed", "16-mixed", "64-true"),
        "profiler": (None, "simple", "advanced"),
        "progress": ("auto", "true", "false"),
    }
    for name, allowed in choices.items():
        value = getattr(trainer, name)
        value = value.lower() if isinstance(value, str) else value
        words = ", ".join("null" if a is None else a for a in allowed)
        _require(value in allowed, f"trainer.{name}", value, f"one of {words}")


def _check_processes(config: Config, typed: Mapping[str, str]) -> None:
    """Holds the numbers of devices and machines against those that torchrun or srun has started, which win."""
    trainer, place = config.trainer, processes.launched()
    if trainer.strategy != "ddp":
        several = [f"trainer.{name}={n}" for name in ("devices", "num_nodes") if (n := getattr(trainer, name)) > 1]
        started = [f"{place.world} processes were started"] if place and place.world > 1 else []
        if started or several:
            what = ", ".join(started + several)
            raise AeprobeError(f"{what}: trainer.strategy={trainer.strategy} has one process; add trainer=ddp")
        return
    if place is None and trainer.num_nodes > 1:
        raise AeprobeError(
            f"trainer.num_nodes={trainer.num_nodes}: several machines need torchrun or srun on each of them, "
            f"for example torchrun --nnodes={trainer.num_nodes} --nproc-per-node={trainer.devices} train.py …"
        )
    for name, number in (("devices", place.local_world), ("num_nodes", place.nodes)) if place else ():
        if f"trainer.{name}" in typed and getattr(trainer, name) != number:
            raise AeprobeError(f"{typed[f'trainer.{name}']}: {number} were started; drop the override")
        setattr(trainer, name, number)
    world = trainer.devices * trainer.num_nodes
    for stage in ("autoencoder", "classifier"):
        size = getattr(config, stage).batch_size
        if config.stage.trains(stage) and 1 <= size < world:
            raise AeprobeError(f"{stage}.batch_size={size}: {world} processes divide it; give {world} or more")


def _check_stage(name: str, stage: StageConfig) -> None:
    _counts(f"{name}.batch_size", stage.batch_size)
    _require(1 <= stage.max_epochs < 2**20, f"{name}.max_epochs", stage.max_epochs, "at least 1")
    known = stage.activation in ACTIVATIONS
    _require(known, f"{name}.activation", stage.activation, "one of " + ", ".join(ACTIVATIONS))
    positive = len(stage.widths) >= 2 and all(1 <= w <= 2**20 for w in stage.widths)
    _require(positive, f"{name}.widths", stage.widths, "two or more numbers from 1 to 1048576")
    _check_targets(name, stage)
    for key in OPTIMIZER_NUMBERS:
        if key in stage.optimizer:
            _check_optimizer_number(f"{name}.optimizer.{key}", stage.optimizer[key])
    _require("lr" in stage.optimizer, f"{name}.optimizer.lr", None, "a finite number above 0")


def _check_optimizer_number(key: str, value: object) -> None:
    """A dict takes any type, so that the keys of torch's optimizers are checked here."""
    if key.endswith("lr"):
        _number(key, value, 0, "a finite number above 0", above=True)
    elif key.endswith("betas"):
        rule = "two numbers from 0 up to, but not, 1"
        _require(isinstance(value, list) and len(value) == 2, key, value, rule)
        for beta in value:  # type: ignore[attr-defined]
            _number(key, beta, 0, rule)
            _require(beta < 1, key, value, rule)
    else:
        _number(key, value, 0, "a finite number, 0 or more")


def _check_targets(name: str, stage: StageConfig) -> None:
    """A configuration is data: the only code it may name are torch's optimizers and schedulers."""
    for key, package in (("optimizer", "torch.optim"), ("scheduler", "torch.optim.lr_scheduler")):
        node: Mapping[str, Any] = getattr(stage, key)
        target = node.get("_target_")
        if key == "scheduler" and target is None:
            continue
        ok = isinstance(target, str) and re.fullmatch(rf"{re.escape(package)}\.[A-Z]\w*", target)
        _require(bool(ok), f"{name}.{key}._target_", target, f"a class of {package}")
        _require(node.get("_partial_") is True, f"{name}.{key}._partial_", node.get("_partial_"), "true")
        nested = [k for k in node if k.startswith("_") and k not in ("_target_", "_partial_")]
        nested += [k for k, v in node.items() if isinstance(v, dict)]
        _require(not nested, f"{name}.{key}", ", ".join(nested), f"plain arguments of {target}")


def _check_widths(config: Config) -> None:
    encoder, head = config.autoencoder.widths, config.classifier.widths
    _require(encoder[0] == PIXELS, "autoencoder.widths", encoder, f"{PIXELS} first: an image has 28 x 28 pixels")
    if config.stage == Stage.all and encoder[-1] != head[0]:
        raise AeprobeError(
            f"classifier.widths={head} begins with {head[0]}, but the encoder's code has {encoder[-1]} numbers "
            f"(autoencoder.widths={encoder}): make the two equal"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name, widths, networks in (("autoencoder", encoder, 2), ("classifier", head, 1)):
        # Each weight, its gradient, and Adam's two moments.
        needed = 16 * networks * sum(one * other for one, other in pairwise(widths))
        _require(
            needed < memory,
            f"{name}.widths",
            widths,
            f"smaller: to train it takes {needed / 2**30:.3g} GiB, and this machine has {memory / 2**30:.3g}",
        )


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
