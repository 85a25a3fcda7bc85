"""The callback that draws a run's figures into figures/ and TensorBoard; one that fails costs no run."""

import io
import json
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from aeprobe.data.sources import Classes
from aeprobe.evaluation import Figures
from aeprobe.files import finite, write_atomically
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.runs.metrics import Metrics
from aeprobe.training.built import BuiltStage
from aeprobe.training.recorder import Display, Recorder
from aeprobe_tools.figures import prepare, tensorboard
from aeprobe_tools.figures.charts import DPI, Drawing
from aeprobe_tools.figures.curves import History


class Gallery(Display):
    """Reconstruct the same validation images after some epochs, and draw every figure at the end.

    Args:
        epochs: after which epochs, counted from 1, besides the last.
    """

    def __init__(self, epochs: Sequence[int] = (1, 5, 9)) -> None:
        self.epochs = epochs
        self.reconstructions: dict[int, Tensor] = {}
        self.steps: dict[int, int] = {}

    def begin(self, stage: BuiltStage, images: bool) -> None:
        """Choose the images to reconstruct, one of each class."""
        self.module, self.data, self.directory = stage.module, stage.data, stage.directory
        self.seed, self.images = stage.seed, images
        self.splits = dict(self.data.splits)
        if isinstance(self.module, Classifier) and not images:
            del self.splits["train"]  # they would stay beside their codes: 43 MB
        self.chosen = prepare.one_of_each(self.splits["val"].labels, self.seed)
        self.names = Classes(self.data.source.noun, self.data.class_names)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keep reconstructions; the Recorder's clock has stopped at the last batch."""
        epoch = trainer.current_epoch + 1
        wanted = epoch in self.epochs or epoch == trainer.max_epochs
        if wanted and trainer.is_global_zero and isinstance(module, Autoencoder):
            with self.directory.noted("reconstructions"):
                self.reconstructions[epoch] = prepare.reconstruct(module, self.splits["val"], self.chosen)
                self.steps[epoch] = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """Return the reconstructions, which a resumed run cannot make again."""
        return {"made": self.reconstructions, "steps": self.steps} if self.reconstructions else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.reconstructions, self.steps = state_dict["made"], state_dict["steps"]

    def show(
        self, trainer: L.Trainer, recorder: Recorder, results: Metrics, step: int, more: Figures = ()
    ) -> None:
        """Draw the run, in the first process."""
        if not trainer.is_global_zero:
            return
        assert isinstance(trainer.logger, TensorBoardLogger)
        writer: SummaryWriter = trainer.logger.experiment
        history = History(recorder.epochs, recorder.steps, recorder.epoch_steps)
        with torch.no_grad(), self.directory.noted("figures"):
            for name, draw in chain(self._parts(history, results, writer, step), more):
                with self.directory.noted(name):
                    if drawing := draw():
                        self._write(name, drawing, writer, step)

    def _parts(self, history: History, results: Metrics, writer: SummaryWriter, step: int) -> Figures:
        """Yield the figures of the run, and what only TensorBoard gets, which draws None."""
        module, images, test = self.module.eval().cpu(), self.splits["test"], self.data.splits["test"]
        if self.images:
            yield from prepare.of_images(self.splits, self.seed, self.names)
        if not module.test_outputs:  # of stage=probe
            return
        yield "graph", partial(tensorboard.add_graph, writer, module)
        if isinstance(module, Classifier):  # whose test images are codes by now
            yield from prepare.of_classifier(module, images, test, history, results, self.names)
            yield "test_batch_accuracy", partial(_add_accuracies, writer, results["test_batch_accuracy"])
            return
        codes = torch.cat(module.test_outputs["codes"]).float().cpu()
        errors = torch.cat(module.test_outputs["errors"]).float().cpu().numpy()
        draw = partial(prepare.reconstructions, self.splits["val"], self.chosen, self.names)
        every = partial(draw, self.reconstructions)
        yield from prepare.of_autoencoder(module, history, self.splits, every, codes, errors, self.names)
        for epoch, made in self.reconstructions.items():  # TensorBoard has a slider over the epochs
            one = partial(draw, {epoch: made})
            yield "reconstructions", partial(_add_reconstructions, writer, one, self.steps[epoch])
        words = [self.names.short(label) for label in images.labels.tolist()]
        yield "projector", partial(tensorboard.add_projector, writer, codes, words, images.images, step)

    def _write(self, name: str, drawing: Drawing, writer: SummaryWriter, step: int) -> None:
        """Write a figure's two files and show its picture in TensorBoard."""
        folder, png = self.directory.path / "figures", _png(drawing)
        folder.mkdir(exist_ok=True)
        words = {"report": drawing.report, "title": drawing.title, "alt": drawing.alt, "data": drawing.data}
        write_atomically(folder / f"{name}.png", png)
        write_atomically(folder / f"{name}.json", json.dumps(finite(words), allow_nan=False).encode())
        if name != "reconstructions":
            tensorboard.add_png(writer, f"figures/{name}", png, step)


def _add_reconstructions(writer: SummaryWriter, draw: prepare.Draw, step: int) -> None:
    if drawing := draw():
        tensorboard.add_png(writer, "figures/reconstructions", _png(drawing), step)


def _add_accuracies(writer: SummaryWriter, accuracies: Sequence[float]) -> None:
    for batch, accuracy in enumerate(accuracies, start=1):
        writer.add_scalar("test_batch_accuracy", accuracy, batch)


def _png(made: Drawing) -> bytes:
    buffer = io.BytesIO()
    # zlib's level 6 would take three times as long for a tenth less.
    made.figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
    return buffer.getvalue()
