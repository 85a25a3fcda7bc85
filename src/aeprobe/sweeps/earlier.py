"""A multirun's jobs: which of them are done already, and which cannot be. Needs no torch."""

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config.choices import Stage
from aeprobe.config.schema import STAGES, Config, plain
from aeprobe.config.settings import changes_a_number, complete, flat
from aeprobe.errors import AeprobeError
from aeprobe.files import checksum
from aeprobe.paths import typed_command
from aeprobe.processes import launch
from aeprobe.runs.metrics import SCHEMA, Metrics, read_metrics
from aeprobe.runs.ownership import require_unused
from aeprobe.runs.run_directory import RunDirectory


class OtherRunError(AeprobeError):
    """A job's directory holds a run of other settings; it is left as it is."""


def status(directory: Path, config: Config) -> str | None:
    """How an earlier run of this job ended: "completed", "interrupted", "failed"; None: there was none.

    Raises:
        OtherRunError: the directory holds a run of another configuration.
        AeprobeError: the job would have several processes.
    """
    if config.trainer.strategy == "ddp":  # from a preset: `require_one_process` has looked at what was typed
        raise AeprobeError(f"trainer.strategy=ddp: {ONE_PROCESS.format(typed_command())}")
    parts = [directory / stage for stage in STAGES] if config.stage == "all" else [directory]
    found = {part: read_metrics(part, missing_ok=True) for part in parts}
    begun = {part: metrics for part, metrics in found.items() if "versions" in metrics}
    for part, metrics in begun.items():
        _require_same(part, metrics, config)
    if not begun:
        (directory / "metrics.json").unlink(missing_ok=True)  # it was refused
        try:
            require_unused(directory)
        except AeprobeError as error:
            raise OtherRunError(str(error)) from None
        return None
    if parts[0] not in begun:
        raise OtherRunError(f"{parts[1]} holds a run, but {parts[0]} does not: choose another sweep=")
    statuses = [metrics["status"] for metrics in begun.values()]
    if "failed" in statuses:
        return "failed"
    return "completed" if statuses == ["completed"] * len(parts) else "interrupted"


def _require_same(part: Path, metrics: Metrics, config: Config) -> None:
    """Refuse to go on with a run of other settings, or on other images than there are now."""
    before, now = (_compared(complete(settings)) for settings in (metrics["config"], plain(config)))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise OtherRunError(
                f"{part} holds a run with {key}={before.get(key)}, not {now.get(key)}: choose another sweep="
            )
    for name, file in metrics["data"]["files"].items() if config.data.name != "mnist" else ():
        path = Path(config.data.root, name)
        if path.is_file() and checksum(path) != file["sha256"]:
            raise OtherRunError(f"{part} was made with another {path} than there is now: choose another sweep=")


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two jobs of one name the same: all that can change a number of the stages that they train."""
    stage = Stage(config["stage"])
    idle = tuple(f"{name}." for name in STAGES if not stage.trains(name))
    idle += () if stage == Stage.probe else ("probe.",)
    settings = {k: v for k, v in flat(config).items() if changes_a_number(k) and not k.startswith(idle)}
    mnist = config["data"]["name"] == "mnist"
    return settings if mnist else settings | {"data.root": config["data"]["root"]}


def require_one_process(arguments: Sequence[str]) -> None:
    """Refuses a multirun of jobs on several processes, before anything is made for it.

    Raises:
        AeprobeError: says how to launch them.
    """
    if not {"-m", "--multirun"} & {*arguments}:
        return
    asked = [a for a in arguments if re.match(r"trainer(\.strategy)?=.*\bddp\b", a)]
    world = launch.here().world
    if asked or world > 1:
        raise AeprobeError(
            f"{asked[0] if asked else f'{world} processes were started'}: {ONE_PROCESS.format(typed_command())}"
        )


ONE_PROCESS = (
    "a job of a multirun has one process; drop -m and launch each setting by itself, "
    "for example {} trainer=ddp trainer.devices=2 seed=1"
)


def refuse(directory: Path, cfg: DictConfig, overrides: Sequence[str], error: str) -> None:
    """Writes metrics.json for a job that was refused before it began."""
    try:
        config: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    except OmegaConfBaseException:  # that was what is wrong
        config = OmegaConf.to_container(cfg, enum_to_str=True)
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
        raise AeprobeError(f"{search[0]}: a search has many runs: {typed_command()} -m {search[0]} sweep=NAME")
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
