"""The base class of what is made of a finished run, by a class and a YAML of conf/after."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from aeprobe.config.schema import Config
from aeprobe.runs.metrics import Metrics


class After(ABC):
    """Something that is made of a finished run, in the first process; one that fails costs no run.

    Its arguments are the keys of its node below `after`.
    """

    command: ClassVar[str] = ""  # of `aeprobe`, that makes it again; empty: none

    @abstractmethod
    def __call__(self, directory: Path, config: Config, metrics: Mapping[str, Metrics]) -> Path | None:
        """Make it of a run's directory, its configuration, and what metrics.json says of each stage, by its name.

        Return the file to look at; None where there is nothing to make of such a run.
        """
