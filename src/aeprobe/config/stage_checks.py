"""The checks of `autoencoder.*` and `classifier.*`: networks, optimizers, schedules."""

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from aeprobe.config.rules import require, require_count, require_number
from aeprobe.config.schema import (
    ACTIVATIONS,
    OPTIMIZER_NUMBERS,
    PIXELS,
    PLATEAU,
    AutoencoderConfig,
    Config,
    Stage,
    StageConfig,
    interval,
)
from aeprobe.errors import AeprobeError

UNFIT = ("torch.optim.LBFGS",)  # it asks for losses


def check_stages(config: Config) -> None:
    """Checks both stages, whichever of them is run.

    Raises:
        AeprobeError: a value is out of range, or two contradict.
    """
    _check_stage("autoencoder", config.autoencoder)
    _check_stage("classifier", config.classifier)
    _check_autoencoder(config.autoencoder)
    require_number("classifier.code_noise", config.classifier.code_noise, 0, "a finite number, 0 or more")
    _check_widths(config)
    _check_scaled_gradients(config)


def _check_stage(name: str, stage: StageConfig) -> None:
    require_count(f"{name}.batch_size", stage.batch_size)
    require(1 <= stage.max_epochs < 2**20, f"{name}.max_epochs", stage.max_epochs, "at least 1")
    known = stage.activation in ACTIVATIONS
    require(known, f"{name}.activation", stage.activation, "one of " + ", ".join(ACTIVATIONS))
    positive = len(stage.widths) >= 2 and all(1 <= w <= 2**20 for w in stage.widths)
    require(positive, f"{name}.widths", stage.widths, "two or more numbers from 1 to 1048576")
    _check_targets(name, stage)
    _check_schedule(f"{name}.scheduler", stage.scheduler)
    for key in OPTIMIZER_NUMBERS:
        if key in stage.optimizer:
            _check_optimizer_number(f"{name}.optimizer.{key}", stage.optimizer[key])
    require("lr" in stage.optimizer, f"{name}.optimizer.lr", None, "a finite number above 0")


def _check_autoencoder(own: AutoencoderConfig) -> None:
    require(0 <= own.shift <= 14, "autoencoder.shift", own.shift, "from 0 to 14 pixels")
    epochs = own.shift_epochs
    require(epochs is None or epochs >= 0, "autoencoder.shift_epochs", epochs, "null, or 0 or more")
    share = own.pixel_dropout
    require(0 <= share < 1, "autoencoder.pixel_dropout", share, "a share, from 0 up to, but not, 1")
    require_number("autoencoder.cluster_weight", own.cluster_weight, 0, "a finite number, 0 or more")
    if own.cluster_weight:
        rule = f"from 2 to {own.widths[-1]}, the numbers of a code"
        require(2 <= own.clusters <= own.widths[-1], "autoencoder.clusters", own.clusters, rule)


def _check_optimizer_number(key: str, value: object) -> None:
    """A dict takes any type, so that the keys of torch's optimizers are checked here."""
    if key.endswith("lr"):
        require_number(key, value, 0, "a finite number above 0", above=True)
    elif key.endswith("betas"):
        rule = "two numbers from 0 up to, but not, 1"
        require(isinstance(value, list) and len(value) == 2, key, value, rule)
        for beta in value:  # type: ignore[attr-defined]
            require_number(key, beta, 0, rule)
            require(beta < 1, key, value, rule)
    else:
        require_number(key, value, 0, "a finite number, 0 or more")


def _check_targets(name: str, stage: StageConfig) -> None:
    """A configuration is data: the only code it may name are torch's optimizers and schedulers."""
    for key, package in (("optimizer", "torch.optim"), ("scheduler", "torch.optim.lr_scheduler")):
        node: Mapping[str, Any] = getattr(stage, key)
        target = node.get("_target_")
        if key == "scheduler" and target is None:
            continue
        ok = isinstance(target, str) and re.fullmatch(rf"{re.escape(package)}\.[A-Z]\w*", target)
        require(bool(ok), f"{name}.{key}._target_", target, f"a class of {package}")
        require(target not in UNFIT, f"{name}.{key}._target_", target, "one that steps by gradients alone")
        require(node.get("_partial_") is True, f"{name}.{key}._partial_", node.get("_partial_"), "true")
        nested = [k for k in node if k.startswith("_") and k not in ("_target_", "_partial_")]
        nested += [k for k, v in node.items() if _holds_mapping(v)]
        require(not nested, f"{name}.{key}", ", ".join(nested), f"plain arguments of {target}")


def _check_schedule(name: str, node: dict[str, Any]) -> None:
    """Checks what the schedule's class does not know of; notes in the node what it counts, for a resumed run."""
    target, said = node.get("_target_"), node.get("interval")
    require(said in (None, "step", "epoch"), f"{name}.interval", said, "step or epoch")
    if target is None:
        return
    node["interval"] = interval(node)
    if target == PLATEAU:
        require(node["interval"] == "epoch", f"{name}.interval", said, "epoch: it looks at each validation")
        require(node.get("mode", "min") == "min", f"{name}.mode", node.get("mode"), "min: it follows val/loss")


def _holds_mapping(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_mapping, value)))


def _check_widths(config: Config) -> None:
    encoder, head = config.autoencoder.widths, config.classifier.widths
    require(encoder[0] == PIXELS, "autoencoder.widths", encoder, f"{PIXELS} first: an image has 28 x 28 pixels")
    if config.stage == Stage.all and encoder[-1] != head[0]:
        raise AeprobeError(
            f"classifier.widths={head} begins with {head[0]}, but the encoder's code has {encoder[-1]} numbers "
            f"(autoencoder.widths={encoder}): make the two equal"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name, widths, networks in (("autoencoder", encoder, 2), ("classifier", head, 1)):
        # Each weight, its gradient, and Adam's two moments.
        needed = 16 * networks * sum(one * other for one, other in pairwise(widths))
        require(
            needed < memory,
            f"{name}.widths",
            widths,
            f"smaller: to train it takes {needed / 2**30:.3g} GiB, and this machine has {memory / 2**30:.3g}",
        )


def _check_scaled_gradients(config: Config) -> None:
    """A fused optimizer removes the scale of half-precision gradients itself: before it they cannot be clipped."""
    clip = config.trainer.gradient_clip_val
    if config.trainer.precision != "16-mixed" or clip is None:
        return
    for stage in ("autoencoder", "classifier"):
        if config.stage.trains(stage) and getattr(config, stage).optimizer.get("fused"):
            raise AeprobeError(
                f"trainer.gradient_clip_val={clip}: no fused optimizer clips under trainer.precision=16-mixed; "
                f"add {stage}.optimizer.fused=false, or use trainer.precision=bf16-mixed"
            )
