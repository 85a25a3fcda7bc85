"""When to draw: once, after testing, into figures/ and TensorBoard."""

import io
import json
from collections.abc import Sequence
from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from aeprobe import dashboard, drawing, pictures
from aeprobe.autoencoder import Autoencoder
from aeprobe.build import Experiment
from aeprobe.classifier import Classifier
from aeprobe.drawing import History
from aeprobe.figures import DPI, Drawing
from aeprobe.recorder import Recorder
from aeprobe.rundir import Metrics, RunDirectory, finite, write_atomically


class Gallery(L.Callback):
    """Reconstructs the same validation images after some epochs, and draws every figure at the end.

    Args:
        experiment: what is trained or tested, while its data are still images.
        directory: the run's.
        epochs: after which epochs, counted from 1, besides the last.
        images: whether to show the images themselves too; not where another stage of the run does.
    """

    def __init__(
        self, experiment: Experiment, directory: RunDirectory, epochs: Sequence[int], images: bool
    ) -> None:
        self.experiment, self.directory, self.epochs, self.images = experiment, directory, epochs, images
        self.splits = dict(experiment.data.splits)
        if isinstance(experiment.module, Classifier) and not images:
            del self.splits["train"]  # they would stay beside their codes: 43 MB
        self.chosen = drawing.one_of_each(self.splits["val"].labels, experiment.seed)
        self.made: dict[int, Tensor] = {}
        self.steps: dict[int, int] = {}

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keeps reconstructions; the Recorder's clock has stopped at the last batch."""
        epoch = trainer.current_epoch + 1
        wanted = epoch in self.epochs or epoch == trainer.max_epochs
        if wanted and trainer.is_global_zero and isinstance(module, Autoencoder):
            self.made[epoch] = drawing.reconstruct(module, self.splits["val"], self.chosen)
            self.steps[epoch] = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run cannot make again."""
        return {"made": self.made, "steps": self.steps} if self.made else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it back."""
        self.made, self.steps = state_dict["made"], state_dict["steps"]

    def draw(self, trainer: L.Trainer, recorder: Recorder, results: Metrics) -> None:
        """Draws the run; only the first process does.

        Args:
            trainer: after its test.
            recorder: the run's.
            results: what metrics.json says of the test.
        """
        if not trainer.is_global_zero:
            return
        assert isinstance(trainer.logger, TensorBoardLogger)
        writer: SummaryWriter = trainer.logger.experiment
        module = self.experiment.module.eval().cpu()
        step = trainer.global_step if self.experiment.settings else self.experiment.steps
        history = History(recorder.epochs, recorder.steps, recorder.epoch_steps)
        with torch.no_grad():
            if self.images:
                for made in drawing.of_images(self.splits, self.experiment.seed):
                    self._show(made, writer, step)
            if isinstance(module, Autoencoder):
                self._draw_autoencoder(module, history, writer, step)
            else:
                test = self.experiment.data.splits["test"]  # codes by now
                for made in drawing.of_classifier(module, self.splits["test"], test, history, results):
                    self._show(made, writer, step)
                dashboard.add_graph(
                    writer, {"normalize": module.normalize, "encoder": module.encoder, "head": module.head}
                )
                dashboard.add_batches(writer, results["test_batch_accuracy"])

    def _draw_autoencoder(self, module: Autoencoder, history: History, writer: SummaryWriter, step: int) -> None:
        test = self.splits["test"]
        codes = torch.cat(module.test_codes).float().cpu()
        errors = torch.cat(module.test_errors).float().cpu().numpy()
        for made in drawing.of_autoencoder(module, history, self.splits, self._rows(self.made), codes, errors):
            if made.name == "reconstructions":
                self._save(made)  # TensorBoard has a slider over the epochs instead
            else:
                self._show(made, writer, step)
        for epoch in self.made:
            (made,) = self._rows([epoch])
            dashboard.add_png(writer, f"figures/{made.name}", _png(made), _size(made), self.steps[epoch])
        dashboard.add_graph(
            writer, {"normalize": module.normalize, "encoder": module.encoder, "decoder": module.decoder}
        )
        dashboard.add_projector(writer, codes, test.labels, test.images, step)

    def _rows(self, epochs: Any) -> list[Drawing]:
        """The picture of these epochs' reconstructions, if there are any."""
        if not epochs:
            return []
        val, labels = self.splits["val"], self.splits["val"].labels[self.chosen].numpy()
        made = {epoch: self.made[epoch].squeeze(1).numpy() for epoch in epochs}
        errors = drawing.errors_of(val, self.chosen, [self.made[epoch] for epoch in epochs])
        return [pictures.reconstructions(drawing.pixels(val, self.chosen), labels, made, errors)]

    def _show(self, made: Drawing, writer: SummaryWriter, step: int) -> None:
        dashboard.add_png(writer, f"figures/{made.name}", self._save(made), _size(made), step)

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
