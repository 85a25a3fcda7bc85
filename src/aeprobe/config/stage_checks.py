"""The checks of `autoencoder.*` and `classifier.*` beyond ranges: classes and contradictions."""

import re
from typing import Any

from aeprobe.config.objective import MEASURED
from aeprobe.config.rules import require
from aeprobe.config.schema import (
    OPTIMIZER_NUMBERS,
    PLATEAU,
    STAGES,
    Config,
    StageConfig,
    every_node,
    interval,
)
from aeprobe.errors import AeprobeError

UNFIT = ("torch.optim.LBFGS", "torch.optim.SparseAdam")  # ask for losses, and for sparse gradients


def check_stages(config: Config) -> None:
    """Checks both stages, whichever of them is run.

    Raises:
        AeprobeError: a node names another class than it may, or two values contradict.
    """
    for key, node, required in every_node(config):
        _check_node(key, node, required)
    for name in STAGES:
        stage: StageConfig = getattr(config, name)
        for own in stage.metrics:
            require(own not in MEASURED[name], f"{name}.metrics.{own}", "", "another name: every run has that one")
        _check_schedule(f"{name}.scheduler", stage.scheduler)
        for number, rule in OPTIMIZER_NUMBERS.items():
            if number in stage.optimizer or number == "lr":
                rule.require(f"{name}.optimizer.{number}", stage.optimizer.get(number))
    if config.classifier.class_weights and isinstance(config.classifier.loss, dict):
        raise AeprobeError(
            f"classifier.class_weights={config.classifier.class_weights}: weighs the cross-entropy: take "
            "classifier.loss=cross_entropy, or classifier.class_weights=null and give your loss its own weights, "
            "such as 'classifier.loss={_target_: torch.nn.CrossEntropyLoss, weight: [1, 2, …]}', one a class"
        )
    _check_scaled_gradients(config)


def _check_node(key: str, node: Any, required: bool) -> None:
    """The class is looked up once torch is imported; its kind and its arguments are checked then."""
    require(isinstance(node, dict), key, node, "a node with the name of a class as its _target_")
    own = key.rpartition(".")[2]
    require(own.isidentifier(), key, "", "called by a name of letters, digits and _")
    target = node.get("_target_")
    if target is None and not required:
        return
    ok = isinstance(target, str) and re.fullmatch(r"([A-Za-z_]\w*\.)+[A-Za-z_]\w*", target)
    require(bool(ok), f"{key}._target_", target, "the full name of a class, such as torch.optim.Adam")
    require(target not in UNFIT, f"{key}._target_", target, "one that steps by dense gradients alone")
    if key.endswith((".optimizer", ".scheduler")):  # is given the weights, or the optimizer
        require(node.get("_partial_") is True, f"{key}._partial_", node.get("_partial_"), "true")
    nested = [k for k in node if k.startswith("_") and k not in ("_target_", "_partial_")]
    nested += [k for k, v in node.items() if _holds_mapping(v)]
    require(not nested, key, ", ".join(nested), f"plain arguments of {target}")


def _check_schedule(name: str, node: dict[str, Any]) -> None:
    """Checks what the schedule's class does not know of; notes in the node what it counts, for a resumed run."""
    target, given = node.get("_target_"), node.get("interval")
    require(given in (None, "step", "epoch"), f"{name}.interval", given, "step or epoch")
    if target is None:
        return
    node["interval"] = interval(node)
    if target == PLATEAU:
        require(node["interval"] == "epoch", f"{name}.interval", given, "epoch: it looks at each validation")
        require(node.get("mode", "min") == "min", f"{name}.mode", node.get("mode"), "min: it follows val/loss")


def _holds_mapping(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_mapping, value)))


def _check_scaled_gradients(config: Config) -> None:
    """A fused optimizer removes the scale of half-precision gradients itself: before it they cannot be clipped."""
    clip = config.trainer.gradient_clip_val
    if config.trainer.precision != "16-mixed" or clip is None:
        return
    for stage in STAGES:
        if config.stage.trains(stage) and getattr(config, stage).optimizer.get("fused"):
            raise AeprobeError(
                f"trainer.gradient_clip_val={clip}: no fused optimizer clips under trainer.precision=16-mixed; "
                f"add {stage}.optimizer.fused=false, or use trainer.precision=bf16-mixed"
            )
