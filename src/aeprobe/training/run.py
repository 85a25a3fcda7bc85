"""One path for every stage: build, claim the run directory, fit, test, write down what came out."""

import gc
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import aeprobe.runtime

import torch
from lightning.pytorch.callbacks import Callback

from aeprobe.config.checks import typed_values
from aeprobe.config.overrides import override
from aeprobe.config.rules import require
from aeprobe.config.schema import STAGES, Config, Stage, plain
from aeprobe.errors import AeprobeError
from aeprobe.figures.gallery import Gallery
from aeprobe.models import checkpoints
from aeprobe.paths import shortest
from aeprobe.processes import collectives
from aeprobe.processes.collectives import reraise_first_failure
from aeprobe.processes.launch import here
from aeprobe.processes.signals import Interruption
from aeprobe.runs.metrics import Metrics, read_metrics
from aeprobe.runs.ownership import require_unused
from aeprobe.runs.run_directory import RunDirectory
from aeprobe.training.build import Experiment, build_autoencoder, build_classifier, build_test
from aeprobe.training.callbacks import Stop
from aeprobe.training.measuring import prepare, show, test
from aeprobe.training.recorder import Recorder
from aeprobe.training.status import data_of, header, recorded, require_own_data
from aeprobe.training.trainer import make_trainer

log = logging.getLogger("aeprobe")
MOST_THREADS = 1024  # of any machine that a run may come from


@dataclass
class Request:
    """What a person asked for.

    Attributes:
        config: as `validate` returned it.
        directory: the run's; with stage=all each stage has a directory of its own below it.
        overrides: what was typed.
        resume: whether to go on with the run that the directory holds.
        changed: whether its settings were changed for that, and are to be stored.
        anew: whether the stage that is unfinished begins again instead.
        start: the checkpoint to go on from, instead of last.ckpt.
        interruption: hears the signals, if it was entered.
        callbacks: for the Trainer, besides the project's own; each stage gets a copy of its own.
        ran: whether anything was left to do; set by `run`.
    """

    config: Config
    directory: Path
    overrides: Sequence[str]
    resume: bool = False
    changed: bool = False
    anew: bool = False
    start: Path | None = None
    interruption: Interruption = field(default_factory=Interruption)
    callbacks: Sequence[Callback] = ()
    ran: bool = False


def run(request: Request) -> dict[str, Metrics]:
    """Runs the stages that the configuration names and returns their metrics by the stage's name.

    Raises:
        AeprobeError: the input is wrong (nothing was written), or training failed (metrics.json says so).
    """
    trainer = request.config.trainer
    try:
        with reraise_first_failure(request.interruption):
            place = collectives.join(trainer.accelerator)
            aeprobe.runtime.threads(trainer.threads, place.local_world)
            request.directory = collectives.on_rank_zero(
                lambda: request.directory
            )  # each has a name of its own for it
            return _run_stages(request)
    finally:
        collectives.leave()


def _run_stages(request: Request) -> dict[str, Metrics]:
    config, directory = request.config, request.directory
    typed = typed_values(request.overrides)
    ckpt = Path(config.ckpt or "")
    if config.stage == Stage.test:
        return {"test": _run_stage(request, directory, lambda _: build_test(config, typed, ckpt))}
    both = config.stage == Stage.all
    metrics: dict[str, Metrics] = {}
    if both and not request.resume:  # each stage claims a directory of its own below it
        collectives.on_rank_zero(lambda: _require_unused(directory))
    if config.stage.trains("autoencoder"):
        ckpt = directory / "autoencoder" if both else directory
        metrics["autoencoder"] = _run_stage(
            request, ckpt, lambda own: build_autoencoder(config, own, request.resume)
        )
        gc.collect()  # a Trainer and its module hold each other, and with them the images: 55 MB
    if config.stage.trains("classifier"):
        path = directory / "classifier" if both else directory
        typed = {} if both else typed
        metrics["classifier"] = _run_stage(
            request,
            path,
            lambda own: build_classifier(config, typed, own or ckpt, own is not None, request.resume),
        )
    return metrics


def _require_unused(directory: Path) -> None:
    for stage in STAGES:
        RunDirectory(directory / stage).refuse_alive()
    require_unused(directory)


def _run_stage(request: Request, path: Path, build: Callable[[Path | None], Experiment]) -> Metrics:
    """One stage; `build` is given the checkpoint to go on from, or None."""
    started = time.perf_counter()
    directory = RunDirectory(path, writes=here().first)
    resuming, own, directory.metrics = collectives.on_rank_zero(lambda: _take_up(directory, request))
    if directory.metrics.get("status") == "completed":
        return directory.metrics
    request.ran = True
    if own is not None:
        threads = directory.metrics.get("threads")
        known = type(threads) is int and 1 <= threads <= MOST_THREADS
        require(known, f"{directory.path / 'metrics.json'}: threads", threads, f"from 1 to {MOST_THREADS}")
        aeprobe.runtime.threads(threads)  # another number would give other bits
    experiment = build(own)
    recorder = Recorder(directory, experiment.stage)
    gallery = _gallery(experiment, directory, request.config)
    callbacks = [
        recorder,
        *([gallery] if gallery else []),
        *deepcopy(request.callbacks),
        Stop(request.interruption),
    ]
    trainer = make_trainer(request.config.trainer, experiment, directory, callbacks)
    device = trainer.strategy.root_device
    _require_one_dataset(experiment)
    if resuming and own is None and not request.anew:
        collectives.on_rank_zero(lambda: require_own_data(directory, experiment))
    collectives.barrier()  # an error in any process until here leaves no run behind, or leaves it as it was
    if resuming and request.changed:
        collectives.on_rank_zero(
            lambda: directory.store(plain(request.config), request.overrides, unfinished=True)
        )
    if resuming:
        collectives.on_rank_zero(lambda: directory.reopen(anew=own is None))
    else:
        collectives.on_rank_zero(lambda: directory.claim(plain(request.config), request.overrides))
    with recorded(directory), request.interruption.blamed(), reraise_first_failure(request.interruption):
        if own is None:
            directory.write(**header(experiment, request.config, request.overrides, device))
        else:
            directory.write(status="running", error=None, config=plain(request.config), data=data_of(experiment))
        log.info("%s", experiment.describe())
        threads = torch.get_num_threads()
        where = "into" if own is None else f"going on from {own.name} in"
        each = "" if here().world == 1 else f" in each of {here().world} processes"
        log.info("on %s with %d thread%s%s, %s %s", device, threads, "s"[: threads > 1], each, where, path)
        spent = _spent(directory)
        prepare(experiment, device)
        if experiment.settings is not None:
            trainer.fit(experiment.module, experiment.data, ckpt_path=own, weights_only=True)
            spent["fit"] += time.perf_counter() - started
        results = test(trainer, experiment, directory, recorder)
        seconds = spent | {"total": spent["total"] + time.perf_counter() - started, "figures": None}
        directory.write(status="completed", seconds=seconds, not_drawn=None, **results)
        began = time.perf_counter()
        not_drawn = show(trainer, experiment, request.config, recorder, results, gallery)
        request.interruption.act()  # what it cut short may have been taken for a figure's own fault
        seconds["figures"] = time.perf_counter() - began if gallery else 0.0
        seconds["total"] = spent["total"] + time.perf_counter() - started
        with not_drawn.noted("metrics.json"):  # a full disk: what it says already is enough
            directory.end("completed", seconds=seconds, not_drawn=not_drawn.reasons)
    collectives.barrier()  # the next stage reads it
    return directory.metrics


def _spent(directory: RunDirectory) -> dict[str, float]:
    """Seconds before this process: of a run that was ended while it drew, those of its training."""
    before = directory.metrics["seconds"] if directory.metrics.get("not_drawn", {}) is None else {}
    return {"total": before.get("total") or 0.0, "fit": before.get("fit") or 0.0}


def _take_up(directory: RunDirectory, request: Request) -> tuple[bool, Path | None, Metrics]:
    """Whether the run that the directory holds goes on, from which checkpoint, and its metrics."""
    resuming = request.resume and directory.begun
    own = _reopen(directory, request) if resuming else None
    return resuming, own, directory.metrics


def _reopen(directory: RunDirectory, request: Request) -> Path | None:
    """Takes up an earlier run, and returns the checkpoint to go on from; None: there is none, or nothing to do.

    Raises:
        AeprobeError: another process is at work in it, or the checkpoint is damaged.
    """
    directory.lock()
    settings = getattr(request.config, directory.stage or "", None)
    complete = directory.complete(settings.epochs(request.config.trainer) if settings else 0)
    if complete and request.changed:  # of another stage
        directory.store(plain(request.config), request.overrides, unfinished=False)
    if complete:
        directory.release()
        return None
    last = directory.checkpoints / "last.ckpt" if request.start is None else request.start
    best = override("resume", str(shortest(directory.checkpoints / "best.ckpt")))
    if request.anew or not last.exists():
        if not request.anew and directory.epochs > 1:  # one: killed before its checkpoint was written
            raise AeprobeError(f"{last} is gone, after {directory.epochs} epochs; {best} goes on from the best")
        return None
    directory.metrics = read_metrics(directory.path) | {"status": "running"}
    try:
        checkpoints.read(last)
    except AeprobeError as error:
        with suppress(AeprobeError):
            checkpoints.read(directory.checkpoints / "best.ckpt")
            error = AeprobeError(f"{error}; {best} goes on from the best epoch instead")
        raise error
    return last


def _require_one_dataset(experiment: Experiment) -> None:
    """Raises AeprobeError in a process that has read other files than the first: each reads its own disk's."""
    for name, found in collectives.on_rank_zero(lambda: experiment.data.files).items():
        own = experiment.data.files[name]
        if own != found:
            raise AeprobeError(
                f"data: {name} in {experiment.data.root} has SHA-256 {own['sha256']} for process {here().rank}, "
                f"but {found['sha256']} for the first: all processes need the same files"
            )


def _gallery(experiment: Experiment, directory: RunDirectory, config: Config) -> Gallery | None:
    if not config.trainer.figures:
        return None
    alone = config.stage == experiment.stage == Stage.classifier  # else stage 1 shows the images
    images = experiment.stage == Stage.autoencoder or alone
    return Gallery(
        experiment.module, experiment.data, experiment.seed, directory, config.trainer.figure_epochs, images
    )
