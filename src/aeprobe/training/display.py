"""The base class of what is kept while a stage trains and shown once it is tested."""

import logging
import traceback
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import lightning as L

from aeprobe.evaluation import Figures
from aeprobe.runs.metrics import Metrics
from aeprobe.runs.rundir import RunDirectory
from aeprobe.training.experiment import Experiment

if TYPE_CHECKING:
    from aeprobe.training.recorder import Recorder

log = logging.getLogger("aeprobe")


class NotDrawn:
    """The reasons why parts of a run could not be drawn or shown; its results are written before.

    Attributes:
        reasons: by the name of the figure, or of what TensorBoard lacks.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    @contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """Catch any error in the block, and log it once, in one line; train.log has the traceback."""
        try:
            yield
        except Exception as error:
            if name in self.reasons:
                return
            what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
            self.reasons[name] = what
            text = "".join(traceback.format_exception(error)).rstrip()
            log.warning("not drawn: %s (%s)", name.replace("_", " "), what, extra={"traceback": f"\n{text}"})


class Display(L.Callback):
    """A callback below `trainer.recorders`: it keeps something while a stage trains, and shows it after the test.

    Its arguments are the keys of its node; its state is kept in the checkpoint.
    """

    def begin(self, experiment: Experiment, directory: RunDirectory, images: bool, not_drawn: NotDrawn) -> None:
        """Look at a stage before it is trained, while its data are still images.

        Args:
            experiment: the stage.
            directory: of its run.
            images: whether to show the images themselves too; not where another stage of the run does.
            not_drawn: where to note what fails.
        """

    @abstractmethod
    def show(
        self, trainer: L.Trainer, recorder: "Recorder", results: Metrics, step: int, more: Figures = ()
    ) -> None:
        """Show the stage, in every process.

        Args:
            trainer: after its test.
            recorder: with the rows and curves of the training.
            results: what metrics.json says of the test.
            step: optimizer steps that made the weights.
            more: figures of what was evaluated.
        """
