"""`python train.py resume=RUN_DIR`: the run that goes on, and its settings. Needs no torch."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config.checks import config_error, in_schema, typed_values, validate
from aeprobe.config.schema import ROLES, STAGES, Config, Stage, every_node
from aeprobe.errors import AeprobeError
from aeprobe.nodes import require_trusted
from aeprobe.paths import CONF, home
from aeprobe.processes.launch import require_as_started
from aeprobe.runs.metrics import Metrics, read_metrics


@dataclass
class Resumption:
    """A run to go on with."""

    config: Config  # its last, with the overrides that were typed now
    directory: Path  # the run's; with stage=all the one that holds both stages
    overrides: list[str]  # what was typed when it began, and since then
    start: Path | None  # the checkpoint to go on from, where it was given


def resume(arguments: Sequence[str]) -> Resumption:
    """Find the run to go on with, from a command line with `resume=` in it; refuse what would change its past."""
    given = [argument for argument in arguments if argument.startswith("resume=")]
    others = [argument for argument in arguments if not argument.startswith("resume=")]
    if options := [argument for argument in others if argument.startswith("-")]:
        raise AeprobeError(f"{given[0]}: expected one run and KEY=VALUE only: drop {' '.join(options)}")
    path, start = _named(given[0]), None
    if path.suffix == ".ckpt":
        path, start = path.parent.parent, path
        if not start.is_file():
            raise AeprobeError(f"resume={start}: there is no such checkpoint")
    stored = read_metrics(path, missing_ok=True) or read_metrics(path / STAGES[0], missing_ok=True)
    if not stored:
        raise AeprobeError(f"resume={path}: holds no run that began (no metrics.json); give a run directory")
    directory = path.parent if stored["config"].get("stage") == "all" and path.name in STAGES else path
    before, typed = typed_values(stored["overrides"]), typed_values(others)
    config = _apply(stored, typed, directory)
    return Resumption(config, directory, [*(before | typed).values()], start)


def _named(argument: str) -> Path:
    """Return the path after `resume=`, read as Hydra reads that after `ckpt=`."""
    (override,) = OverridesParser.create().parse_overrides([argument])
    path = OmegaConf.create({"resume": override.value()}).resume if not override.is_sweep_override() else None
    if not isinstance(path, str) or not path:
        raise AeprobeError(f"{argument}: expected one run; quote a name that has a comma")
    return Path(home(path))


def _apply(stored: Metrics, typed: Mapping[str, str], directory: Path) -> Config:
    """Check a stored configuration again, with what was typed now."""
    try:
        cfg = in_schema(stored["config"])
        cfg.plugins = _own_plugins()
        before = {f"{stage}.max_epochs": int(cfg[stage].max_epochs) for stage in STAGES}
        for key, override in typed.items():
            value = OmegaConf.create(f"x: {override.partition('=')[2]}").x
            if value != OmegaConf.select(cfg, key) and key not in before and ROLES.get(key) != "display":
                raise AeprobeError(f"{override}: would change what was already trained; start a new run for it")
            OmegaConf.update(cfg, key, value)
    except OmegaConfBaseException as error:
        raise AeprobeError(f"{directory}: {config_error(error)}") from None
    require_trusted(every_node(cfg), cfg.plugins, f"resume={directory}")  # before anything looks a class up
    config = validate(cfg, [*typed.values()])
    require_as_started(config, typed)
    then, now = stored.get("processes", 1), config.trainer.devices * config.trainer.num_nodes
    if then != now:
        raise AeprobeError(f"resume={directory}: was trained by {then} processes, not {now}: start as many again")
    for key in before.keys() & typed.keys():
        _require_lengthening(config, key.partition(".")[0], before[key], typed[key], directory)
    return config


def _own_plugins() -> list[str]:
    """Return the packages that the person's own conf/config.yaml trusts; a stored one is not asked."""
    beside = Path(sys.argv[0]).parent / "conf" / "config.yaml"  # train.py's
    file = beside if beside.is_file() else CONF / "config.yaml"
    own: Any = OmegaConf.load(file) if file.is_file() else {}
    return list(own.get("plugins") or [])


def _require_lengthening(config: Config, stage: str, before: int, override: str, directory: Path) -> None:
    """Refuse more epochs that cannot follow those that were trained."""
    settings, first = getattr(config, stage), stage == "autoencoder"
    part = directory / stage if config.stage == Stage.all else directory
    done = len(read_metrics(part, missing_ok=True).get("epochs", []))
    schedule, made, why = str(settings.scheduler["_target_"]).rpartition(".")[2], "", None
    if "auto" in settings.scheduler.values() or schedule == "OneCycleLR":  # which ends at its last step
        made = f"the schedule {schedule}"
    elif first and settings.regularizer["_target_"]:  # which fades out
        made = "autoencoder.regularizer"
    if made:
        why = f"{made} was made for {before} epochs; start a new run for more"
    elif first and (directory / "classifier" / "metrics.json").exists():
        why = "the classifier was trained on this encoder; start a new run for more"
    elif settings.max_epochs < done:
        why = f"{done} epochs are trained already; give more"
    if why and settings.max_epochs != before:
        raise AeprobeError(f"{override}: {why}")
