"""One path for every stage: build, claim the run directory, fit, test, write down what came out."""

import logging
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aeprobe.runtime

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf

from aeprobe import checkpoints
from aeprobe.build import Experiment, build_autoencoder, build_classifier, build_test
from aeprobe.callbacks import Bar, EpochSeed, Recorder, write_scalars
from aeprobe.classifier import Classifier
from aeprobe.config import Config, Stage, TrainerConfig
from aeprobe.data import seeded_permutation
from aeprobe.errors import AeprobeError
from aeprobe.gallery import Gallery
from aeprobe.rundir import SCHEMA, Metrics, RunDirectory
from aeprobe.validation import typed_values

log = logging.getLogger("aeprobe")
ALL = ("train", "val", "test")
OURS = ("limit_epochs", "threads", "progress", "figures", "figure_epochs")  # of trainer.*; the rest is Lightning's
REPORT_BATCH = 100  # the report's test loader: shuffled batches of 100


def run(
    config: Config, directory: Path, overrides: Sequence[str], callbacks: Sequence[Callback] = ()
) -> dict[str, Metrics]:
    """Runs the stages that `config.stage` names and returns their metrics by the stage's name.

    Args:
        config: as `validate` returned it.
        directory: this run's; with stage=all each stage has a directory of its own below it.
        overrides: what the person typed.
        callbacks: for the Trainer, besides the project's own.

    Raises:
        AeprobeError: the input is wrong (nothing was written), or training failed (metrics.json says so).
    """
    aeprobe.runtime.threads(config.trainer.threads)
    typed = typed_values(overrides)
    ckpt = Path(config.ckpt or "")
    run_stage = partial(_run_stage, config=config, overrides=overrides, callbacks=callbacks)
    if config.stage == Stage.test:
        return {"test": run_stage(build_test(config, typed, ckpt), directory)}
    both = config.stage == Stage.all
    metrics: dict[str, Metrics] = {}
    if config.stage.trains("autoencoder"):
        ckpt = directory / "autoencoder" if both else directory
        metrics["autoencoder"] = run_stage(build_autoencoder(config), ckpt)
    if config.stage.trains("classifier"):
        experiment = build_classifier(config, {} if both else typed, ckpt)
        metrics["classifier"] = run_stage(experiment, directory / "classifier" if both else directory)
    return metrics


def _run_stage(
    experiment: Experiment, path: Path, config: Config, overrides: Sequence[str], callbacks: Sequence[Callback]
) -> Metrics:
    started = time.perf_counter()
    directory = RunDirectory(path)
    recorder = Recorder(directory, experiment.stage)
    gallery: Gallery | None = None
    if config.trainer.figures:
        alone = config.stage == experiment.stage == Stage.classifier  # else stage 1 shows the images
        images = experiment.stage == Stage.autoencoder or alone
        gallery = Gallery(experiment, directory, config.trainer.figure_epochs, images)
    trainer = _trainer(config.trainer, experiment, recorder, gallery)
    trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
    directory.claim(plain(config), overrides)
    with _recorded(directory):
        _write_header(directory, experiment, config, overrides, trainer)
        log.info("%s", experiment.describe())
        threads = torch.get_num_threads()
        device = trainer.strategy.root_device
        log.info("on %s with %d thread%s, into %s", device, threads, "s"[: threads > 1], path)
        seconds = {"total": 0.0, "fit": 0.0, "figures": 0.0}
        experiment.data.to(device)
        if isinstance(experiment.module, Classifier):
            experiment.data.encode(
                experiment.module.to(device).encode, ("test",) if experiment.settings is None else ALL
            )
            if experiment.settings is not None:
                experiment.module.fit_standardization(experiment.data.splits["train"].images)
        if experiment.settings is not None:
            trainer.fit(experiment.module, experiment.data)
            seconds["fit"] = time.perf_counter() - started
        results = _test(trainer, experiment, directory, recorder)
        experiment.data.to("cpu")
        if gallery is not None:
            began = time.perf_counter()
            gallery.draw(trainer, recorder, results)
            seconds["figures"] = time.perf_counter() - began
        for logger in trainer.loggers:
            logger.finalize("success")
        seconds["total"] = time.perf_counter() - started
        directory.write(status="completed", seconds=seconds, **results)
    return directory.metrics


def _trainer(
    settings: TrainerConfig, experiment: Experiment, recorder: Recorder, gallery: Gallery | None
) -> L.Trainer:
    """Lightning's Trainer, writing below the recorder's directory.

    Raises:
        AeprobeError: this machine has no such accelerator, or not so many devices.
    """
    directory = recorder.directory
    own = experiment.settings
    epochs = 0 if own is None else min(own.max_epochs, settings.limit_epochs or own.max_epochs)
    bar = settings.progress.lower() == "true" or (settings.progress == "auto" and sys.stdout.isatty())
    callbacks: list[Callback] = [EpochSeed(experiment.seed), recorder]
    if bar:
        callbacks.append(Bar())
    if gallery is not None:
        callbacks.append(gallery)
    if own is not None:
        callbacks.append(_checkpoint(directory, "last", save_on_train_epoch_end=True))
        if experiment.data.val_size:
            callbacks.append(_checkpoint(directory, "best", monitor="val/loss"))
    passed = {k: v for k, v in asdict(settings).items() if k not in OURS}
    try:
        return L.Trainer(
            max_epochs=epochs,
            logger=TensorBoardLogger(directory.path, name="", version="tensorboard", default_hp_metric=False),
            callbacks=callbacks,
            plugins=[checkpoints.AtomicCheckpointIO()],
            enable_progress_bar=bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10**6,  # the Recorder writes the curves
            use_distributed_sampler=False,  # EpochSampler divides an epoch itself
            **passed,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        what = " ".join(str(error).split())
        raise AeprobeError(
            f"trainer.accelerator={settings.accelerator} trainer.devices={settings.devices}: {what} "
            "Use trainer.accelerator=cpu or auto"
        ) from error


def _checkpoint(directory: RunDirectory, name: str, **when: Any) -> ModelCheckpoint:
    return ModelCheckpoint(directory.checkpoints, filename=name, enable_version_counter=False, **when)


def _write_header(
    directory: RunDirectory,
    experiment: Experiment,
    config: Config,
    overrides: Sequence[str],
    trainer: L.Trainer,
) -> None:
    packages = ("torch", "torchvision", "lightning", "hydra-core", "aeprobe")
    directory.write(
        schema=SCHEMA,
        stage=experiment.stage,
        status="running",
        error=None,
        seed=experiment.seed,
        overrides=list(overrides),
        config=plain(config),
        data=_data_used(experiment),
        versions={"python": platform.python_version()} | {name: version(name) for name in packages},
        device=str(trainer.strategy.root_device),
        threads=torch.get_num_threads(),
        ckpt=str(experiment.ckpt) if experiment.ckpt else None,
        checkpoint="best" if experiment.settings and experiment.data.val_size else "last",
        seconds={"total": None, "fit": None, "figures": None},
        epochs=[],
        final={},
    )


def _data_used(experiment: Experiment) -> dict[str, Any]:
    """The data as they are used: those of a checkpoint win over the configuration."""
    data = experiment.data
    images = {name: len(split) for name, split in data.splits.items()}
    return data.identity | {"root": str(data.root), "images": images}


def _test(trainer: L.Trainer, experiment: Experiment, directory: RunDirectory, recorder: Recorder) -> Metrics:
    """Measures the chosen checkpoint on the test set; returns what metrics.json says of it."""
    module, data, steps = experiment.module, experiment.data, experiment.steps
    final: dict[str, float] = {}
    if experiment.settings is None:
        name = experiment.ckpt.stem if experiment.ckpt else "last"
    else:
        name = "best" if (directory.checkpoints / "best.ckpt").exists() else "last"
        chosen = checkpoints.read(directory.checkpoints / f"{name}.ckpt")
        module.load_state_dict(chosen["state_dict"])
        row = recorder.epochs[chosen["epoch"]]
        final = {k: v for k, v in row.items() if k.startswith(("train/", "val/")) and not k.endswith("_last")}
        steps = trainer.global_step
    trainer.test(module, data, verbose=False)
    tested = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("test/")}
    final |= tested
    write_scalars(trainer, tested, steps)
    results: Metrics = {"checkpoint": name, "final": final}
    if isinstance(module, Classifier):
        results["confusion_matrix"] = module.confusion_matrix.compute().int().tolist()
        correct = torch.cat(module.test_correct).cpu().double()
        shuffled = correct[seeded_permutation(len(correct), experiment.seed)]
        results["test_batch_accuracy"] = [part.mean().item() for part in shuffled.split(REPORT_BATCH)]
    return results


@contextmanager
def _recorded(directory: RunDirectory) -> Iterator[None]:
    """Keeps train.log, and sees to it that metrics.json tells how the run ended."""
    handler = logging.FileHandler(directory.path / "train.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    except AeprobeError as error:
        log_only = logging.LogRecord("aeprobe", logging.ERROR, "", 0, f"error: {error}", None, None)
        handler.emit(log_only)
        directory.write(status="failed", error=str(error))
        raise
    except (KeyboardInterrupt, SystemExit) as error:  # Lightning answers an interruption with sys.exit
        directory.write(status="interrupted", error="interrupted")
        raise KeyboardInterrupt from error
    except Exception as error:
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        handler.emit(log.makeRecord("aeprobe", logging.ERROR, "", 0, what, (), sys.exc_info()))
        directory.write(status="failed", error=what)
        raise AeprobeError(f"{what} (unexpected; the traceback is in {directory.path / 'train.log'})") from error
    finally:
        log.removeHandler(handler)
        handler.close()


def plain(config: Config) -> dict[str, Any]:
    """The configuration as plain values, with the enums as their words."""
    container = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
