"""A multirun: what it needs, which of its jobs are done already, and what came of them. Needs no torch."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from aeprobe.cli.failures import tell_once
from aeprobe.config import objective
from aeprobe.config.checks import check
from aeprobe.config.overrides import override
from aeprobe.config.schema import STAGES, Config, Stage, changes_a_number, complete, flat, plain
from aeprobe.errors import AeprobeError
from aeprobe.files import checksum
from aeprobe.paths import typed_command
from aeprobe.processes import launch
from aeprobe.runs.metrics import Metrics, find_checkpoint, read_metrics

EARLIER = {
    "completed": "completed before, with the same settings",
    "interrupted": "was interrupted, goes on",
    "failed": "failed before, begins anew",
}


class OtherRunError(AeprobeError):
    """A job's directory holds a run of other settings; it is left as it is."""


class Multirun(Callback):
    """Looks at a multirun before Hydra makes its directory."""

    directory: ClassVar[Path | None] = None  # of the jobs of this command; None where it is no multirun

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse jobs that cannot be run, or be compared by a search, together; nothing is written then."""
        try:
            with suppress(HydraException, OmegaConfBaseException):  # Hydra, or the job itself, says what is wrong
                require_one_process(config.trainer.strategy)
                if str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):  # Optuna's looks at its own jobs
                    search = config.hydra.runtime.choices.get("search") or config.hydra.sweeper.get("params")
                    jobs = [*_tried(config, groups_only=not search)]
                    require_comparable(jobs if search else [])
        except AeprobeError as error:  # Hydra makes a warning of a callback's exceptions
            tell_once(str(error))
            sys.exit(1)
        with suppress(OmegaConfBaseException):  # a name that cannot be
            Multirun.directory = Path(config.hydra.sweep.dir)


def require_one_process(strategy: str) -> None:
    """Refuse jobs on several processes."""
    world = launch.here().world
    if strategy == "ddp" or world > 1:
        why = f"{world} processes were started" if world > 1 else "trainer.strategy=ddp"
        alone = f"{typed_command()} trainer=ddp seed=1"
        raise AeprobeError(f"{why}: a job of a multirun has one process; start each by itself, such as {alone}")


def without_hydra(job: DictConfig) -> DictConfig:
    """Return the configuration of a multirun's job, without Hydra's own node."""
    with read_write(job), open_dict(job):
        del job["hydra"]
    return job


def _tried(config: DictConfig, groups_only: bool) -> Iterator[Config]:
    """Yield a grid's first job, and one for each further value, or file of a group; skip those that are refused.

    A file that varies and sets the launcher or the sweeper, which all jobs share, raises AeprobeError.
    """
    loader = GlobalHydra.instance().config_loader()
    preset = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    lines = {}  # of a key that is typed, too, the latter, as in Hydra's sweeper
    for parsed in OverridesParser.create(config_loader=loader).parse_overrides(
        [*preset, *config.hydra.overrides.task]
    ):
        key, varies = parsed.get_key_element(), parsed.is_discrete_sweep()
        lines[key] = [f"{key}={v}" for v in parsed.sweep_string_iterator()] if varies else [str(parsed.input_line)]
        if groups_only and not loader.get_group_options(parsed.key_or_group):
            del lines[key][1:]
    if groups_only and all(len(choices) == 1 for choices in lines.values()):
        return
    first = {key: choices[0] for key, choices in lines.items()}
    for job in [first, *(first | {key: line} for key, choices in lines.items() for line in choices[1:])]:
        composed = loader.load_sweep_config(config, [*job.values()])
        for group in ("launcher", "sweeper"):
            if config.hydra[group] != composed.hydra[group]:
                raise AeprobeError(
                    f"{' '.join(job.values())}: sets hydra.{group}, which all jobs share; type "
                    f"hydra/{group}={composed.hydra.runtime.choices[f'hydra/{group}']}"
                )
        with suppress(AeprobeError):
            yield check(without_hydra(composed))


def require_comparable(jobs: Sequence[Config]) -> None:
    """Refuse a search by a metric of the test set, or by a loss that has another scale in some of its jobs."""
    for config in jobs:
        if (wanted := objective.resolve(config)) is None:
            continue
        stage, metric = wanted
        if metric.startswith("val/"):
            _require_held_out(config, metric)
        _, keys = objective.comparable(metric, stage, [flat(plain(job)) for job in (jobs[0], config)])
        if keys:
            name = f"val/{objective.COMPARABLE[stage]}"
            better = override("objective", f"{stage} {name}" if config.stage == Stage.all else name)
            raise AeprobeError(
                f"{', '.join(keys)}: {metric} has another scale for each value, and the search would choose by "
                f"the scale; give {better}"
            )


def _require_held_out(config: Config, metric: str) -> None:
    held_out, where, advice = config.data.val_size, "", "hold images out, such as data.val_size=5000"
    if config.stage == Stage.classifier and config.ckpt:  # it keeps the encoder's split
        from aeprobe.models import checkpoints  # imports torch

        stored = checkpoints.read(find_checkpoint(config.ckpt, "autoencoder"))
        held_out = int(stored["datamodule_hyper_parameters"]["val_size"])
        where = f"the encoder in ckpt={config.ckpt} was trained with "
        advice = "search on an encoder that was trained with images held out"
    if held_out == 0:
        raise AeprobeError(
            f"{where}data.val_size=0: the search would choose by the test set, which {metric} is measured on; "
            f"{advice}, or give objective={metric.replace('val/', 'train/')}"
        )


def before(directory: Path, config: Config) -> str | None:
    """Return how an earlier run of this job ended, as `ending`; raise OtherRunError for one of another job."""
    for part, metrics in _parts(directory).items():
        _require_same(part, metrics, config)
    return ending(directory)


def ending(directory: Path) -> str | None:
    """Return how a job ended: "completed", "interrupted", "failed"; None where it never began."""
    metrics = _parts(directory).values()
    if any(part["status"] == "failed" for part in metrics):
        return "failed"
    stages = len(STAGES) if any(part["config"].get("stage") == "all" for part in metrics) else 1
    done = sum(part["status"] == "completed" for part in metrics)
    return None if not metrics else "completed" if done == stages else "interrupted"


def _parts(directory: Path) -> dict[Path, Metrics]:
    paths = (directory, *(directory / stage for stage in STAGES))
    return {path: metrics for path in paths if (metrics := read_metrics(path, missing_ok=True))}


def _require_same(part: Path, metrics: Metrics, config: Config) -> None:
    then, now = _compared(metrics["config"]), _compared(plain(config))
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            raise OtherRunError(
                f"{part} holds a run with {key}={then.get(key)}, not {now.get(key)}: choose another sweep="
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
    idle = [f"{name}." for name in STAGES if not stage.trains(name)] + ["probe."] * (stage != Stage.probe)
    settings = {k: v for k, v in flat(config).items() if changes_a_number(k) and not k.startswith(tuple(idle))}
    return settings | ({"data.root": config["data"]["root"]} if config["data"]["name"] != "mnist" else {})


def unfinished(sweep: Path) -> str:
    """Return a line that names the jobs in a sweep's directory that are not completed; "" where all are."""
    endings = {job.name: ending(job) for job in sorted(sweep.glob("[!.]*")) if job.is_dir()}
    names = [f"{name} ({how or 'did not begin'})" for name, how in endings.items() if how != "completed"]
    return f"{len(names)} of {len(endings)} jobs are not completed in {sweep}: {', '.join(names)}" if names else ""
