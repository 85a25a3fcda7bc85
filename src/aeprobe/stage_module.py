"""What the two stages' LightningModules have in common."""

from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L

from aeprobe.optimization import Optimization


class StageModule(L.LightningModule):
    """A LightningModule whose checkpoint says what it is.

    Attributes:
        stage: its name.
        optimization: makes the optimizer and the schedule; None where nothing is trained.
    """

    stage: str
    optimization: Optimization | None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names the class, so that the file is complete by itself."""
        checkpoint["stage"] = self.stage

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook 44 times a step, and nn.Module takes 2 µs to look for a parameter in it.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)
