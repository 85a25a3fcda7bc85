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
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints, stored
from aeprobe.paths import shortest
from aeprobe.processes import collectives
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import SCHEMA, Metrics, read_metrics
from aeprobe.runs.run_directory import RunDirectory
from aeprobe.runs.stage_run import StageRun
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
    if not request.resume or not directory.begun:
        return False, None, {}
    directory.lock()
    found = read_metrics(directory.path, missing_ok=True)
    if _complete(found, request.config):
        if request.changed:  # of another stage
            directory.store(plain(request.config), request.overrides, unfinished=False)
            found = directory.metrics
        directory.release()
        return True, None, found
    last = request.start or directory.checkpoints / "last.ckpt"
    best = override("resume", str(shortest(directory.checkpoints / "best.ckpt")))
    if request.anew or not last.exists():
        epochs = len(found.get("epochs", []))
        if not request.anew and epochs > 1:  # one: killed before its checkpoint was written
            raise AeprobeError(f"{last} is gone, after {epochs} epochs; {best} goes on from the best")
        return True, None, {}
    metrics = read_metrics(directory.path) | {"status": "running"}
    try:
        checkpoints.read(last)
    except AeprobeError as error:
        with suppress(AeprobeError):
            checkpoints.read(directory.checkpoints / "best.ckpt")
            error = AeprobeError(f"{error}; {best} goes on from the best epoch instead")
        raise error
    return True, last, metrics


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
    directory: RunDirectory, request: "Request", experiment: Experiment, resuming: bool, anew: bool
) -> None:
    """Claims a new run's directory, or opens that of an earlier run; `anew`: without its checkpoint.

    Raises:
        AeprobeError: the data are others than those of the run, or of another process; nothing was written.
    """
    _require_one_dataset(experiment)
    if resuming and anew and not request.anew:
        collectives.on_rank_zero(lambda: _require_own_data(directory, experiment))
    collectives.barrier()  # an error in any process until here leaves no run behind, or leaves it as it was

    def open_it() -> None:
        settings = plain(request.config), request.overrides
        if not resuming:
            directory.claim(*settings)
            return
        if request.changed:
            directory.store(*settings, unfinished=True)
        directory.reopen(anew)

    collectives.on_rank_zero(open_it)


def _require_own_data(directory: RunDirectory, experiment: Experiment) -> None:
    """Holds the data of a run that begins again, without a checkpoint, against what its metrics.json says."""
    files = read_metrics(directory.path, missing_ok=True).get("data", {}).get("files", {})
    stored.check_files(files)
    require_files(experiment.data, files, directory.path)


def _require_one_dataset(experiment: Experiment) -> None:
    """Raises AeprobeError in a process that has read other files than the first: each reads its own disk's."""
    for name, found in collectives.on_rank_zero(lambda: experiment.data.files).items():
        files = experiment.data.files[name]
        if files != found:
            raise AeprobeError(
                f"data: {name} in {experiment.data.root} has SHA-256 {files['sha256']} for process {here().rank}, "
                f"but {found['sha256']} for the first: all processes need the same files"
            )


def write_header(
    directory: RunDirectory, request: "Request", experiment: Experiment, device: torch.device, last: Path | None
) -> None:
    """Writes what metrics.json says of a run that begins, or goes on from `last`, and prints what it is."""
    config, data, networks = plain(request.config), _data(experiment), experiment.networks()
    better, loss = experiment.higher_is_better, experiment.module.loss_name
    if last is not None:
        known = {"config": config, "data": data, "networks": networks, "loss": loss, "higher_is_better": better}
        directory.write(status="running", error=None, **known)
    else:
        directory.write(
            schema=SCHEMA,
            stage=experiment.stage,
            status="running",
            error=None,
            seed=experiment.seed,
            overrides=list(request.overrides),
            config=config,
            data=data,
            networks=networks,
            loss=loss,
            versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            device=str(device),
            threads=torch.get_num_threads(),  # of each process
            processes=here().world,
            ckpt=str(experiment.ckpt) if experiment.ckpt else None,
            encoder_data=experiment.encoder_data,
            epoch_size=experiment.data.epoch_size if experiment.settings else None,
            **({"of": _settings_of(experiment.ckpt)} if config["stage"] == Stage.probe else {}),
            checkpoint="best" if experiment.keeps_best else "last",
            seconds={"total": None, "fit": None, "figures": None},
            epochs=[],
            higher_is_better=better,
            final={},
        )
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
            run = StageRun(ckpt.parents[1], read_metrics(ckpt.parents[1]))
            return run.settings() | ({"ckpt": run.setting("ckpt")} if run.setting("ckpt") else {})
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
    for file in directory.path.rglob("*"):
        if file.is_symlink():  # Weights & Biases makes some, for convenience; a run directory has none
            file.unlink()
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
