"""One stage of a run, ready to be trained or tested, and what metrics.json and the log say of it."""

import logging
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import Config, Encoder, Stage, StageConfig, plain
from aeprobe.config.settings import experiment
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
class BuiltStage:
    """One stage of a run."""

    name: str  # "autoencoder", "classifier", "test" or "probe"
    config: Config  # of the run
    directory: RunDirectory  # of the stage
    module: Autoencoder | Classifier  # that is trained or tested
    data: ImageDataModule  # read and split
    seed: int  # of this run; for "test" and "probe" that of the finished run, unless another was typed
    settings: StageConfig | None = None  # None for "test" and "probe"
    ckpt: Path | None = None  # the file that the weights come from
    steps: int = 0  # of the optimizer, that made them
    encoder_data: str | None = None  # the title of the images that the encoder was trained on, if they were others
    callbacks: Sequence[Callback] = ()  # the person's own
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)  # asked of the module at the end, by name

    @property
    def higher_is_better(self) -> dict[str, bool | None]:
        """The direction of each metric of the stage, by its name; None for one that has no better or worse."""
        added = self.module.val_metrics.items(keep_base=True, copy_state=False)
        return MEASURED[self.module.stage] | {name: metric.higher_is_better for name, metric in added}

    @property
    def keeps_best(self) -> bool:
        """True if validation chooses the epoch; not with few labels, to which it would add its own."""
        return bool(self.settings and self.data.val_size) and self.data.labels is None

    def header(self, overrides: Sequence[str], device: torch.device) -> Metrics:
        """Return what metrics.json says of a run that begins; of one that goes on, what may be another now."""
        data, hparams = self.data, self.module.hparams
        images = {name: len(split) for name, split in data.splits.items()}
        used = {"mean": hparams["mean"], "std": hparams["std"], "root": str(data.root), "images": images}
        header: Metrics = {
            "status": "running",
            "error": None,
            "overrides": list(overrides),
            "config": plain(self.config),
            "data": data.identity | used | {"files": data.files},
            "networks": {
                name: {"sizes": network.sizes, "between": network.between, "parameters": network.parameters}
                for name, network in self.module.structures().items()
            },
            "loss": self.module.loss_name,
            "higher_is_better": self.higher_is_better,
        }
        if self.directory.last:
            return header
        return header | {
            "schema": SCHEMA,
            "stage": self.name,
            "seed": self.seed,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "device": str(device),
            "threads": torch.get_num_threads(),  # of each process
            "processes": here().world,
            "ckpt": str(self.ckpt) if self.ckpt else None,
            "encoder_data": self.encoder_data,
            "epoch_size": data.epoch_size if self.settings else None,
            **({"of": _settings_behind(self.ckpt)} if self.name == Stage.probe else {}),
            "checkpoint": "best" if self.keeps_best else "last",
            "seconds": {"total": None, "fit": None, "figures": None},
            "epochs": [],
            "final": {},
        }

    def announce(self, device: torch.device) -> None:
        """Print what is trained or tested: architecture, number of weights that train, images, device."""
        module, encoder = self.module, getattr(self.settings, "encoder", Encoder.frozen)
        weights = sum(p.numel() for p in module.parameters() if p.requires_grad)
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.data.splits.items())
        trained = "" if encoder == Encoder.frozen else f", encoder {encoder.words}"
        log.info(f"{module.stage} {module.layers}, {weights:,} trainable weights{trained}; images: {sizes}")
        if self.encoder_data:
            log.info(f"images: {self.data.name}; the encoder was trained on {self.encoder_data}")
        if self.name == Stage.probe:
            log.info(f"probing the encoder of the {module.stage} in {self.ckpt}")
        threads, world = torch.get_num_threads(), here().world
        many = f"{threads} thread{'s'[: threads > 1]}" + (f" in each of {world} processes" if world > 1 else "")
        where = f"going on from {last.name} in" if (last := self.directory.last) else "into"
        log.info(f"on {device} with {many}, {where} {self.directory.path}")


def _settings_behind(ckpt: Path | None) -> Metrics | None:
    """Return the settings of the run of a checkpoint, so that its seeds fold; None for a file without its run."""
    with suppress(AeprobeError):
        if ckpt and len(ckpt.parents) > 1:
            run = read_metrics(ckpt.parents[1])
            settings = experiment(run["config"], run["data"], run["stage"])
            return settings | ({"ckpt": run["ckpt"]} if run["ckpt"] else {})
    return None
