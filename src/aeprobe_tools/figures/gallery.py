"""The callback that draws a run's figures into figures/ and TensorBoard; one that fails costs no run."""

import io
import json
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.utils.tensorboard import SummaryWriter

from aeprobe.data.sampler import evenly_spaced, seeded_permutation
from aeprobe.data.sources import Classes
from aeprobe.evaluation import Figures
from aeprobe.files import finite, write_atomically
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.variational import VariationalAutoencoder
from aeprobe.runs.metrics import Metrics
from aeprobe.training.build import BuiltStage
from aeprobe.training.recorder import Display, Recorder
from aeprobe_tools.figures import charts, pictures
from aeprobe_tools.figures.charts import DPI, Drawing, History
from aeprobe_tools.figures.diagram import architecture

SAMPLES = 5
NETWORKS = ("normalize", "encoder", "decoder", "head")
PROJECTED = 1_000
MOST_SPRITE = 128  # pixels of a side: a browser takes no picture of all that is larger than 8192
RGBA = 4


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
        self.chosen = pictures.one_of_each(self.splits["val"].labels, self.seed)
        self.names = Classes(self.data.source.noun, self.data.class_names)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keep reconstructions; the Recorder's clock has stopped at the last batch."""
        epoch = trainer.current_epoch + 1
        wanted = epoch in self.epochs or epoch == trainer.max_epochs
        if wanted and trainer.is_global_zero and isinstance(module, Autoencoder):
            with self.directory.noted("reconstructions"):
                self.reconstructions[epoch] = pictures.reconstruct(module, self.splits["val"], self.chosen)
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
        self.writer, self.step = trainer.logger.experiment, step
        self.history = History(recorder.epochs, recorder.steps, recorder.epoch_steps)
        with torch.no_grad(), self.directory.noted("figures"):
            for name, draw in chain(self._figures(results), more):
                with self.directory.noted(name):
                    if drawing := draw():
                        self._write(name, drawing)

    def _figures(self, results: Metrics) -> Figures:
        """Yield the name of each figure and what draws it, or adds to TensorBoard and draws None."""
        module = self.module.eval().cpu()
        if self.images:
            order = seeded_permutation(len(self.splits["train"]), self.seed, "samples").numpy()
            yield "class_histogram", partial(pictures.class_histogram, self.splits, self.names)
            yield "samples", partial(pictures.samples, self.splits["train"], order[:SAMPLES], self.names)
        if not module.test_outputs:  # of stage=probe
            return
        yield "graph", partial(add_graph, self.writer, module)
        yield "architecture", partial(architecture, module)
        stage_figures = self._of_classifier if isinstance(module, Classifier) else self._of_autoencoder
        yield from stage_figures(module, results)  # type: ignore[arg-type]

    def _of_autoencoder(self, module: Autoencoder, _: Metrics) -> Figures:
        history, unit, test = self.history, module.loss_name, self.splits["test"]
        codes = torch.cat(module.test_outputs["codes"]).float().cpu()
        errors = torch.cat(module.test_outputs["errors"]).float().cpu().numpy()
        if history.rows:
            yield "loss_per_epoch", partial(history.loss_per_epoch, unit)
            yield "train_loss", partial(history.training, 1, 9, "loss", unit)
            yield "val_loss", partial(history.validation, 1, 10, "loss", unit)
        yield "reconstructions", partial(self._reconstructions, self.reconstructions)
        yield "codes", partial(pictures.codes, codes, test.labels.numpy(), self.names)
        yield "pca_baseline", partial(pictures.pca_baseline, module, self.splits, errors)
        yield "best_and_worst", partial(pictures.best_and_worst, module, test, errors)
        yield "error_histogram", partial(charts.error_histogram, errors)
        if isinstance(module, VariationalAutoencoder):
            yield "sampled", partial(pictures.sampled, module)
        for epoch in self.reconstructions:
            yield "reconstructions", partial(self._add_reconstructions, epoch)
        words = [self.names.short(label) for label in test.labels.tolist()]
        yield "projector", partial(add_projector, self.writer, codes, words, test.images, self.step)

    def _of_classifier(self, module: Classifier, results: Metrics) -> Figures:
        history, unit = self.history, module.loss_name
        if history.rows:
            yield "loss_and_accuracy_per_epoch", partial(history.loss_and_accuracy_per_epoch, unit)
            for what, name, report in (("loss", unit, 15), ("accuracy", "accuracy", 17)):
                yield f"train_{what}", partial(history.training, 2, report, what, name)
                yield f"val_{what}", partial(history.validation, 2, report + 1, what, name)
        matrix, accuracies = np.array(results["confusion_matrix"]), results["test_batch_accuracy"]
        tested = int(matrix.sum())
        yield "batch_accuracy", partial(charts.batch_accuracy, np.array(accuracies), tested)
        yield "confusion_matrix", partial(charts.confusion_matrix, matrix, self.names)
        yield "mistakes", partial(self._mistakes, module, tested)
        yield "test_batch_accuracy", partial(self._add_accuracies, accuracies)

    def _reconstructions(self, of_epochs: Mapping[int, Tensor]) -> Drawing | None:
        return pictures.reconstructions(self.splits["val"], self.chosen, of_epochs, self.names)

    def _mistakes(self, module: Classifier, tested: int) -> Drawing:
        test = self.data.splits["test"]  # images, or their codes by now
        inputs = pictures.inputs(module, test, torch.arange(min(tested, len(test))))
        return pictures.mistakes(self.splits["test"], module.predict_step((inputs, inputs)), self.names)

    def _write(self, name: str, drawing: Drawing) -> None:
        """Write a figure's two files and show its picture in TensorBoard."""
        folder, png = self.directory.path / "figures", _png(drawing)
        folder.mkdir(exist_ok=True)
        words = {"report": drawing.report, "title": drawing.title, "alt": drawing.alt, "data": drawing.data}
        write_atomically(folder / f"{name}.png", png)
        write_atomically(folder / f"{name}.json", json.dumps(finite(words), allow_nan=False).encode())
        if name != "reconstructions":
            add_png(self.writer, f"figures/{name}", png, self.step)

    def _add_reconstructions(self, epoch: int) -> None:
        """Add those of one epoch: TensorBoard has a slider over the epochs."""
        if drawing := self._reconstructions({epoch: self.reconstructions[epoch]}):
            add_png(self.writer, "figures/reconstructions", _png(drawing), self.steps[epoch])

    def _add_accuracies(self, accuracies: Sequence[float]) -> None:
        for batch, accuracy in enumerate(accuracies, start=1):
            self.writer.add_scalar("test_batch_accuracy", accuracy, batch)


def _png(made: Drawing) -> bytes:
    buffer = io.BytesIO()
    # zlib's level 6 would take three times as long for a tenth less.
    made.figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
    return buffer.getvalue()


def add_png(writer: SummaryWriter, tag: str, png: bytes, step: int) -> None:
    """Add a file's bytes as they are: add_figure would draw the figure, and compress it, once more."""
    width, height = struct.unpack(">2I", png[16:24])  # as its header says
    image = Summary.Image(width=width, height=height, colorspace=RGBA, encoded_image_string=png)
    file: Any = writer._get_file_writer()  # opens it where the Trainer has closed it
    file.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def add_graph(writer: SummaryWriter, module: Autoencoder | Classifier) -> None:
    """Add a stage's networks, one after the other."""
    layers = dict(module.named_children())
    network = nn.Sequential(OrderedDict((name, layers[name]) for name in NETWORKS if name in layers))
    weight = next(network.parameters())
    with torch.no_grad():
        writer.add_graph(network, weight.new_zeros(1, *module.shape))


def add_projector(writer: SummaryWriter, codes: Tensor, words: Sequence[str], images: Tensor, step: int) -> None:
    """Add a thousand of the codes, (N, code), with their classes and images, uint8, of as many or more."""
    chosen = evenly_spaced(len(codes), PROJECTED)
    codes, sprite = codes[chosen], images[chosen].float() / 255
    if sprite.shape[1] != 3:
        sprite = sprite[:, :1]
    side = max(sprite.shape[2:])
    sprite = pad(sprite, (0, side - sprite.shape[3], 0, side - sprite.shape[2]))  # it takes squares
    if side > MOST_SPRITE:
        sprite = interpolate(sprite, size=(MOST_SPRITE, MOST_SPRITE), mode="area")
    names = [words[place].replace("\t", " ").replace("\n", " ") for place in chosen.tolist()]  # a line each
    writer.add_embedding(codes, metadata=names, label_img=sprite, tag="codes", global_step=step)
