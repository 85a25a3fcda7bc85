"""Measure a trained stage on the test images, ask the evaluations, and show the results."""

import math
from collections.abc import Sequence
from itertools import chain

import lightning as L
import torch

from aeprobe.config.schema import Config, Stage, TrainerConfig
from aeprobe.data.classes import Classes
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.sampler import seeded_permutation
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Figures, Subject
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import REPORT_BATCH, Metrics
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training.display import Display, NotDrawn
from aeprobe.training.experiment import Experiment
from aeprobe.training.loggers import add_hparams, hyperparameters
from aeprobe.training.recorder import Recorder, write_scalars, writer
from aeprobe.training.trainer import shows_progress


def prepare(experiment: Experiment, device: torch.device) -> None:
    """Put the images where they are used; a classifier gets their codes, computed once."""
    data, module = experiment.data, experiment.module
    if experiment.stage == Stage.probe:
        return
    data.to(device)
    if isinstance(module, Classifier):
        trains = experiment.settings is not None
        module.to(device)
        if not module.trains_encoder or not trains:
            data.encode(module.encode, [*data.splits] if trains else ["test"])
        if trains:
            module.fit_standardization(data.splits["train"].images)
            module.fit_class_weights(data.splits["train"].labels)


def test(trainer: L.Trainer, experiment: Experiment, directory: RunDirectory, recorder: Recorder) -> Metrics:
    """Measure the chosen checkpoint on the test set; return what metrics.json says of it."""
    module, data = experiment.module, experiment.data
    final: dict[str, float] = {}
    name = experiment.ckpt.stem if experiment.ckpt else "last"  # of a run that is looked at again
    if experiment.stage == Stage.probe:
        return {"checkpoint": name, "final": final}
    if experiment.settings is not None:
        name = "best" if (directory.checkpoints / "best.ckpt").exists() else "last"
        chosen = checkpoints.read(directory.checkpoints / f"{name}.ckpt")
        module.load_state_dict(chosen["state_dict"])
        row = recorder.epochs[chosen["epoch"]]
        final = {k: v for k, v in row.items() if k.startswith(("train/", "val/")) and not k.endswith("_last")}
    trainer.test(module, data, verbose=False)
    final |= {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("test/")}
    for tag, value in final.items():
        persons = tag.removeprefix("test/") in module.test_metrics  # one of the person's own may be no number
        if tag.startswith("test/") and not persons and not math.isfinite(value):
            raise AeprobeError(f"{tag} is {value}: {name}.ckpt gives no finite numbers for the test images")
    results: Metrics = {"checkpoint": name, "final": final, **_parts(module, data)}
    if isinstance(module, Classifier):
        results["confusion_matrix"] = module.confusion_matrix.compute().int().tolist()
        correct = torch.cat(module.test_outputs["correct"]).cpu().double()
        shuffled = correct[seeded_permutation(len(correct), experiment.seed, "test batches")]
        results["test_batch_accuracy"] = [part.mean().item() for part in shuffled.split(REPORT_BATCH)]
    return results


def _parts(module: Autoencoder | Classifier, data: ImageDataModule) -> Metrics:
    """Return the test's metric of each of the source's parts, where all test images were tested."""
    metric, output = module.of_each
    values = torch.cat(module.test_outputs[output]).double()
    if len(values) < len(data.splits["test"]) or not data.source.parts:
        return {"test_parts": {}, "remark": ""}
    means = {f"test/{metric}/{name}": values[part].mean().item() for name, part in data.source.parts.items()}
    return {"test_parts": means, "remark": data.source.remark}


def evaluate(experiment: Experiment, settings: TrainerConfig, results: Metrics) -> Figures:
    """Ask a finished module each evaluation, on the CPU, in the first process; return the figures to draw.

    The numbers go to the results.
    """
    results["evaluations"], results["higher_is_better"] = {}, experiment.higher_is_better
    figures: list[Figures] = []
    if not (experiment.evaluations and here().first):
        return ()
    data, module = experiment.data, experiment.module.eval().cpu()
    data.to("cpu")
    names, bar = Classes(data.source.noun, data.class_names), shows_progress(settings)
    subject = Subject(module, data.splits, experiment.seed, names, bar, experiment.ckpt, data.source)
    for name, evaluation in experiment.evaluations.items():
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
    experiment: Experiment,
    config: Config,
    recorder: Recorder,
    results: Metrics,
    displays: Sequence[Display],
    more: Figures,
    not_drawn: NotDrawn,
) -> None:
    """Hand the results to TensorBoard and have the figures drawn; note what could not be shown."""
    final, steps = results["final"], trainer.global_step if experiment.settings else experiment.steps
    with not_drawn.noted("TensorBoard"):
        write_scalars(trainer, {k: v for k, v in final.items() if k.startswith("test/")}, steps)
    with not_drawn.noted("figures"):
        experiment.data.to("cpu")
        for display in displays:
            display.show(trainer, recorder, results, steps, more)
    with not_drawn.noted("hparams"):
        if experiment.settings and trainer.is_global_zero:  # with or without figures: they are a sweep's table
            add_hparams(writer(trainer), hyperparameters(experiment, config), final, steps)
    with not_drawn.noted("TensorBoard"):
        for logger in trainer.loggers:
            logger.finalize("success")
