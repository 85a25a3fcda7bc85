"""What a checkpoint says of itself, held against the rules for what is typed: it may be somebody else's file."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from aeprobe.config.checks import check_data
from aeprobe.config.choices import LossOn
from aeprobe.config.rules import DATASET_NAME, SEED, Rule, one_of, require
from aeprobe.config.schema import MODULE, SOURCES, DataConfig
from aeprobe.errors import AeprobeError

DICT = Rule("a dict", lambda value: isinstance(value, dict))
TEXT = Rule("a text", lambda value: isinstance(value, str) and "\0" not in value)
WHOLE = Rule("a whole number", lambda value: type(value) is int)
WHOLE_FROM_0 = Rule("a whole number, 0 or more", lambda value: type(value) is int and value >= 0)
NUMBER = Rule("a number", lambda value: type(value) is float or (type(value) is int and abs(value) < 2**53))
SHA256 = Rule("64 hexadecimal digits", lambda value: bool(re.fullmatch("[0-9a-f]{64}", value)))
SHAPE = Rule(
    "three whole numbers from 1 to 65536",
    lambda value: len(value) == 3 and all(type(side) is int and 1 <= side <= 2**16 for side in value),
)
NODE = Rule("a node with a _target_", lambda value: isinstance(value["_target_"], str))
NAMES = Rule(
    "a list of texts", lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value)
)
YES_OR_NO = Rule("true or false", lambda value: isinstance(value, bool))


def check(checkpoint: dict[str, Any]) -> None:
    """Checks a checkpoint's weights and settings, and adds to its settings what an earlier version left out.

    Earlier versions normalized images in the data module, so that the module's own settings have no "mean" and
    "std". A classifier of theirs works as it did with those of its data. An autoencoder's reconstructions do not.

    Raises:
        AeprobeError: a setting has another type or range than one that is typed may have, a weight is not
            finite, or an earlier version's reconstructions are on another scale.
    """
    for key in ("hyper_parameters", "datamodule_hyper_parameters", "state_dict"):
        require(isinstance(checkpoint[key], dict), key, type(checkpoint[key]).__name__, "a dict")
    _check_weights(checkpoint["state_dict"])
    for key in ("epoch", "global_step"):
        _hold(WHOLE_FROM_0, key, checkpoint.get(key))
    data, module = checkpoint["datamodule_hyper_parameters"], checkpoint["hyper_parameters"]
    earlier = not {"mean", "std"} & module.keys()
    if earlier:
        module |= {"mean": data.get("mean", 0.0), "std": data.get("std", 1.0)}
    _check_data(data, module)
    if earlier and checkpoint["stage"] == "autoencoder" and (module["mean"], module["std"]) != (0, 1):
        raise AeprobeError(
            f"an earlier version trained this autoencoder to reconstruct images minus {module['mean']}, divided "
            f"by {module['std']}: its reconstructions are on that scale, not in [0, 1]; train it anew"
        )
    _in_todays_form(checkpoint["stage"], module)
    _check_module(checkpoint["stage"], module)
    _count_steps(checkpoint.get("loops"))


def _count_steps(loops: Any) -> None:
    """Earlier versions stepped by Lightning's manual optimization, which counts the steps in another place."""
    try:
        fit = loops["fit_loop"]
        manual = fit["epoch_loop.manual_optimization.optim_step_progress"]
        steps = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
        if manual["total"]["ready"] and not steps["total"]["ready"]:
            steps |= {kind: dict(manual[kind]) for kind in ("total", "current")}
    except (KeyError, TypeError):  # no run's own, or not to be gone on with
        return


def _check_weights(weights: Mapping[Any, Any]) -> None:
    for key, weight in weights.items():
        plain = isinstance(weight, Tensor) and weight.layout == torch.strided
        counts = key.endswith(".num_batches_tracked")  # of a batch norm
        require(
            plain and (weight.is_floating_point() or counts),
            *(f"the weight {key!r:.80}", type(weight).__name__, "a plain tensor of floats"),
        )
        bad = int((~weight.float().isfinite()).sum())  # as a module of float32 would hold it
        if bad:
            raise AeprobeError(
                f"its weight {key!r:.80} is not finite in {bad} of {weight.numel()} numbers: nothing can be "
                "computed with it; use another checkpoint"
            )


def _check_data(data: dict[str, Any], module: Mapping[str, Any]) -> None:
    _hold(DATASET_NAME, "data.name", data.get("name"))
    data.setdefault("source", {"_target_": SOURCES.get(data["name"])})
    _hold(NODE, "data.source", data["source"])
    _hold(NAMES, "data.class_names", data.setdefault("class_names", []))
    _hold(TEXT, "data.root", data.get("root"))
    _hold(WHOLE, "data.val_size", data.get("val_size"))
    for key in ("seed", "split_seed"):
        _hold(WHOLE, key, data.get(key))
        SEED.require(key, data[key])
    for key in ("mean", "std"):
        _hold(NUMBER, f"data.{key}", module.get(key))
    settings = {key: data[key] for key in ("name", "source", "root", "val_size")}
    check_data(DataConfig(**settings, mean=module["mean"], std=module["std"], eval_batch_size=1))
    check_files(data.get("files", {}))


def check_files(files: Any) -> None:
    """Checks what a run, or its checkpoint, says of its data files: "bytes" and "sha256" of each, by its name.

    Raises:
        AeprobeError: it says something else.
    """
    _hold(DICT, "data.files", files)
    for name, identity in files.items():
        _hold(DICT, f"data.files.{name!r:.40}", identity)
        _hold(WHOLE_FROM_0, "bytes", identity.get("bytes"))
        _hold(SHA256, "sha256", identity.get("sha256"))


def _in_todays_form(stage: str, settings: dict[str, Any]) -> None:
    """Earlier versions knew fully connected networks and images of 28 x 28 pixels alone."""
    prefix = "" if stage == "autoencoder" else "encoder_"
    if "network" in settings or f"{prefix}widths" not in settings:
        return
    sizes = {"widths": settings.pop(f"{prefix}widths"), "activation": settings.pop(f"{prefix}activation")}
    shape = [1, 28, 28]
    network = {"_target_": "aeprobe.models.networks.MLPAutoencoder", "shape": shape, **sizes}
    settings |= {"network": network, "shape": shape}
    if stage == "autoencoder":
        settings |= {"module": {"_target_": MODULE}, "loss": "mse"}
    else:
        sizes = {name: settings.pop(name) for name in ("widths", "activation")}
        settings |= {"head": {"_target_": "aeprobe.models.networks.MLP", **sizes}, "loss": "cross_entropy"}


def _check_module(stage: str, settings: Mapping[str, Any]) -> None:
    """The networks' own arguments may be any: what they build is held against the shapes of the weights."""
    _hold(SHAPE, "shape", settings.get("shape"))
    for key in ("network", "module" if stage == "autoencoder" else "head"):
        _hold(NODE, key, settings.get(key))
    _hold(Rule("a word, or a node", lambda loss: isinstance(loss, str | dict)), "loss", settings.get("loss"))
    if stage == "autoencoder":
        return
    for key in ("standardize", "trains_encoder"):
        _hold(YES_OR_NO, key, settings.get(key, False))
    noise = settings.get("code_noise", 0.0)
    _hold(NUMBER, "code_noise", noise)
    require(noise >= 0, "code_noise", noise, "0 or more")
    _hold(
        Rule(f"one of {', '.join(LossOn)}", lambda word: word in [*LossOn]),
        "loss_on",
        settings.get("loss_on", "logits"),
    )
    _hold(one_of(None, "balanced"), "class_weights", settings.get("class_weights"))


def _hold(rule: Rule, key: str, value: object) -> None:
    """Raises AeprobeError where a value, of which it tells only the beginning, is not what the rule says."""
    require(rule.allows(value), key, f"{value!r:.60}", rule.text)
