"""When to draw: once, after testing, into figures/ and TensorBoard. What cannot be drawn costs no run."""

import io
import json
import logging
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from aeprobe.data.datamodule import MNISTDataModule
from aeprobe.figures import of_run, pictures, tensorboard
from aeprobe.figures.charts import DPI, Drawing
from aeprobe.figures.history import History
from aeprobe.figures.of_run import Failure
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
        """Goes on after any error in its block; interruptions are none."""
        try:
            yield
        except Exception as error:
            self.note(name, error)

    def note(self, name: str, error: Exception) -> None:
        """Says it once, in one line; train.log has the traceback."""
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
        data: MNISTDataModule,
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
        self.noun = "digit" if data.name == "mnist" else "class"
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

    def draw(self, trainer: L.Trainer, history: History, results: Metrics, step: int) -> None:
        """Draws the run; only the first process does.

        Args:
            trainer: after its test.
            history: of the training.
            results: what metrics.json says of the test.
            step: optimizer steps that made the weights.
        """
        if not trainer.is_global_zero:
            return
        with self.not_drawn.noted("figures"), torch.no_grad():
            self._draw(trainer, history, results, step)

    def _draw(self, trainer: L.Trainer, history: History, results: Metrics, step: int) -> None:
        assert isinstance(trainer.logger, TensorBoardLogger)
        writer: SummaryWriter = trainer.logger.experiment
        module = self.module.eval().cpu()
        if self.images:
            self._show(of_run.of_images(self.splits, self.seed, self.noun), writer, step)
        if isinstance(module, Autoencoder):
            self._draw_autoencoder(module, history, writer, step)
            return
        test = self.data.splits["test"]  # codes by now
        made = of_run.of_classifier(module, self.splits["test"], test, history, results, self.noun)
        self._show(made, writer, step)
        layers = {"normalize": module.normalize, "encoder": module.encoder, "head": module.head}
        with self.not_drawn.noted("graph"):
            tensorboard.add_graph(writer, layers)
        with self.not_drawn.noted("test_batch_accuracy"):
            tensorboard.add_batches(writer, results["test_batch_accuracy"])

    def _draw_autoencoder(self, module: Autoencoder, history: History, writer: SummaryWriter, step: int) -> None:
        test = self.splits["test"]
        codes = torch.cat(module.test_outputs["codes"]).float().cpu()
        errors = torch.cat(module.test_outputs["errors"]).float().cpu().numpy()
        rows = self._rows(self.reconstructions)
        self._show(of_run.of_autoencoder(module, history, self.splits, rows, codes, errors), writer, step)
        for epoch in self.reconstructions:
            with self.not_drawn.noted("reconstructions"):
                (made,) = self._rows([epoch])
                tensorboard.add_png(writer, f"figures/{made.name}", _png(made), _size(made), self.steps[epoch])
        layers = {"normalize": module.normalize, "encoder": module.encoder, "decoder": module.decoder}
        with self.not_drawn.noted("graph"):
            tensorboard.add_graph(writer, layers)
        with self.not_drawn.noted("projector"):
            tensorboard.add_projector(writer, codes, test.labels, test.images, step)

    def _rows(self, epochs: Any) -> Iterator[Drawing]:
        """The picture of these epochs' reconstructions, if there are any."""
        if not epochs:
            return
        val, labels = self.splits["val"], self.splits["val"].labels[self.chosen].numpy()
        made = {epoch: self.reconstructions[epoch].squeeze(1).numpy() for epoch in epochs}
        errors = of_run.errors_of(val, self.chosen, [self.reconstructions[epoch] for epoch in epochs])
        yield pictures.reconstructions(of_run.pixels(val, self.chosen), labels, made, errors, self.noun)

    def _show(self, figures: Iterable[Drawing | Failure], writer: SummaryWriter, step: int) -> None:
        for made in figures:
            if isinstance(made, Failure):
                self.not_drawn.note(made.name, made.error)
                continue
            with self.not_drawn.noted(made.name):
                png = self._save(made)
                if made.name != "reconstructions":  # TensorBoard has a slider over the epochs instead
                    with self.not_drawn.noted("TensorBoard"):
                        tensorboard.add_png(writer, f"figures/{made.name}", png, _size(made), step)

    def _save(self, made: Drawing) -> bytes:
        """Writes a figure's two files and returns the picture."""
        png, folder = _png(made), self.directory.path / "figures"
        folder.mkdir(exist_ok=True)
        words = {"report": made.report, "title": made.title, "alt": made.alt, "data": made.data}
        write_atomically(folder / f"{made.name}.png", png)
        text = json.dumps(finite(words), allow_nan=False)
        write_atomically(folder / f"{made.name}.json", text.encode())
        return png


def _png(made: Drawing) -> bytes:
    buffer = io.BytesIO()
    # zlib's level 6 would take three times as long for a tenth less.
    made.figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
    return buffer.getvalue()


def _size(made: Drawing) -> tuple[int, int]:
    width, height = made.figure.canvas.get_width_height()
    return width, height
