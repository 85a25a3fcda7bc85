"""Record a training: an epoch's row, a value for every step, and what a person's own recorders keep and show.

`self.log` on every training step costs nearly a millisecond, more than the classifier's arithmetic. So the
steps' metrics stay tensors until the epoch's end, and are then written all at once: a value for every step
in TensorBoard, their mean over samples in metrics.json.
"""

import logging
import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Figures
from aeprobe.processes.collectives import mean
from aeprobe.runs.metrics import Metrics, numbers
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training.built import BuiltStage
from aeprobe.training.loggers import flush, write_scalars

log = logging.getLogger("aeprobe")


class Recorder(L.Callback):
    """Write every epoch's row to metrics.json and TensorBoard, and print it as a line.

    An epoch in which a loss, a metric or a weight is no longer finite ends in an AeprobeError.
    """

    def __init__(self, directory: RunDirectory, name: str) -> None:
        self.directory, self.name = directory, name
        self.epochs: list[dict[str, Any]] = []  # the rows of metrics.json
        self.steps: dict[str, list[float]] = {}  # by "step" and each tag, a number for every optimizer step
        self.epoch_steps: list[int] = []  # optimizer steps at each epoch's end
        self._row: dict[str, Any] = {}  # of this epoch, as all that follow
        self._values: dict[str, Tensor] = {}
        self._rates: list[float] = []
        self._began = self._ended = 0.0

    def on_fit_start(self, trainer: L.Trainer, module: Any) -> None:
        """Write the past epochs of a resumed run to metrics.json."""
        if self.epochs:
            self.directory.write(epochs=self.epochs)

    def on_save_checkpoint(self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Note how far the loggers' files go, for a run that goes on from it."""
        checkpoint["logs"] = flush(trainer.loggers)

    def state_dict(self) -> dict[str, Any]:
        """Return the past epochs; they travel in the checkpoint."""
        steps = {tag: torch.tensor(values, dtype=torch.float64) for tag, values in self.steps.items()}
        return {"epochs": self.epochs, "steps": steps, "epoch_steps": self.epoch_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.epochs, self.epoch_steps = state_dict["epochs"], state_dict["epoch_steps"]
        self.steps = {tag: values.tolist() for tag, values in state_dict["steps"].items()}
        self.steps["step"] = [int(step) for step in self.steps["step"]]

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Begin an epoch's row."""
        for logger in trainer.loggers:  # Lightning logs means after the last epoch's checkpoint is saved
            logger.save()
        self._row, self._values, self._rates = {}, {}, []
        self._began = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Note the rate of the step."""
        self._rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        """Keep the metrics of a step."""
        step = len(self._rates) - 1
        for key, value in module.step_metrics.items():
            if key not in self._values:  # small tensors would keep the allocator from the memory around them
                self._values[key] = value.new_empty(int(trainer.num_training_batches))
            self._values[key][step] = value
        self._ended = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        """Close the training part of the row, before best.ckpt could be saved."""
        if self._row:
            return
        count, batches = len(self._rates), trainer.train_dataloader.sampler  # type: ignore[union-attr]
        sizes, shares = batches.sizes[:count], batches.shares[:count]
        values = {key: mean(value[:count].cpu() * shares) for key, value in self._values.items()}
        last = {key: values.pop(key)[-1] for key in self._values if key.endswith("_last")}  # of that step alone
        self._row["epoch"] = trainer.current_epoch + 1
        for key, value in values.items():
            self._require_finite(trainer, f"train/{key}", value)
            self._row[f"train/{key}"] = float((value * sizes).sum() / sizes.sum())
            self._row[f"train/{key}_last"] = float(value[-1])
        self._row |= {f"train/{key}": value.item() for key, value in last.items()}
        for key, weights in module.named_parameters():  # the last step's have had no loss yet
            self._require_finite(trainer, f"the weight {key}", weights.detach().sum().reshape(1))
        self._keep_steps(trainer, values, module.optimization.accumulate)

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        """Add the validation metrics; one of the person's own may be no number."""
        for tag, value in trainer.callback_metrics.items():
            if tag.startswith("val/"):
                if tag.removeprefix("val/") not in module.val_metrics:
                    self._require_finite(trainer, tag, value.reshape(1))
                self._row[tag] = value.item()

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """Write the row to metrics.json, TensorBoard and the log."""
        self.on_validation_start(trainer, module)  # in an epoch without validation
        self._row["seconds"] = self._ended - self._began
        trained = {tag: value for tag, value in self._row.items() if tag.startswith("train/")}
        module.log_dict(trained, logger=False)  # for callbacks that watch one of them
        self.epochs.append(self._row)
        self.epoch_steps.append(trainer.global_step)
        self.directory.write(epochs=self.epochs)
        self._write_events(trainer)
        row = {k: v for k, v in self._row.items() if "/" in k and not k.endswith("_last")}
        epoch = f"epoch {self._row['epoch']}/{trainer.max_epochs}"
        log.info("%s %s  %s  %.1f s", self.name, epoch, numbers(row), self._row["seconds"])

    def _require_finite(self, trainer: L.Trainer, tag: str, values: Tensor) -> None:
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            steps = len(self._rates)
            step = int(bad[0]) if len(values) == steps else steps - 1  # else it was measured after the last one
            raise AeprobeError(
                f"{self.name}: {tag} became {float(values[bad[0]])} in epoch {trainer.current_epoch + 1}, "
                f"step {step + 1} of {steps}, at a rate of {self._rates[step]:g}: "
                f"try a lower {self.name}.optimizer.lr"
            )

    def _keep_steps(self, trainer: L.Trainer, values: dict[str, Tensor], batches: int) -> None:
        """Keep one value per optimizer step, which may have taken several batches."""
        if batches > 1:
            values = {key: torch.stack([part.mean() for part in v.split(batches)]) for key, v in values.items()}
        rates, end = self._rates[::batches], trainer.global_step + 1
        series: dict[str, Iterable[float]] = {"step": range(end - len(rates), end)}
        series |= {f"train/{key}_step": value.tolist() for key, value in values.items()}
        for tag, curve in (series | {"train/lr": rates}).items():
            self.steps.setdefault(tag, []).extend(curve)

    def _write_events(self, trainer: L.Trainer) -> None:
        """Write an epoch to TensorBoard and the other loggers: its steps, then its row."""
        first, last = [0, *self.epoch_steps][-2:]
        series = {tag: values[first:last] for tag, values in self.steps.items() if tag != "step"}
        for step, row in enumerate(zip(*series.values(), strict=True), start=first + 1):
            write_scalars(trainer, dict(zip(series, row, strict=True)), step)
        write_scalars(trainer, {k: v for k, v in self.epochs[-1].items() if "/" in k}, last)


class Display(L.Callback):
    """A callback below `trainer.recorders`: it keeps something while a stage trains, and shows it after the test.

    Its arguments are the keys of its node; its state is kept in the checkpoint.
    """

    def begin(self, stage: BuiltStage, images: bool) -> None:
        """Look at a stage before it is trained, while its data are still images.

        Args:
            stage: whose `directory` notes what fails meanwhile.
            images: whether to show the images themselves too; not where another stage of the run does.
        """

    @abstractmethod
    def show(
        self, trainer: L.Trainer, recorder: Recorder, results: Metrics, step: int, more: Figures = ()
    ) -> None:
        """Show the stage, in every process.

        Args:
            trainer: after its test.
            recorder: with the rows and curves of the training.
            results: what metrics.json says of the test.
            step: optimizer steps that made the weights.
            more: figures of what was evaluated.
        """
