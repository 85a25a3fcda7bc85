"""The jobs of a sweep, as their metrics.json say: done already, to go on, or to begin anew. Needs no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aeprobe.config.schema import STAGES, Config, Stage, plain
from aeprobe.config.settings import changes_a_number, complete, flat
from aeprobe.errors import AeprobeError
from aeprobe.files import checksum
from aeprobe.paths import typed_command
from aeprobe.runs.metrics import SCHEMA, Metrics, read_metrics

ALONE = (
    "a job of a multirun has one process; drop -m and launch each setting by itself, "
    "for example {} trainer=ddp trainer.devices=2 seed=1"
)
EARLIER = {
    "completed": "completed before, with the same settings",
    "interrupted": "was interrupted, goes on",
    "failed": "failed before, begins anew",
}


class OtherRunError(AeprobeError):
    """A job's directory holds a run of other settings; it is left as it is."""


def jobs(sweep: Path) -> list[Path]:
    """Return the directories of a sweep's jobs, also of one that lost its metrics.json."""
    return sorted(place for place in sweep.glob("[!.]*") if place.is_dir())


def ending(directory: Path) -> str | None:
    """Return how a job ended: "completed", "interrupted", "failed"; None where there was none."""
    metrics = _parts(directory).values()
    if any(part["status"] == "failed" for part in metrics):
        return "failed"
    stages = len(STAGES) if any(part["config"].get("stage") == "all" for part in metrics) else 1
    done = sum(part["status"] == "completed" for part in metrics)
    return None if not metrics else "completed" if done == stages else "interrupted"


def status(directory: Path, config: Config) -> str | None:
    """Return how an earlier run of this job ended, as `ending`; one that was refused before it began is none.

    Raises:
        OtherRunError: the directory holds a run of another configuration, or of other images.
        AeprobeError: the job would have several processes.
    """
    if config.trainer.strategy == "ddp":  # from a preset: `require_one_process` has looked at what was typed
        raise AeprobeError(f"trainer.strategy=ddp: {ALONE.format(typed_command())}")
    parts = _parts(directory)
    if any("versions" not in metrics for metrics in parts.values()):
        (directory / "metrics.json").unlink()
        return None
    for part, metrics in parts.items():
        _require_same(part, metrics, config)
    return ending(directory)


def _parts(directory: Path) -> dict[Path, Metrics]:
    paths = (directory, *(directory / stage for stage in STAGES))
    return {path: metrics for path in paths if (metrics := read_metrics(path, missing_ok=True))}


def _require_same(part: Path, metrics: Metrics, config: Config) -> None:
    before, now = _compared(metrics["config"]), _compared(plain(config))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise OtherRunError(
                f"{part} holds a run with {key}={before.get(key)}, not {now.get(key)}: choose another sweep="
            )
    files = metrics.get("data", {}).get("files", {}) if config.data.name != "mnist" else {}
    for name, known in files.items():
        path = Path(config.data.root, name)
        if path.is_file() and checksum(path) != known["sha256"]:
            raise OtherRunError(f"{part} was made with another {path} than there is now: choose another sweep=")


def _compared(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes two jobs of one name the same: all that can change a number of what they train."""
    config = complete(stored)
    stage = Stage(config["stage"])
    idle = tuple(f"{name}." for name in STAGES if not stage.trains(name))
    idle += () if stage == Stage.probe else ("probe.",)
    settings = {k: v for k, v in flat(config).items() if changes_a_number(k) and not k.startswith(idle)}
    mnist = config["data"]["name"] == "mnist"
    return settings if mnist else settings | {"data.root": config["data"]["root"]}


def refuse(directory: Path, cfg: DictConfig, overrides: Sequence[str], error: str) -> None:
    """Write metrics.json for a job that was refused before it began."""
    from aeprobe.runs.rundir import RunDirectory  # its lock costs every typo some milliseconds

    try:
        config: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    except OmegaConfBaseException:  # that was what is wrong
        config = OmegaConf.to_container(cfg, enum_to_str=True)
    directory.mkdir(parents=True, exist_ok=True)
    header = {"schema": SCHEMA, "stage": config.get("stage"), "status": "failed", "error": error}
    settings = {"seed": config.get("seed"), "overrides": list(overrides), "config": config}
    RunDirectory(directory).write(**header, **settings, epochs=[], final={})
