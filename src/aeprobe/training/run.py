"""One path for every stage: build, claim the run directory, fit, test, evaluate, show what came out."""

import gc
import logging
import math
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import aeprobe.runtime

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from aeprobe import nodes
from aeprobe.after import After
from aeprobe.config.schema import STAGES, THREADS, Config, Stage, plain
from aeprobe.data.sources import Classes
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Figures, Subject
from aeprobe.models import checkpoints
from aeprobe.processes import collectives
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import Metrics, read_metrics
from aeprobe.runs.rundir import RESULTS, RunDirectory, require_unused
from aeprobe.training.build import BuiltStage, build
from aeprobe.training.recorder import (
    Display,
    Recorder,
    add_hparams,
    make_loggers,
    require_loggers,
    write_scalars,
    writer,
)
from aeprobe.training.trainer import make_trainer, shows_progress

log = logging.getLogger("aeprobe")


@dataclass
class Request:
    """The run that a person asks for."""

    config: Config  # as `validate` returned it
    directory: Path  # the run's; with stage=all each stage has a directory of its own below it
    overrides: Sequence[str]  # as they were typed
    resume: bool = False  # go on with the run that the directory holds
    anew: bool = False  # begin the unfinished stage again instead
    start: Path | None = None  # the checkpoint to go on from, instead of last.ckpt
    callbacks: Sequence[Callback] = ()  # besides the project's own; each stage gets a copy of its own


class Result(NamedTuple):
    """The outcome of a request."""

    metrics: dict[str, Metrics]  # the content of metrics.json of each stage, by its name
    worked: list[str]  # the stages that were trained or tested now; another was completed before


def run(request: Request) -> Result:
    """Run the stages that the configuration names."""
    config, settings, result = request.config, request.config.trainer, Result({}, [])
    with collectives.processes(settings):
        aeprobe.runtime.threads(settings.threads, settings.devices)
        torch.set_float32_matmul_precision(settings.matmul_precision)
        root = collectives.on_rank_zero(lambda: request.directory)  # each process composed one of its own
        require_loggers(config)
        for name, node in config.after.items():
            nodes.bound(node, f"after.{name}", After)  # type: ignore[type-abstract]
        both = config.stage == Stage.all
        if both and not request.resume:  # each stage claims a directory of its own below it
            collectives.on_rank_zero(lambda: require_unused(root))
        trained = [name for name in STAGES if config.stage.trains(name)]
        for name in trained or [str(config.stage)]:
            directory = RunDirectory(root / name if both else root, writes=here().first)
            if not request.resume or not _take_up(directory, request):
                _run_stage(name, request, directory)
                result.worked.append(name)
            result.metrics[name] = directory.metrics
            gc.collect()  # a Trainer and its module hold each other, and with them the images: 55 MB
    return result


def _run_stage(name: str, request: Request, directory: RunDirectory) -> None:
    """Train, test, evaluate and show one stage; what could not be shown is noted."""
    started = time.perf_counter()
    stage = build(name, request.config, request.overrides, directory, request.resume)
    recorder, displays = Recorder(directory, name), make_displays(stage)
    trainer = make_trainer(stage, [recorder, *displays, *stage.callbacks, *deepcopy(request.callbacks)])
    device = trainer.strategy.root_device
    _claim(stage, request, device)
    with directory.recorded():
        stage.announce(device)
        seconds = {part: directory.metrics["seconds"][part] or 0.0 for part in ("total", "fit")}  # before
        total = started - seconds["total"]
        if here().first:
            trainer.loggers += make_loggers(stage, trainer.loggers[0])
        if stage.name != Stage.probe:
            stage.data.to(device)
            stage.module.to(device).prepare(stage.data, trains=stage.settings is not None)
        if stage.settings is not None:
            trainer.fit(stage.module, stage.data, ckpt_path=directory.last, weights_only=True)
            writer(trainer).filename_suffix = RESULTS
            seconds["fit"] += time.perf_counter() - started
            if len(recorder.epochs) < (trainer.max_epochs or 0):
                log.info("%s ended after %d of %d epochs", name, len(recorder.epochs), trainer.max_epochs)
        results = test(trainer, stage)
        figures = evaluate(stage, results)
        drawing = time.perf_counter()
        times = seconds | {"total": drawing - total, "figures": None}
        directory.write(status="completed", seconds=times, not_drawn=None, **results)
        final, steps = results["final"], trainer.global_step if stage.settings else stage.steps
        with directory.noted("TensorBoard"):
            write_scalars(trainer, {k: v for k, v in final.items() if k.startswith("test/")}, steps)
        with directory.noted("figures"):
            stage.data.to("cpu")
            for display in displays:
                display.show(trainer, recorder, results, steps, figures)
        with directory.noted("hparams"):
            if stage.settings:  # with or without figures: they are a sweep's table
                add_hparams(trainer, stage, final, steps)
        with directory.noted("TensorBoard"):
            for logger in trainer.loggers:
                logger.finalize("success")
        ended = time.perf_counter()
        times |= {"total": ended - total, "figures": ended - drawing if displays else 0.0}
        with directory.noted("metrics.json"):  # a full disk: what it says already is enough
            directory.end("completed", seconds=times, not_drawn=directory.not_drawn)
    collectives.barrier()  # the next stage reads it


def _take_up(directory: RunDirectory, request: Request) -> bool:
    """Find the run that is to go on, and where from; return True if nothing of it is left to do."""
    config = request.config

    def take_up() -> tuple[Metrics, Path | None]:
        metrics = read_metrics(directory.path, missing_ok=True)
        if not metrics or _is_complete(metrics, config):
            return metrics, None
        directory.lock()
        metrics = read_metrics(directory.path)
        last = request.start or directory.checkpoints / "last.ckpt"
        begins = request.anew or (not last.exists() and len(metrics["epochs"]) < 2)  # killed before it was written
        return metrics, None if begins else last

    directory.metrics, directory.last = collectives.on_rank_zero(take_up)
    if directory.last:
        threads = directory.metrics.get("threads")  # others would give other bits
        THREADS.require(f"{directory.path / 'metrics.json'}: threads", threads)
        aeprobe.runtime.threads(threads)
    complete = bool(directory.metrics) and _is_complete(directory.metrics, config)
    if complete and directory.metrics["overrides"] != [*request.overrides]:  # they were typed for another stage
        directory.write(config=plain(config), overrides=[*request.overrides])
    return complete


def _is_complete(metrics: Metrics, config: Config) -> bool:
    """Return True if nothing is left to do; more epochs may be asked for than the run had."""
    if metrics["status"] != "completed" or metrics.get("not_drawn", {}) is None:
        return False  # null: it was ended while it drew
    if (stage := metrics["stage"]) not in STAGES:
        return True
    before = metrics["config"].get(stage, {}).get("max_epochs", 0)  # a callback may have stopped it early
    wanted: int = getattr(config, stage).epochs(config.trainer)
    trained: int = max(before, len(metrics["epochs"]))
    return wanted <= trained


def _claim(stage: BuiltStage, request: Request, device: torch.device) -> None:
    """Claim a new run's directory, or reopen that of an earlier run, if the data are those of all processes."""
    directory, data = stage.directory, stage.data
    if data.files != collectives.on_rank_zero(lambda: data.files):
        raise AeprobeError(f"data: process {here().rank} has read other files in {data.root} than the first")
    if directory.metrics and not directory.last and not request.anew:
        files = directory.metrics["data"]["files"]
        collectives.on_rank_zero(lambda: data.require_files(files, directory.path))
    collectives.barrier()  # an error in any process until here leaves no run behind, or leaves it as it was

    def claim() -> Metrics:
        header = stage.header(request.overrides, device)
        (directory.reopen if directory.metrics else directory.claim)(header)
        return directory.metrics

    directory.metrics = collectives.on_rank_zero(claim)


def make_displays(stage: BuiltStage) -> list[Display]:
    """Return what shows a stage, below `trainer.recorders`, new for each; none without `trainer.figures`."""
    trainer, displays = stage.config.trainer, list[Display]()
    first = stage.name in (Stage.autoencoder, stage.config.stage) and stage.settings is not None
    for name, node in trainer.recorders.items() if trainer.figures else ():
        display = nodes.build(node, f"trainer.recorders.{name}", Display)  # type: ignore[type-abstract]
        display.begin(stage, images=first)  # of stage=all the first stage shows them
        displays.append(display)
    return displays


def test(trainer: L.Trainer, stage: BuiltStage) -> Metrics:
    """Measure the chosen checkpoint on the test set; return what metrics.json says of it."""
    module, data, folder = stage.module, stage.data, stage.directory.checkpoints
    final: dict[str, float] = {}
    name = stage.ckpt.stem if stage.ckpt else "last"  # of a run that is looked at again
    if stage.name == Stage.probe:
        return {"checkpoint": name, "final": final}
    if stage.settings is not None:
        name = "best" if (folder / "best.ckpt").exists() else "last"
        chosen = checkpoints.read(folder / f"{name}.ckpt")
        module.load_state_dict(chosen["state_dict"])
        row = stage.directory.metrics["epochs"][chosen["epoch"]]
        final = {k: v for k, v in row.items() if k.startswith(("train/", "val/")) and not k.endswith("_last")}
    trainer.test(module, data, verbose=False)
    for tag, value in trainer.callback_metrics.items():
        if tag.startswith("test/"):
            persons = tag.removeprefix("test/") in module.test_metrics  # one of the person's own may be no number
            if not persons and not math.isfinite(value):
                raise AeprobeError(f"{tag} is {value}: {name}.ckpt gives no finite numbers for the test images")
            final[tag] = value.item()
    metric, output = module.of_each
    values, source = torch.cat(module.test_outputs[output]).double(), data.source
    complete = len(values) == len(data.splits["test"])
    parts = source.parts.items() if complete else ()
    return {
        "checkpoint": name,
        "final": final,
        "test_parts": {f"test/{metric}/{part}": values[images].mean().item() for part, images in parts},
        "remark": source.remark if parts else "",
        **module.results(stage.seed),
    }


def evaluate(stage: BuiltStage, results: Metrics) -> Figures:
    """Ask a finished module each evaluation, in the first process; add its numbers, and return its figures."""
    results["evaluations"], results["higher_is_better"] = {}, stage.higher_is_better
    figures: list[Figures] = []
    if not (stage.evaluations and here().first):
        return ()
    data, module = stage.data, stage.module.eval().cpu()
    data.to("cpu")
    names, bar = Classes(data.source.noun, data.class_names), shows_progress(stage.config.trainer)
    subject = Subject(module, data.splits, stage.seed, names, bar, stage.ckpt, data.source)
    for name, evaluation in stage.evaluations.items():
        with torch.no_grad():
            findings = evaluation(subject)
        results["evaluations"][name] = findings.numbers
        results["final"] |= findings.final
        better = findings.higher_is_better
        results["higher_is_better"] |= {tag.removeprefix("test/"): better for tag in findings.final}
        figures.append(evaluation.figures(findings))
    return chain.from_iterable(figures)
