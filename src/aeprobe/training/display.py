"""The base class of what is kept while a stage trains and shown once it is tested."""

from abc import abstractmethod

import lightning as L

from aeprobe.evaluation import Figures
from aeprobe.runs.metrics import Metrics
from aeprobe.training.built import BuiltStage
from aeprobe.training.recorder import Recorder


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
