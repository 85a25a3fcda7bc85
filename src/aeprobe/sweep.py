"""A multirun's jobs: which of them are done already, and which cannot be. Needs no torch."""

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe import processes
from aeprobe.config import Config, plain
from aeprobe.errors import AeprobeError
from aeprobe.rundir import SCHEMA, RunDirectory, read_metrics

STAGES = ("autoencoder", "classifier")
SHOWN_ONLY = ("sweep", "trainer.progress")  # settings that change no number


class OtherRunError(AeprobeError):
    """A job's directory holds a run of other settings; it is left as it is."""


def status(directory: Path, config: Config) -> str | None:
    """How an earlier run of this job ended: "completed", "interrupted", "failed"; None: there was none.

    Raises:
        OtherRunError: the directory holds a run of another configuration.
        AeprobeError: the job would have several processes.
    """
    if config.trainer.strategy == "ddp":  # from a preset: `require_one_process` has looked at what was typed
        raise AeprobeError(f"trainer.strategy=ddp: {ONE_PROCESS}")
    parts = [directory / stage for stage in STAGES] if config.stage == "all" else [directory]
    begun = [part for part in parts if RunDirectory(part).begun]
    for part in begun:
        _require_same(part, config)
    if not begun:
        (directory / "metrics.json").unlink(missing_ok=True)  # it was refused
        return None
    found = [read_metrics(p)["status"] if (p / "metrics.json").exists() else "running" for p in begun]
    if "failed" in found:
        return "failed"
    return "completed" if found == ["completed"] * len(parts) else "interrupted"


def _require_same(part: Path, config: Config) -> None:
    stored = OmegaConf.to_container(OmegaConf.load(part / ".hydra" / "config.yaml"))
    assert isinstance(stored, dict)
    before, now = flat(stored), flat(plain(config))
    for key in sorted({*before, *now} - {*SHOWN_ONLY}):
        if key not in before:
            raise OtherRunError(f"{part} was made by an earlier version, without {key}: choose another sweep=")
        if before[key] != now.get(key):
            raise OtherRunError(
                f"{part} holds a run with {key}={before[key]}, not {now.get(key)}: choose another sweep="
            )


def flat(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration's values by their dotted keys.

    >>> flat({"seed": 0, "data": {"root": "data"}})
    {'seed': 0, 'data.root': 'data'}
    """
    made: dict[str, Any] = {}
    for key, value in config.items():
        made |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return made


def require_one_process(arguments: Sequence[str]) -> None:
    """Refuses a multirun of jobs on several processes, before anything is made for it.

    Raises:
        AeprobeError: says how to launch them.
    """
    if not {"-m", "--multirun"} & {*arguments}:
        return
    asked = [a for a in arguments if re.match(r"trainer(\.strategy)?=.*\bddp\b", a)]
    world = processes.here().world
    if asked or world > 1:
        raise AeprobeError(f"{asked[0] if asked else f'{world} processes were started'}: {ONE_PROCESS}")


ONE_PROCESS = (
    "a job of a multirun has one process; drop -m and launch each setting by itself, "
    "for example python train.py trainer=ddp trainer.devices=2 seed=1"
)


def refuse(directory: Path, cfg: DictConfig, overrides: Sequence[str], error: str) -> None:
    """Writes metrics.json for a job that was refused before it began."""
    try:
        config = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    except OmegaConfBaseException:  # that was what is wrong
        config = OmegaConf.to_container(cfg, enum_to_str=True)
    assert isinstance(config, dict)
    directory.mkdir(parents=True, exist_ok=True)
    RunDirectory(directory).write(
        schema=SCHEMA,
        stage=config.get("stage"),
        status="failed",
        error=error,
        seed=config.get("seed"),
        overrides=list(overrides),
        config=config,
        epochs=[],
        final={},
    )


def require_extras(arguments: Sequence[str]) -> None:
    """Refuses a search that is no multirun, and a launcher or a search whose packages are not installed.

    Raises:
        AeprobeError: says what to type.
    """
    search = [argument for argument in arguments if argument.startswith("search=")]
    if search and not {"-m", "--multirun"} & {*arguments}:
        raise AeprobeError(f"{search[0]}: a search has many runs: python train.py -m {search[0]} sweep=NAME")
    for argument, package in EXTRAS.items():
        if argument in arguments and find_spec(package) is None:
            raise AeprobeError(
                f"{argument}: {package.removeprefix('hydra_plugins.')} is not installed: .venv/bin/python -m pip "
                "install --constraint constraints.txt --editable '.[sweep,slurm,optuna]'"
            )


EXTRAS = {
    "hydra/launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "hydra/launcher=slurm": "hydra_plugins.hydra_submitit_launcher",
    "search=optuna": "optuna",
}
