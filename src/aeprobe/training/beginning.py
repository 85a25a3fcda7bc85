"""How a stage begins: anew, or where an earlier run was ended."""

import logging
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aeprobe.runtime

import torch
from lightning.pytorch.loggers import Logger

from aeprobe.config.choices import Stage
from aeprobe.config.overrides import override
from aeprobe.config.rules import THREADS_ANYWHERE
from aeprobe.config.schema import STAGES, Config, plain
from aeprobe.config.settings import experiment as experiment_of
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.paths import shortest
from aeprobe.processes import collectives
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import SCHEMA, Metrics, read_metrics
from aeprobe.runs.run_directory import RunDirectory
from aeprobe.training import additions, logs
from aeprobe.training.consistency import require_files
from aeprobe.training.experiment import Experiment
from aeprobe.training.hparams import hyperparameters

if TYPE_CHECKING:
    from aeprobe.training.run import Request

log = logging.getLogger("aeprobe")
PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "aeprobe")


def take_up(directory: RunDirectory, request: "Request") -> tuple[bool, Path | None, Metrics]:
    """Whether the run that the directory holds goes on, from which checkpoint (None: from none), and its metrics.

    Raises:
        AeprobeError: another process is at work in it, or the checkpoint is damaged or gone.
    """
    found = read_metrics(directory.path, missing_ok=True) if request.resume else {}
    if not found:
        return False, None, {}
    directory.lock()
    directory.metrics = found = read_metrics(directory.path)
    if _complete(found, request.config):
        if request.changed:  # of another stage
            directory.write(config=plain(request.config), overrides=list(request.overrides))
        directory.release()
        return True, None, found
    running = found | {"status": "running"}
    last = request.start or directory.checkpoints / "last.ckpt"
    best = override("resume", str(shortest(directory.checkpoints / "best.ckpt")))
    if request.anew or (not last.exists() and len(found["epochs"]) < 2):  # one: killed before it was written
        return True, None, running
    if not last.exists():
        raise AeprobeError(f"{last} is gone, after {len(found['epochs'])} epochs; {best} goes on from the best")
    try:
        checkpoints.read(last)
    except AeprobeError as error:
        raise AeprobeError(f"{error}; {best} goes on from the best epoch, where it is whole") from None
    return True, last, running


def _complete(found: Metrics, config: Config) -> bool:
    """Whether a run has nothing left to do; more epochs may be asked of it than it had."""
    if found.get("status") != "completed" or found.get("not_drawn", {}) is None:  # null: ended while it drew
        return False
    settings = getattr(config, found["stage"]) if found["stage"] in STAGES else None
    asked = found["config"].get(found["stage"], {}).get("max_epochs", 0)  # a callback may have stopped it early
    return settings is None or settings.epochs(config.trainer) <= max(asked, len(found["epochs"]))


def use_threads_of(directory: RunDirectory) -> None:
    """Computes with as many threads as the run began with: another number would give other bits.

    Raises:
        AeprobeError: its metrics.json names no number of threads.
    """
    threads = directory.metrics.get("threads")
    THREADS_ANYWHERE.require(f"{directory.path / 'metrics.json'}: threads", threads)
    aeprobe.runtime.threads(threads)


def seconds_before(directory: RunDirectory) -> dict[str, float]:
    """Seconds before this process: of a run that was ended while it drew, those of its training."""
    before = directory.metrics["seconds"] if directory.metrics.get("not_drawn", {}) is None else {}
    return {"total": before.get("total") or 0.0, "fit": before.get("fit") or 0.0}


def open_directory(
    directory: RunDirectory,
    request: "Request",
    experiment: Experiment,
    device: torch.device,
    resuming: bool,
    last: Path | None,
) -> None:
    """Claims a new run's directory, or opens that of an earlier run, which goes on from `last` or begins anew.

    Raises:
        AeprobeError: the data are others than those of the run, or of another process; nothing was written.
    """
    _require_one_dataset(experiment)
    if resuming and last is None and not request.anew:
        files = directory.metrics["data"]["files"]
        collectives.on_rank_zero(lambda: require_files(experiment.data, files, directory.path))
    collectives.barrier()  # an error in any process until here leaves no run behind, or leaves it as it was

    def open_it() -> Metrics:
        header = _header(request, experiment, device, last)
        if resuming:
            directory.reopen(header, anew=last is None)
        else:
            directory.claim(header)
        return directory.metrics

    directory.metrics = collectives.on_rank_zero(open_it)


def _require_one_dataset(experiment: Experiment) -> None:
    """Raises AeprobeError in a process that has read other files than the first: each reads its own disk's."""
    for name, found in collectives.on_rank_zero(lambda: experiment.data.files).items():
        files = experiment.data.files[name]
        if files != found:
            raise AeprobeError(
                f"data: {name} in {experiment.data.root} has SHA-256 {files['sha256']} for process {here().rank}, "
                f"but {found['sha256']} for the first: all processes need the same files"
            )


def _header(request: "Request", experiment: Experiment, device: torch.device, last: Path | None) -> Metrics:
    """What metrics.json says of a run that begins; of one that goes on from `last`, what may be another now."""
    header: Metrics = {
        "status": "running",
        "error": None,
        "overrides": list(request.overrides),
        "config": plain(request.config),
        "data": _data(experiment),
        "networks": experiment.networks(),
        "loss": experiment.module.loss_name,
        "higher_is_better": experiment.higher_is_better,
    }
    if last is not None:
        return header
    return header | {
        "schema": SCHEMA,
        "stage": experiment.stage,
        "seed": experiment.seed,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": str(device),
        "threads": torch.get_num_threads(),  # of each process
        "processes": here().world,
        "ckpt": str(experiment.ckpt) if experiment.ckpt else None,
        "encoder_data": experiment.encoder_data,
        "epoch_size": experiment.data.epoch_size if experiment.settings else None,
        **({"of": _settings_of(experiment.ckpt)} if request.config.stage == Stage.probe else {}),
        "checkpoint": "best" if experiment.keeps_best else "last",
        "seconds": {"total": None, "fit": None, "figures": None},
        "epochs": [],
        "final": {},
    }


def announce(directory: RunDirectory, experiment: Experiment, device: torch.device, last: Path | None) -> None:
    """Prints what the run is."""
    threads, world = torch.get_num_threads(), here().world
    each = "" if world == 1 else f" in each of {world} processes"
    where = "into" if last is None else f"going on from {last.name} in"
    log.info("%s", experiment.describe())
    if experiment.encoder_data:
        log.info("images: %s; the encoder was trained on %s", experiment.data.name, experiment.encoder_data)
    if experiment.stage == Stage.probe:
        log.info("probing the encoder of the %s in %s", experiment.module.stage, experiment.ckpt)
    log.info("on %s with %d thread%s%s, %s %s", device, threads, "s"[: threads > 1], each, where, directory.path)


def _settings_of(ckpt: Path | None) -> Metrics | None:
    """What the run of a checkpoint was trained with, so that seeds of it fold; None for a file without its run."""
    with suppress(AeprobeError):
        if ckpt and len(ckpt.parents) > 1:
            found = read_metrics(ckpt.parents[1])
            settings, ckpt_before = experiment_of(found["config"], found["data"], found["stage"]), found["ckpt"]
            return settings | ({"ckpt": ckpt_before} if ckpt_before else {})
    return None


def loggers(
    directory: RunDirectory, experiment: Experiment, config: Config, events: Logger, last: Path | None
) -> list[Logger]:
    """The person's loggers: each begins its run with the settings, or goes on in that which metrics.json names.

    All of them, and `events`, which every run has, go on from the checkpoint `last`.
    """
    made: dict[str, Any] = additions.loggers(config, directory)
    if last is not None:
        logs.cut([events, *made.values()], checkpoints.read(last))
    if not made:
        return []
    before = directory.metrics.get("loggers") or {}
    for name, logger in made.items():
        if logger.experiment is not None and name not in before and experiment.settings:
            logger.log_hyperparams(hyperparameters(experiment, config))
    directory.write(loggers={name: str(logger.version) for name, logger in made.items()})
    return list(made.values())


def _data(experiment: Experiment) -> Metrics:
    """What metrics.json says of the data as they are used: a checkpoint's settings win over the configuration."""
    data, module = experiment.data, experiment.module
    return data.identity | {
        "mean": module.hparams["mean"],
        "std": module.hparams["std"],
        "root": str(data.root),
        "images": {name: len(split) for name, split in data.splits.items()},
        "files": data.files,
    }
