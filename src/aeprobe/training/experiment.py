"""One stage of a run: module, data and settings, and what metrics.json says of them."""

import logging
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import aeprobe.runtime  # noqa: F401

import torch
from lightning.pytorch.callbacks import Callback

from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import Config, Encoder, Stage, StageConfig, plain
from aeprobe.config.settings import experiment as settings_of
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.processes.launch import here
from aeprobe.runs.metrics import SCHEMA, Metrics, read_metrics
from aeprobe.runs.rundir import RunDirectory

log = logging.getLogger("aeprobe")
PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "aeprobe")


@dataclass
class Experiment:
    """One stage of a run.

    Attributes:
        stage: "autoencoder", "classifier", "test" or "probe".
        module: the module that is trained or tested.
        data: the images, read and split.
        seed: the seed of this run; for "test" and "probe" that of the finished run, unless another was typed.
        settings: the stage's own; None for "test" and "probe".
        ckpt: the file that the weights come from.
        steps: the number of optimizer steps that made them.
        encoder_data: the title of the images that the encoder was trained on, if they were others.
        callbacks: the person's own.
        evaluations: asked of the module at the end, by name.
    """

    stage: str
    module: Autoencoder | Classifier
    data: ImageDataModule
    seed: int
    settings: StageConfig | None = None
    ckpt: Path | None = None
    steps: int = 0
    encoder_data: str | None = None
    callbacks: Sequence[Callback] = ()
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)

    @property
    def higher_is_better(self) -> dict[str, bool | None]:
        """The direction of each metric of the stage, by its name; None for one that has no better or worse."""
        added = self.module.val_metrics.items(keep_base=True, copy_state=False)
        return MEASURED[self.module.stage] | {name: metric.higher_is_better for name, metric in added}

    @property
    def keeps_best(self) -> bool:
        """True if validation chooses the epoch; not with few labels, to which it would add its own."""
        return bool(self.settings and self.data.val_size) and self.data.labels is None

    @property
    def layers(self) -> str:
        """The layers of its encoder, or of a classifier's head, such as "784-500-200-100-30 with ReLU"."""
        return str(self.module.structures()["head" if isinstance(self.module, Classifier) else "encoder"])

    def header(self, config: Config, overrides: Sequence[str], device: torch.device, begins: bool) -> Metrics:
        """Return what metrics.json says of a run that begins; of one that goes on, what may be another now."""
        data, hparams = self.data, self.module.hparams
        images = {name: len(split) for name, split in data.splits.items()}
        used = {"mean": hparams["mean"], "std": hparams["std"], "root": str(data.root), "images": images}
        header: Metrics = {
            "status": "running",
            "error": None,
            "overrides": list(overrides),
            "config": plain(config),
            "data": data.identity | used | {"files": data.files},
            "networks": {
                name: {"sizes": network.sizes, "between": network.between, "parameters": network.parameters}
                for name, network in self.module.structures().items()
            },
            "loss": self.module.loss_name,
            "higher_is_better": self.higher_is_better,
        }
        if not begins:
            return header
        return header | {
            "schema": SCHEMA,
            "stage": self.stage,
            "seed": self.seed,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "device": str(device),
            "threads": torch.get_num_threads(),  # of each process
            "processes": here().world,
            "ckpt": str(self.ckpt) if self.ckpt else None,
            "encoder_data": self.encoder_data,
            "epoch_size": data.epoch_size if self.settings else None,
            **({"of": _settings_behind(self.ckpt)} if self.stage == Stage.probe else {}),
            "checkpoint": "best" if self.keeps_best else "last",
            "seconds": {"total": None, "fit": None, "figures": None},
            "epochs": [],
            "final": {},
        }

    def announce(self, directory: RunDirectory, device: torch.device) -> None:
        """Print what is trained or tested: architecture, number of weights that train, images, device."""
        module, encoder = self.module, getattr(self.settings, "encoder", Encoder.frozen)
        weights = sum(p.numel() for p in module.parameters() if p.requires_grad)
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.data.splits.items())
        trained = "" if encoder == Encoder.frozen else f", encoder {encoder.words}"
        log.info(
            "%s %s, %s trainable weights%s; images: %s",
            *(module.stage, self.layers, f"{weights:,}", trained, sizes),
        )
        if self.encoder_data:
            log.info("images: %s; the encoder was trained on %s", self.data.name, self.encoder_data)
        if self.stage == Stage.probe:
            log.info("probing the encoder of the %s in %s", module.stage, self.ckpt)
        threads, world = torch.get_num_threads(), here().world
        each = "" if world == 1 else f" in each of {world} processes"
        where = f"going on from {directory.last.name} in" if directory.last else "into"
        log.info(
            "on %s with %d thread%s%s, %s %s", device, threads, "s"[: threads > 1], each, where, directory.path
        )


def _settings_behind(ckpt: Path | None) -> Metrics | None:
    """Return the settings of the run of a checkpoint, so that its seeds fold; None for a file without its run."""
    with suppress(AeprobeError):
        if ckpt and len(ckpt.parents) > 1:
            run = read_metrics(ckpt.parents[1])
            settings = settings_of(run["config"], run["data"], run["stage"])
            return settings | ({"ckpt": run["ckpt"]} if run["ckpt"] else {})
    return None
