"""One path for every stage: build, claim the run directory, fit, test, write down what came out."""

import gc
import logging
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aeprobe.runtime

import torch
from lightning.pytorch.callbacks import Callback

from aeprobe.config.checks import typed_values
from aeprobe.config.choices import Stage
from aeprobe.config.schema import Config
from aeprobe.processes import collectives
from aeprobe.processes.launch import here
from aeprobe.runs.ending import recorded
from aeprobe.runs.metrics import Metrics
from aeprobe.runs.ownership import require_unused
from aeprobe.runs.run_directory import RunDirectory
from aeprobe.training import additions, beginning, logs
from aeprobe.training.build import build_autoencoder, build_classifier, build_finished
from aeprobe.training.display import NotDrawn
from aeprobe.training.experiment import Experiment
from aeprobe.training.kinds import require_kinds
from aeprobe.training.measuring import evaluate, prepare, show, test
from aeprobe.training.recorder import Recorder, writer
from aeprobe.training.trainer import make_trainer

log = logging.getLogger("aeprobe")


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
        callbacks: for the Trainer, besides the project's own; each stage gets a copy of its own.
    """

    config: Config
    directory: Path
    overrides: Sequence[str]
    resume: bool = False
    changed: bool = False
    anew: bool = False
    start: Path | None = None
    callbacks: Sequence[Callback] = ()


@dataclass
class Result:
    """What came of a request.

    Attributes:
        metrics: what metrics.json says of each stage, by its name.
        worked: the stages that were trained or tested now; another was completed before.
    """

    metrics: dict[str, Metrics] = field(default_factory=dict)
    worked: list[str] = field(default_factory=list)


def run(request: Request) -> Result:
    """Runs the stages that the configuration names.

    Raises:
        AeprobeError: the input is wrong (nothing was written), or training failed (metrics.json says so).
    """
    settings, result = request.config.trainer, Result()
    with collectives.processes(settings):
        aeprobe.runtime.threads(settings.threads, settings.devices)
        torch.set_float32_matmul_precision(settings.matmul_precision)
        request.directory = collectives.on_rank_zero(lambda: request.directory)  # each composed one of its own
        _run_stages(request, result)
    return result


def _run_stages(request: Request, result: Result) -> None:
    config, directory = request.config, request.directory
    require_kinds(config)
    additions.require_packages(config)
    typed, resume = typed_values(request.overrides), request.resume
    ckpt = Path(config.ckpt) if config.ckpt else None
    if config.stage.trains_nothing:
        _run_stage(str(config.stage), request, directory, result, lambda _: build_finished(config, typed))
        return
    both = config.stage == Stage.all
    if both and not resume:  # each stage claims a directory of its own below it
        collectives.on_rank_zero(lambda: require_unused(directory))
    if config.stage.trains("autoencoder"):
        path = directory / "autoencoder" if both else directory
        _run_stage("autoencoder", request, path, result, lambda last: build_autoencoder(config, last, resume))
        ckpt = path
        gc.collect()  # a Trainer and its module hold each other, and with them the images: 55 MB
    if config.stage.trains("classifier"):
        path, typed = (directory / "classifier", {}) if both else (directory, typed)

        def build(last: Path | None) -> Experiment:
            return build_classifier(config, typed, last or ckpt, last is not None, resume)

        _run_stage("classifier", request, path, result, build)


def _run_stage(
    name: str, request: Request, path: Path, result: Result, build: Callable[[Path | None], Experiment]
) -> None:
    """One stage; `build` is given the checkpoint to go on from, or None."""
    started = time.perf_counter()
    directory = RunDirectory(path, writes=here().first)
    resuming, last, directory.metrics = collectives.on_rank_zero(lambda: beginning.take_up(directory, request))
    result.metrics[name] = directory.metrics
    if directory.metrics.get("status") == "completed":
        return
    result.worked.append(name)
    if last is not None:
        beginning.use_threads_of(directory)
    experiment = build(last)
    recorder = Recorder(directory, experiment.stage)
    not_drawn = NotDrawn()
    displays = additions.displays(request.config, experiment, directory, not_drawn)
    callbacks = [recorder, *displays, *experiment.callbacks, *deepcopy(request.callbacks)]
    trainer = make_trainer(request.config.trainer, experiment, directory, callbacks)
    device = trainer.strategy.root_device
    beginning.open_directory(directory, request, experiment, device, resuming, last)
    with recorded(directory):
        beginning.announce(directory, experiment, device, last)
        spent = beginning.seconds_before(directory)
        if here().first:
            events: Any = trainer.logger
            trainer.loggers += beginning.loggers(directory, experiment, request.config, events, last)
        prepare(experiment, device)
        if experiment.settings is not None:
            trainer.fit(experiment.module, experiment.data, ckpt_path=last, weights_only=True)
            writer(trainer).filename_suffix = logs.RESULTS
            spent["fit"] += time.perf_counter() - started
            if len(recorder.epochs) < (trainer.max_epochs or 0):
                log.info("%s ended after %d of %d epochs", name, len(recorder.epochs), trainer.max_epochs)
        results = test(trainer, experiment, directory, recorder)
        figures = evaluate(experiment, request.config.trainer, results)
        seconds = spent | {"total": spent["total"] + time.perf_counter() - started, "figures": None}
        directory.write(status="completed", seconds=seconds, not_drawn=None, **results)
        began = time.perf_counter()
        show(trainer, experiment, request.config, recorder, results, displays, figures, not_drawn)
        seconds["figures"] = time.perf_counter() - began if displays else 0.0
        seconds["total"] = spent["total"] + time.perf_counter() - started
        with not_drawn.noted("metrics.json"):  # a full disk: what it says already is enough
            directory.end("completed", seconds=seconds, not_drawn=not_drawn.reasons)
    collectives.barrier()  # the next stage reads it
    result.metrics[name] = directory.metrics
