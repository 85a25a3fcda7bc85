"""When to draw: once, after testing, into figures/ and TensorBoard. What cannot be drawn costs no run."""

import io
import json
import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from aeprobe.data.datamodule import ImageDataModule
from aeprobe.figures import of_run, tensorboard
from aeprobe.figures.charts import DPI, Drawing
from aeprobe.figures.classes import Classes
from aeprobe.figures.curves import History
from aeprobe.figures.of_run import Figures
from aeprobe.files import finite, write_atomically
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.runs.metrics import Metrics
from aeprobe.runs.run_directory import RunDirectory

log = logging.getLogger("aeprobe")


class NotDrawn:
    """What could not be drawn or shown of a run, and why. By then the run has its results, and keeps them.

    Attributes:
        reasons: by the name of the figure, or of what TensorBoard lacks.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    @contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """Goes on after any error in its block, but says it once, in one line; train.log has the traceback."""
        try:
            yield
        except Exception as error:
            if name in self.reasons:
                return
            what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
            self.reasons[name] = what
            text = "".join(traceback.format_exception(error)).rstrip()
            log.warning("not drawn: %s (%s)", name.replace("_", " "), what, extra={"traceback": text})


class Gallery(L.Callback):
    """Reconstructs the same validation images after some epochs, and draws every figure at the end.

    Args:
        module: what is trained or tested.
        data: its data, while they are still images.
        seed: of the run.
        directory: the run's.
        epochs: after which epochs, counted from 1, besides the last.
        images: whether to show the images themselves too; not where another stage of the run does.

    Attributes:
        not_drawn: what could not be drawn.
    """

    def __init__(
        self,
        module: Autoencoder | Classifier,
        data: ImageDataModule,
        seed: int,
        directory: RunDirectory,
        epochs: Sequence[int],
        images: bool,
    ) -> None:
        self.module, self.data, self.seed, self.directory = module, data, seed, directory
        self.epochs, self.images = epochs, images
        self.splits = dict(data.splits)
        if isinstance(module, Classifier) and not images:
            del self.splits["train"]  # they would stay beside their codes: 43 MB
        self.chosen = of_run.one_of_each(self.splits["val"].labels, seed)
        self.names = Classes(data.source.noun, data.class_names)
        self.not_drawn = NotDrawn()
        self.reconstructions: dict[int, Tensor] = {}
        self.steps: dict[int, int] = {}

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keeps reconstructions; the Recorder's clock has stopped at the last batch."""
        epoch = trainer.current_epoch + 1
        wanted = epoch in self.epochs or epoch == trainer.max_epochs
        if wanted and trainer.is_global_zero and isinstance(module, Autoencoder):
            with self.not_drawn.noted("reconstructions"):
                self.reconstructions[epoch] = of_run.reconstruct(module, self.splits["val"], self.chosen)
                self.steps[epoch] = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run cannot make again."""
        return {"made": self.reconstructions, "steps": self.steps} if self.reconstructions else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it back."""
        self.reconstructions, self.steps = state_dict["made"], state_dict["steps"]

    def draw(self, trainer: L.Trainer, history: History, results: Metrics, step: int, more: Figures = ()) -> None:
        """Draws the run; only the first process does.

        Args:
            trainer: after its test.
            history: of the training.
            results: what metrics.json says of the test.
            step: optimizer steps that made the weights.
            more: figures of what was evaluated.
        """
        if not trainer.is_global_zero:
            return
        with self.not_drawn.noted("figures"), torch.no_grad():
            assert isinstance(trainer.logger, TensorBoardLogger)
            writer: SummaryWriter = trainer.logger.experiment
            module = self.module.eval().cpu()
            if self.images:
                self._show(of_run.of_images(self.splits, self.seed, self.names), writer, step)
            if module.test_outputs:  # not with stage=probe
                self._draw_module(module, history, results, writer, step)
            self._show(more, writer, step)

    def _draw_module(
        self,
        module: Autoencoder | Classifier,
        history: History,
        results: Metrics,
        writer: SummaryWriter,
        step: int,
    ) -> None:
        if isinstance(module, Autoencoder):
            self._draw_autoencoder(module, history, writer, step)
        else:
            self._draw_classifier(module, history, results, writer, step)
        with self.not_drawn.noted("graph"):
            tensorboard.add_graph(writer, module)

    def _draw_autoencoder(self, module: Autoencoder, history: History, writer: SummaryWriter, step: int) -> None:
        test = self.splits["test"]
        codes = torch.cat(module.test_outputs["codes"]).float().cpu()
        errors = torch.cat(module.test_outputs["errors"]).float().cpu().numpy()
        draw = partial(of_run.reconstructions, self.splits["val"], self.chosen, self.names)
        kept = partial(draw, self.reconstructions) if self.reconstructions else lambda: None
        figures = of_run.of_autoencoder(module, history, self.splits, kept, codes, errors, self.names)
        self._show(figures, writer, step)
        for epoch, made in self.reconstructions.items():
            with self.not_drawn.noted("reconstructions"):
                png = _png(draw({epoch: made}))
                tensorboard.add_png(writer, "figures/reconstructions", png, self.steps[epoch])
        with self.not_drawn.noted("projector"):
            words = [self.names.short(label) for label in test.labels.tolist()]
            tensorboard.add_projector(writer, codes, words, test.images, step)

    def _draw_classifier(
        self, module: Classifier, history: History, results: Metrics, writer: SummaryWriter, step: int
    ) -> None:
        test = self.data.splits["test"]  # codes by now
        figures = of_run.of_classifier(module, self.splits["test"], test, history, results, self.names)
        self._show(figures, writer, step)
        with self.not_drawn.noted("test_batch_accuracy"):
            for batch, accuracy in enumerate(results["test_batch_accuracy"], start=1):
                writer.add_scalar("test_batch_accuracy", accuracy, batch)

    def _show(self, figures: Figures, writer: SummaryWriter, step: int) -> None:
        """Writes each figure's two files and shows its picture in TensorBoard."""
        folder = self.directory.path / "figures"
        for name, draw in figures:
            with self.not_drawn.noted(name):
                if (made := draw()) is None:
                    continue
                png = _png(made)
                folder.mkdir(exist_ok=True)
                words = {"report": made.report, "title": made.title, "alt": made.alt, "data": made.data}
                write_atomically(folder / f"{name}.png", png)
                text = json.dumps(finite(words), allow_nan=False)
                write_atomically(folder / f"{name}.json", text.encode())
                if name != "reconstructions":  # TensorBoard has a slider over the epochs instead
                    with self.not_drawn.noted("TensorBoard"):
                        tensorboard.add_png(writer, f"figures/{name}", png, step)


def _png(made: Drawing) -> bytes:
    buffer = io.BytesIO()
    # zlib's level 6 would take three times as long for a tenth less.
    made.figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
    return buffer.getvalue()
