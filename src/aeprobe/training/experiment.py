"""What one stage of a run is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

from lightning.pytorch.callbacks import Callback

from aeprobe.config.choices import Encoder
from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import StageConfig
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.evaluation import Evaluation
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier


@dataclass
class Experiment:
    """What one stage is made of.

    Attributes:
        stage: "autoencoder", "classifier", "test" or "probe".
        module: what is trained or tested.
        data: the images, read and split.
        seed: of this run; for "test" and "probe" that of the finished run, unless another was typed.
        settings: the stage's own; None for "test" and "probe".
        ckpt: the file that the weights come from, and the number of steps that made them.
        encoder_data: what the images were called that the encoder was trained on, if they were others.
        callbacks: the person's own.
        evaluations: what is asked of the module at the end, by name.
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
        """Of each metric of the stage, by its name; None for one that has no better or worse."""
        added = self.module.val_metrics.items(keep_base=True, copy_state=False)
        return MEASURED[self.module.stage] | {name: metric.higher_is_better for name, metric in added}

    def networks(self) -> dict[str, Any]:
        """What metrics.json says of the stage's networks, by their names."""
        return {
            name: {"sizes": network.sizes, "between": network.between, "parameters": network.parameters}
            for name, network in self.module.structures().items()
        }

    @property
    def keeps_best(self) -> bool:
        """Whether validation chooses the epoch; not among few labels, which validation's would be added to."""
        return bool(self.settings and self.data.val_size) and self.data.labels is None

    @property
    def layers(self) -> str:
        """Of its encoder, or of a classifier's head: "784-500-200-100-30 with ReLU"."""
        return str(self.module.structures()["head" if isinstance(self.module, Classifier) else "encoder"])

    def describe(self) -> str:
        """One line: architecture, number of weights that train, sizes of the splits."""
        weights = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.data.splits.items())
        return (
            f"{self.module.stage} {self.layers}, {weights:,} trainable weights{self._encoder()}; images: {sizes}"
        )

    def _encoder(self) -> str:
        """Of a classifier, what stage 2 does with its encoder, where that is not the report's."""
        encoder = getattr(self.settings, "encoder", Encoder.frozen)
        return "" if encoder == Encoder.frozen else f", encoder {encoder.words}"
