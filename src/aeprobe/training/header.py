"""What metrics.json says of a run that begins."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import aeprobe.runtime  # noqa: F401

import torch

from aeprobe.config.schema import Config, plain
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import SCHEMA, Metrics
from aeprobe.training.build import Experiment

PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "aeprobe")


def header(experiment: Experiment, config: Config, overrides: Sequence[str], device: torch.device) -> Metrics:
    """What metrics.json says of a run that begins."""
    return {
        "schema": SCHEMA,
        "stage": experiment.stage,
        "status": "running",
        "error": None,
        "seed": experiment.seed,
        "overrides": list(overrides),
        "config": plain(config),
        "data": data_of(experiment),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": str(device),
        "threads": torch.get_num_threads(),  # of each process
        "processes": here().world,
        "ckpt": str(experiment.ckpt) if experiment.ckpt else None,
        "checkpoint": "best" if experiment.settings and experiment.data.val_size else "last",
        "seconds": {"total": None, "fit": None, "figures": None},
        "epochs": [],
        "final": {},
    }


def data_of(experiment: Experiment) -> Metrics:
    """What metrics.json says of the data as they are used: a checkpoint's settings win over the configuration."""
    data, module = experiment.data, experiment.module
    return data.identity | {
        "mean": module.hparams["mean"],
        "std": module.hparams["std"],
        "root": str(data.root),
        "images": {name: len(split) for name, split in data.splits.items()},
        "files": data.files,
    }
