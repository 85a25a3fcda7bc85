"""One stage of a finished run, read from its directory for tables and pages. Needs no torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aeprobe.config.choices import Encoder
from aeprobe.config.objective import MEASURED
from aeprobe.config.schema import value_of
from aeprobe.config.settings import complete, experiment
from aeprobe.files import read_file
from aeprobe.runs.metrics import MOST_BYTES, Metrics, parsed

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A figure as the run's figures/ holds it: the bytes of its PNG, and what its JSON says."""

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

    @property
    def refused(self) -> bool:
        """Whether it is a job of a multirun that was refused before it began."""
        return "versions" not in self.metrics

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows of the epochs that ended."""
        rows: list[dict[str, Any]] = self.metrics["epochs"]
        return rows

    @property
    def data(self) -> dict[str, Any]:
        """The data as they were used; `images` counts them by split."""
        data: dict[str, Any] = self.metrics.get("data") or self.metrics["config"].get("data", {})
        return data

    @property
    def dataset(self) -> str:
        """The dataset's name; for a person's own images, with their folder."""
        return str(self.data.get("title", self.data.get("name")))

    def encoder_settings(self) -> dict[str, Any]:
        """Of a probe, what its encoder was trained with; "encoder." stands before what the probe has itself."""
        of, own = self.metrics.get("of"), self.settings()
        return {f"encoder.{key}" if key in own else key: value for key, value in (of or {}).items()}

    @property
    def called(self) -> str:
        """The dataset in a sentence: its name; of a person's own images, their folder."""
        return f"the folder {self.data.get('root')}" if self.dataset != self.data.get("name") else self.dataset

    def class_name(self, label: int) -> str:
        """What a class is called: by its name, or its number."""
        names = self.data.get("class_names")
        return str(names[label]) if isinstance(names, list) and label < len(names) else str(label)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its configuration, with the neutral values of the keys that it lacks."""
        return complete(self.metrics["config"])

    def setting(self, key: str) -> Any:
        """A value of the configuration by its dotted key, or None."""
        return value_of(self.config, key)

    @property
    def higher_is_better(self) -> dict[str, Any]:
        """The direction of each metric, by its name."""
        better: dict[str, Any] = MEASURED["classifier"] | self.metrics.get("higher_is_better", {})
        return better

    @property
    def test_parts(self) -> dict[str, float | None]:
        """The test's metric of each part of the test images that their source names, as test/METRIC/PART."""
        found = self.metrics.get("test_parts")
        return {name: found[name] for name in found if name.count("/") == 2} if isinstance(found, dict) else {}

    @property
    def remark(self) -> str:
        """What the source of the images says of these."""
        return str(self.metrics.get("remark", ""))

    def sizes(self, network: str) -> list[str]:
        """Return the sizes of the input and layers of the "encoder", "decoder" or "head"; empty if unknown."""
        return [*map(str, value_of(self.metrics.get("networks", {}), f"{network}.sizes") or [])]

    def layers(self, network: str) -> str:
        """The same in words, such as "784-500-200-100-30"; "" where unknown."""
        return "-".join(self.sizes(network))

    def series(self, key: str) -> list[float | None]:
        """One number of every epoch that ended, None where it was not taken."""
        return [row.get(key) for row in self.epochs]

    def last(self, key: str) -> float | None:
        """The final number; of an unfinished run that of the last epoch that has one."""
        numbers = (*self.series(key), self.metrics["final"].get(key))
        known = [value for value in numbers if value is not None]
        return known[-1] if known else None

    @property
    def loss_name(self) -> str:
        """What was minimised, by its name."""
        return str(self.metrics.get("loss"))

    def picture(self, name: str) -> Picture | None:
        """A figure, or None where it was not drawn or one of its two files is damaged."""
        try:
            png = read_file(self.path / "figures" / f"{name}.png", MOST_BYTES)
            words = parsed(read_file(self.path / "figures" / f"{name}.json", MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        if not png.startswith(PNG) or b"IEND" not in png[-12:]:
            return None
        title = str(words.get("title") or name.replace("_", " "))
        return Picture(png, title, str(words.get("alt") or title), words.get("data") or {})

    @property
    def not_drawn(self) -> dict[str, str]:
        """Why, by the name of each figure that could not be drawn."""
        return dict(self.metrics.get("not_drawn") or {})

    @property
    def encoder(self) -> str:
        """What stage 2 did with its encoder, in words."""
        return Encoder(self.setting("classifier.encoder") or "frozen").words

    @property
    def evaluations(self) -> dict[str, Any]:
        """What was evaluated beside the metrics, by its name."""
        return dict(self.metrics.get("evaluations") or {})

    @property
    def tested(self) -> int:
        """The number of test images; 0 where it is not known."""
        return sum(map(sum, self.metrics.get("confusion_matrix") or []))

    def settings(self) -> dict[str, Any]:
        """What makes this experiment what it is, by dotted keys; see `settings.experiment`."""
        return experiment(self.metrics["config"], self.data, self.stage)
