"""`python train.py resume=RUN_DIR`: the run that goes on, and its settings. Needs no torch."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config.checks import check, config_error, in_schema, typed_values
from aeprobe.config.schema import STAGES, THREADS, Config, Stage, every_node
from aeprobe.config.settings import roles
from aeprobe.errors import AeprobeError
from aeprobe.nodes import require_trusted
from aeprobe.paths import CONF, home
from aeprobe.processes.launch import launched
from aeprobe.runs.metrics import Metrics, read_metrics

AGAIN = ("trainer.strategy", "trainer.devices", "trainer.num_nodes", "trainer.threads")  # what a machine must have
LENGTHS = [f"{stage}.max_epochs" for stage in STAGES]


@dataclass
class Resumption:
    """A run to go on with."""

    config: Config  # its last, with the overrides that were typed now
    directory: Path  # the run's; with stage=all the one that holds both stages
    overrides: list[str]  # what was typed when it began, and since then
    start: Path | None  # the checkpoint to go on from, where it was given


def resume(arguments: Sequence[str]) -> Resumption:
    """Find the run to go on with, from a command line with `resume=` in it.

    Raises:
        AeprobeError: there is no such run, or an override would change what was already trained.
    """
    given = [argument for argument in arguments if argument.startswith("resume=")]
    others = [argument for argument in arguments if not argument.startswith("resume=")]
    if {"-m", "--multirun"} & {*others}:
        raise AeprobeError("resume= takes up one run: drop -m, or give the sweep's own command again")
    if options := [argument for argument in others if argument.startswith("-")]:
        raise AeprobeError(f"{' '.join([*given, *options])}: expected one run and KEY=VALUE only")
    path, start = _named(given[0]), None
    if path.suffix == ".ckpt":
        path, start = path.parent.parent, path
        if not start.is_file():
            raise AeprobeError(f"resume={start}: there is no such checkpoint")
    stored = _metrics(path)
    whole = stored["config"].get("stage") == "all" and path.name in STAGES
    directory = path.parent if whole else path
    before, typed = typed_values(stored["overrides"]), typed_values(others)
    config = _apply(stored["config"], typed, directory)
    return Resumption(config, directory, [*(before | typed).values()], start)


def _named(argument: str) -> Path:
    """Return the path after `resume=`, read as Hydra reads that after `ckpt=`."""
    (override,) = OverridesParser.create().parse_overrides([argument])
    path = OmegaConf.create({"resume": override.value()}).resume if not override.is_sweep_override() else None
    if not isinstance(path, str) or not path:
        raise AeprobeError(f"{argument}: expected one run; quote a name that has a comma")
    return Path(home(path))


def _metrics(path: Path) -> Metrics:
    """Return the metrics of a run; of stage=all those of its first stage."""
    for part in (path, path / STAGES[0]):
        if "versions" in (metrics := read_metrics(part, missing_ok=True)):
            return metrics
    raise AeprobeError(f"resume={path}: holds no run that began (no metrics.json); give a run directory")


def _apply(stored: Mapping[str, Any], typed: Mapping[str, str], directory: Path) -> Config:
    """Check a stored configuration again, with what was typed now."""
    try:
        cfg = in_schema(stored)
        cfg.plugins = _own_plugins()
        before = {stage: int(cfg[stage].max_epochs) for stage in STAGES}
        for key, override in typed.items():
            if key not in (*LENGTHS, *AGAIN) and roles().get(key) != "display":
                raise AeprobeError(f"{override}: would change what was already trained; start a new run for it")
            was = OmegaConf.select(cfg, key)
            OmegaConf.update(cfg, key, OmegaConf.create(f"x: {override.partition('=')[2]}").x)
            if key in AGAIN and was not in (None, OmegaConf.select(cfg, key)):
                raise AeprobeError(f"{override}: it was {was} when the run began; start a new run for another")
    except OmegaConfBaseException as error:
        raise AeprobeError(f"{directory}: {config_error(error)}") from None
    ckpt, last = cfg.ckpt, directory / "checkpoints" / "last.ckpt"
    if cfg.stage == Stage.classifier and last.exists():  # it holds its encoder, and stage 1's may be gone by now
        cfg.ckpt = str(last.absolute())
    require_trusted(every_node(cfg), cfg.plugins, f"resume={directory}")  # before anything looks a class up
    config = check(cfg)
    config.ckpt = ckpt
    for stage, key in zip(STAGES, LENGTHS, strict=True):
        if key in typed:
            _require_lengthening(config, stage, before[stage], typed[key], directory)
    for part in (directory, *(directory / stage for stage in STAGES)):
        _require_as_before(config, part, typed)
    return config


def _own_plugins() -> list[str]:
    """Return the packages that the person's own conf/config.yaml trusts; a stored one is not asked."""
    beside = Path(sys.argv[0]).parent / "conf" / "config.yaml"  # train.py's
    file = beside if beside.is_file() else CONF / "config.yaml"
    own: Any = OmegaConf.load(file) if file.is_file() else {}
    return list(own.get("plugins") or [])


def _require_as_before(config: Config, part: Path, typed: Mapping[str, str]) -> None:
    """Refuse another number of processes, and more of this machine than a stored file may ask for.

    Somebody's run may have been made on a larger machine; whoever goes on with it says so.
    """
    if not (metrics := read_metrics(part, missing_ok=True)):
        return
    trainer, before = config.trainer, metrics.get("processes", 1)
    now = trainer.devices * trainer.num_nodes
    if now > 1 and launched() is None and "trainer.devices" not in typed:
        raise AeprobeError(
            f"resume={part}: was trained by {now} processes: to start them, type trainer.devices={now}"
        )
    if before != now:
        raise AeprobeError(f"resume={part}: was trained by {before} processes, not {now}: start as many again")
    threads: Any = metrics.get("threads")
    cores, asked = os.cpu_count() or 1, typed.get("trainer.threads")
    if not THREADS.allows(threads):
        return
    if threads > cores and not asked:
        raise AeprobeError(
            f"resume={part}: was computed with {threads} threads, and this machine has {cores} cores; "
            f"to use as many, type trainer.threads={threads}"
        )
    if asked and trainer.threads != threads:
        raise AeprobeError(f"{asked}: the run has {threads}; another number gives other bits")


def _require_lengthening(config: Config, stage: str, before: int, override: str, directory: Path) -> None:
    """Refuse more epochs that cannot follow those that were trained."""
    settings = getattr(config, stage)
    part = directory / stage if config.stage == Stage.all else directory
    done = len(read_metrics(part, missing_ok=True).get("epochs", []))
    name = str(settings.scheduler["_target_"]).rpartition(".")[2]
    why = None
    if not config.stage.trains(stage):
        why = f"this run does not train the {stage}"
    elif settings.max_epochs == before:
        return
    elif "auto" in settings.scheduler.values() or name == "OneCycleLR":  # which ends at its last step
        why = f"the schedule {name} was made for {before} epochs; start a new run for more"
    elif stage == "autoencoder" and settings.regularizer["_target_"]:
        why = f"autoencoder.regularizer fades over {before} epochs; start a new run for more"
    elif config.trainer.limit_epochs:
        why = f"trainer.limit_epochs={config.trainer.limit_epochs} holds this run"
    elif stage == "autoencoder" and (directory / "classifier" / "metrics.json").exists():
        why = "the classifier was trained on this encoder; start a new run for more"
    elif settings.max_epochs < max(done, 1):
        why = f"{done} epochs are trained already; give more"
    if why:
        raise AeprobeError(f"{override}: {why}")
