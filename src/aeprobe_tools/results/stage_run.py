"""One stage of a finished run, read from its directory for tables and pages. Needs no torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import Encoder, value_of
from aeprobe.config.settings import complete, experiment
from aeprobe.files import read_file
from aeprobe.runs.metrics import MOST_BYTES, Metrics, parsed

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A figure of the run's figures/: the bytes of its PNG, and the texts and data of its JSON."""

    png: bytes
    title: str
    alt: str
    data: dict[str, Any]


@dataclass(frozen=True)
class StageRun:
    """One stage of one run: its directory and its metrics.json."""

    path: Path
    metrics: Metrics

    @property
    def stage(self) -> str:
        """One of "autoencoder", "classifier", "test" and "probe"; of a refused job "all", too."""
        return str(self.metrics["stage"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's configuration, with the neutral values of the keys that it lacks."""
        return complete(self.metrics["config"])

    def setting(self, key: str) -> Any:
        """Return a value of the configuration by its dotted key, or None."""
        return value_of(self.config, key)

    def settings(self) -> dict[str, Any]:
        """Return what makes this experiment what it is, by dotted keys; see `settings.experiment`."""
        return experiment(self.metrics["config"], self.data, self.stage)

    def encoder_settings(self) -> dict[str, Any]:
        """Return what a probe's encoder was trained with; "encoder." goes before keys of the probe's own."""
        taken = self.settings()
        of = self.metrics.get("of") or {}
        return {f"encoder.{key}" if key in taken else key: value for key, value in of.items()}

    @property
    def encoder(self) -> str:
        """The encoder's part in stage 2 in words, such as "frozen"."""
        return Encoder(self.setting("classifier.encoder") or "frozen").words

    @property
    def loss_name(self) -> str:
        """The name of the loss that was minimised."""
        return str(self.metrics.get("loss"))

    def sizes(self, network: str) -> list[str]:
        """Return the sizes of the input and layers of the "encoder", "decoder" or "head"; empty if unknown."""
        return [*map(str, value_of(self.metrics.get("networks", {}), f"{network}.sizes") or [])]

    def layers(self, network: str) -> str:
        """Return the same in words, such as "784-500-200-100-30"; "" where unknown."""
        return "-".join(self.sizes(network))

    @property
    def data(self) -> dict[str, Any]:
        """The data as they were used; `images` counts them by split."""
        data: dict[str, Any] = self.metrics.get("data") or self.metrics["config"].get("data", {})
        return data

    @property
    def dataset(self) -> str:
        """The dataset's name; for a person's own images, with their folder."""
        return str(self.data.get("title", self.data.get("name")))

    @property
    def called(self) -> str:
        """The dataset in a sentence: its name; for a person's own images, their folder."""
        return f"the folder {self.data.get('root')}" if self.dataset != self.data.get("name") else self.dataset

    def class_name(self, label: int) -> str:
        """Return the name of a class, or its number."""
        names = self.data.get("class_names")
        return str(names[label]) if isinstance(names, list) and label < len(names) else str(label)

    @property
    def remark(self) -> str:
        """The remark of the images' source on them."""
        return str(self.metrics.get("remark", ""))

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows of the epochs that ended."""
        rows: list[dict[str, Any]] = self.metrics["epochs"]
        return rows

    def series(self, key: str) -> list[float | None]:
        """Return one number of every epoch that ended, None where it was not taken."""
        return [row.get(key) for row in self.epochs]

    def last(self, key: str) -> float | None:
        """Return the final number; for an unfinished run that of the last epoch that has one."""
        numbers = (*self.series(key), self.metrics["final"].get(key))
        known = [value for value in numbers if value is not None]
        return known[-1] if known else None

    @property
    def higher_is_better(self) -> dict[str, Any]:
        """The direction of each metric, by its name."""
        better: dict[str, Any] = MEASURED["classifier"] | self.metrics.get("higher_is_better", {})
        return better

    @property
    def test_parts(self) -> dict[str, float | None]:
        """The test's metric of each part of the test images that their source names, as test/METRIC/PART."""
        parts = self.metrics.get("test_parts") or {}
        return {name: value for name, value in parts.items() if name.count("/") == 2}

    @property
    def tested(self) -> int:
        """The number of test images; 0 where it is not known."""
        return sum(map(sum, self.metrics.get("confusion_matrix") or []))

    @property
    def evaluations(self) -> dict[str, Any]:
        """The numbers of each evaluation, by its name."""
        return dict(self.metrics.get("evaluations") or {})

    @property
    def not_drawn(self) -> dict[str, str]:
        """The reasons, by the name of each figure that could not be drawn."""
        return dict(self.metrics.get("not_drawn") or {})

    def picture(self, name: str) -> Picture | None:
        """Return a figure, or None where it was not drawn or one of its two files is damaged."""
        try:
            png = read_file(self.path / "figures" / f"{name}.png", MOST_BYTES)
            words = parsed(read_file(self.path / "figures" / f"{name}.json", MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        if not png.startswith(PNG) or b"IEND" not in png[-12:]:
            return None
        title = str(words.get("title") or name.replace("_", " "))
        return Picture(png, title, str(words.get("alt") or title), words.get("data") or {})
