"""One path for every stage: build, claim the run directory, fit, test, write down what came out."""

import gc
import logging
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import aeprobe.runtime

import torch
from lightning.pytorch.callbacks import Callback

from aeprobe.config.schema import STAGES, THREADS, Config, Stage
from aeprobe.processes import collectives
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import Metrics
from aeprobe.runs.rundir import RESULTS, RunDirectory, require_unused
from aeprobe.training import loggers
from aeprobe.training.build import build
from aeprobe.training.checks import require_files, require_kinds, require_one_dataset
from aeprobe.training.display import NotDrawn
from aeprobe.training.evaluate import evaluate, prepare, show, test
from aeprobe.training.experiment import Experiment
from aeprobe.training.instantiate import make_displays
from aeprobe.training.recorder import Recorder, writer
from aeprobe.training.trainer import make_trainer

log = logging.getLogger("aeprobe")


@dataclass
class Request:
    """The run that a person asks for.

    Attributes:
        config: as `validate` returned it.
        directory: the run's; with stage=all each stage has a directory of its own below it.
        overrides: as they were typed.
        resume: go on with the run that the directory holds.
        changed: its settings were changed for that, and are to be stored.
        anew: begin the unfinished stage again instead.
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
    """The outcome of a request.

    Attributes:
        metrics: the content of metrics.json of each stage, by its name.
        worked: the stages that were trained or tested now; another was completed before.
    """

    metrics: dict[str, Metrics] = field(default_factory=dict)
    worked: list[str] = field(default_factory=list)


def run(request: Request) -> Result:
    """Run the stages that the configuration names.

    Raises:
        AeprobeError: the input is wrong (nothing was written), or training failed (metrics.json says so).
    """
    config, settings, result = request.config, request.config.trainer, Result()
    with collectives.processes(settings):
        aeprobe.runtime.threads(settings.threads, settings.devices)
        torch.set_float32_matmul_precision(settings.matmul_precision)
        root = collectives.on_rank_zero(lambda: request.directory)  # each process composed one of its own
        require_kinds(config)
        loggers.require_packages(config)
        both = config.stage == Stage.all
        if both and not request.resume:  # each stage claims a directory of its own below it
            collectives.on_rank_zero(lambda: require_unused(root))
        trained = [name for name in STAGES if config.stage.trains(name)]
        for name in trained or [str(config.stage)]:
            directory = RunDirectory(root / name if both else root, writes=here().first)
            if _run_stage(name, request, directory):
                result.worked.append(name)
            result.metrics[name] = directory.metrics
            gc.collect()  # a Trainer and its module hold each other, and with them the images: 55 MB
    return result


def _run_stage(name: str, request: Request, directory: RunDirectory) -> bool:
    """Train and test one stage; return False where it was completed before."""
    started, config = time.perf_counter(), request.config
    _take_up(directory, request)
    if directory.metrics.get("status") == "completed":
        return False
    experiment = build(name, config, request.overrides, directory, request.resume)
    recorder, not_drawn = Recorder(directory, name), NotDrawn()
    displays = make_displays(config, experiment, directory, not_drawn)
    callbacks = [recorder, *displays, *experiment.callbacks, *deepcopy(request.callbacks)]
    trainer = make_trainer(config.trainer, experiment, directory, callbacks)
    device = trainer.strategy.root_device
    _claim(directory, request, experiment, device)
    with directory.recorded():
        experiment.announce(directory, device)
        seconds = {part: directory.metrics["seconds"][part] or 0.0 for part in ("total", "fit")}  # before
        total = started - seconds["total"]
        if here().first:
            trainer.loggers += loggers.make_loggers(directory, experiment, config, trainer.loggers[0])
        prepare(experiment, device)
        if experiment.settings is not None:
            trainer.fit(experiment.module, experiment.data, ckpt_path=directory.last, weights_only=True)
            writer(trainer).filename_suffix = RESULTS
            seconds["fit"] += time.perf_counter() - started
            if len(recorder.epochs) < (trainer.max_epochs or 0):
                log.info("%s ended after %d of %d epochs", name, len(recorder.epochs), trainer.max_epochs)
        results = test(trainer, experiment, directory, recorder)
        figures = evaluate(experiment, config.trainer, results)
        drawing = time.perf_counter()
        times = seconds | {"total": drawing - total, "figures": None}
        directory.write(status="completed", seconds=times, not_drawn=None, **results)
        show(trainer, experiment, config, recorder, results, displays, figures, not_drawn)
        ended = time.perf_counter()
        times |= {"total": ended - total, "figures": ended - drawing if displays else 0.0}
        with not_drawn.noted("metrics.json"):  # a full disk: what it says already is enough
            directory.end("completed", seconds=times, not_drawn=not_drawn.reasons)
    collectives.barrier()  # the next stage reads it
    return True


def _take_up(directory: RunDirectory, request: Request) -> None:
    """Find the run that is to go on, and compute with as many threads as it had: others would give other bits."""
    if not request.resume:
        return

    def take_up() -> tuple[Metrics, Path | None]:
        directory.take_up(request.config, request.overrides, request.changed, request.anew, request.start)
        return directory.metrics, directory.last

    directory.metrics, directory.last = collectives.on_rank_zero(take_up)
    if directory.last:
        threads = directory.metrics.get("threads")
        THREADS.require(f"{directory.path / 'metrics.json'}: threads", threads)
        aeprobe.runtime.threads(threads)


def _claim(directory: RunDirectory, request: Request, experiment: Experiment, device: torch.device) -> None:
    """Claim a new run's directory, or open that of an earlier run, which goes on or begins anew.

    Raises:
        AeprobeError: the data are others than those of the run, or of another process; nothing was written.
    """
    require_one_dataset(experiment.data)
    if directory.metrics and not directory.last and not request.anew:
        files = directory.metrics["data"]["files"]
        collectives.on_rank_zero(lambda: require_files(experiment.data, files, directory.path))
    collectives.barrier()  # an error in any process until here leaves no run behind, or leaves it as it was

    def claim() -> Metrics:
        header = experiment.header(request.config, request.overrides, device, begins=not directory.last)
        (directory.reopen if directory.metrics else directory.claim)(header)
        return directory.metrics

    directory.metrics = collectives.on_rank_zero(claim)
