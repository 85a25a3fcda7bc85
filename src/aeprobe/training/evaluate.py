"""Measure a trained stage on the test images, ask the evaluations, and show the results."""

import math
from collections.abc import Sequence
from itertools import chain

import lightning as L
import torch

from aeprobe.config.schema import Stage
from aeprobe.data.sources import Classes
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Figures, Subject
from aeprobe.models import checkpoints
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import Metrics
from aeprobe.training.built import BuiltStage
from aeprobe.training.loggers import add_hparams, write_scalars
from aeprobe.training.recorder import Display, Recorder
from aeprobe.training.trainer import shows_progress


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


def show(
    trainer: L.Trainer,
    stage: BuiltStage,
    recorder: Recorder,
    displays: Sequence[Display],
    results: Metrics,
    figures: Figures,
) -> None:
    """Hand the results to TensorBoard and have the figures drawn; note what could not be shown."""
    final, steps = results["final"], trainer.global_step if stage.settings else stage.steps
    noted = stage.directory.noted
    with noted("TensorBoard"):
        write_scalars(trainer, {k: v for k, v in final.items() if k.startswith("test/")}, steps)
    with noted("figures"):
        stage.data.to("cpu")
        for display in displays:
            display.show(trainer, recorder, results, steps, figures)
    with noted("hparams"):
        if stage.settings:  # with or without figures: they are a sweep's table
            add_hparams(trainer, stage, final, steps)
    with noted("TensorBoard"):
        for logger in trainer.loggers:
            logger.finalize("success")
