"""What a checkpoint says of itself, held against the rules for what is typed: it may be somebody else's file."""

import re
from collections.abc import Mapping
from typing import Any

import aeprobe.runtime  # noqa: F401

import torch
from torch import Tensor

from aeprobe.config.checks import check_data
from aeprobe.config.rules import SEED, require
from aeprobe.config.schema import ACTIVATIONS, PIXELS, DataConfig, Dataset, LossOn
from aeprobe.errors import AeprobeError

HELD = ("hyper_parameters", "datamodule_hyper_parameters", "state_dict")


def check(checkpoint: dict[str, Any]) -> None:
    """Checks a checkpoint's weights and settings, and adds to its settings what an earlier version left out.

    Earlier versions normalized images in the data module, so that the module's own settings have no "mean" and
    "std". A classifier of theirs works as it did with those of its data. An autoencoder's reconstructions do not.

    Raises:
        AeprobeError: a setting has another type or range than one that is typed may have, a weight is not
            finite, or an earlier version's reconstructions are on another scale.
    """
    for key in HELD:
        require(isinstance(checkpoint[key], dict), key, type(checkpoint[key]).__name__, "a dict")
    _check_weights(checkpoint["state_dict"])
    for key in ("epoch", "global_step"):
        _require_whole(key, checkpoint.get(key))
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
        plain = isinstance(weight, Tensor) and weight.layout == torch.strided and weight.is_floating_point()
        require(plain, f"the weight {key!r:.80}", type(weight).__name__, "a plain tensor of floats")
        bad = int((~weight.float().isfinite()).sum())  # as a module of float32 would hold it
        if bad:
            raise AeprobeError(
                f"its weight {key!r:.80} is not finite in {bad} of {weight.numel()} numbers: nothing can be "
                "computed with it; use another checkpoint"
            )


def _check_data(data: Mapping[str, Any], module: Mapping[str, Any]) -> None:
    for key in ("name", "root"):
        value = data.get(key)
        require(isinstance(value, str) and "\0" not in value, f"data.{key}", _shown(value), "a text")
    require(data["name"] in [*Dataset], "data.name", _shown(data["name"]), f"one of {', '.join(Dataset)}")
    _require_whole("data.val_size", data.get("val_size"), least=None)
    for key in ("seed", "split_seed"):
        _require_whole(key, data.get(key), least=None)
        SEED.require(key, data[key])
    for key in ("mean", "std"):
        _require_number(f"data.{key}", module.get(key))
    check_data(DataConfig(Dataset(data["name"]), data["root"], data["val_size"], module["mean"], module["std"], 1))
    check_files(data.get("files", {}))


def check_files(files: object) -> None:
    """Checks what a run, or its checkpoint, says of its data files: "bytes" and "sha256" of each, by its name.

    Raises:
        AeprobeError: it says something else.
    """
    for name, identity in _mapping("data.files", files).items():
        known = _mapping(f"data.files.{name!r:.40}", identity)
        _require_whole("bytes", known.get("bytes"))
        digest = known.get("sha256")
        ok = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
        require(bool(ok), "sha256", _shown(digest), "64 hexadecimal digits")


def _check_module(stage: str, settings: Mapping[str, Any]) -> None:
    """Its widths may be any: they are held against the shapes of the weights."""
    encoder = "widths" if stage == "autoencoder" else "encoder_widths"
    for key in dict.fromkeys((encoder, "widths")):
        widths = settings.get(key)
        ok = isinstance(widths, list) and len(widths) >= 2 and all(type(width) is int for width in widths)
        require(ok, key, _shown(widths), "two or more whole numbers")
    require(settings[encoder][0] == PIXELS, encoder, _shown(settings[encoder]), f"{PIXELS} first")
    for key in dict.fromkeys((encoder.replace("widths", "activation"), "activation")):
        known = settings.get(key) in ACTIVATIONS
        require(known, key, _shown(settings.get(key)), "one of " + ", ".join(ACTIVATIONS))
    if stage == "autoencoder":
        return
    code = settings[encoder][-1]
    require(settings["widths"][0] == code, "widths", _shown(settings["widths"]), f"{code} first, as the code has")
    standardize = settings.get("standardize", False)
    require(isinstance(standardize, bool), "standardize", _shown(standardize), "true or false")
    noise = settings.get("code_noise", 0.0)
    _require_number("code_noise", noise)
    require(noise >= 0, "code_noise", noise, "0 or more")
    loss_on = settings.get("loss_on", "logits")
    require(loss_on in [*LossOn], "loss_on", _shown(loss_on), f"one of {', '.join(LossOn)}")


def _require_whole(key: str, value: object, least: int | None = 0) -> None:
    ok = type(value) is int and (least is None or value >= least)
    require(ok, key, _shown(value), "a whole number" + ("" if least is None else f", {least} or more"))


def _require_number(key: str, value: object) -> None:
    ok = type(value) is float or (type(value) is int and abs(value) < 2**53)
    require(ok, key, _shown(value), "a number")


def _mapping(key: str, value: object) -> Mapping[Any, Any]:
    require(isinstance(value, dict), key, _shown(value), "a dict")
    assert isinstance(value, dict)
    return value


def _shown(value: object) -> str:
    return f"{value!r:.60}"
