"""Predictions of a finished run: the class of a picture, its probability, and how well it is reconstructed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import aeprobe.runtime  # noqa: F401

import numpy as np
import torch
from torch import Tensor

from aeprobe.data.classes import Classes
from aeprobe.data.datamodule import PART
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.checkpoints import Checkpoint
from aeprobe.models.classifier import Classifier
from aeprobe_tools.use.images import images_of
from aeprobe_tools.use.module import note, stages, usable_checkpoint
from aeprobe_tools.use.picture_files import Image, batched, digit, picture

COMMON = 0.999  # of the test images have no larger error than one that looks like them


@dataclass(frozen=True)
class Answer:
    """The prediction for one picture.

    Attributes:
        name: of the picture.
        image: what the networks saw, uint8 (channels, height, width).
        probabilities: of the classes, float (classes,) in [0, 1]; None without a classifier.
        reconstruction: float in [0, 1], of the image's shape; None without an autoencoder.
        mse: of the reconstruction, per pixel in [0, 1]; None without an autoencoder.
        unlike: whether that is larger than for 99.9 % of the test images.
    """

    name: str
    image: Image
    probabilities: Tensor | None
    reconstruction: Tensor | None
    mse: float | None
    unlike: bool

    def guesses(self, count: int) -> list[tuple[int, float]]:
        """Return the most probable classes and their probabilities, best first; none without a classifier."""
        if self.probabilities is None:
            return []
        values, labels = self.probabilities.topk(min(count, len(self.probabilities)))
        return list(zip(labels.tolist(), values.tolist(), strict=True))


class FinishedRun:
    """The modules of a finished run, to predict with.

    Args:
        run: a directory of `stage=all`; of one stage alone, or a .ckpt file, there are only its own answers.
        plugins: packages of your own that a checkpoint may name classes of.

    Attributes:
        autoencoder: None in a classifier's run.
        classifier: None in an autoencoder's run.
        shape: of an image: channels, height and width.
        names: what the classes are called.
        digits: whether the images are MNIST's, so that pictures are prepared as its makers did.
    """

    def __init__(self, run: Path, plugins: Sequence[str] = ()) -> None:
        self.autoencoder: Autoencoder | None = None
        self.classifier: Classifier | None = None
        self._plugins, self._path, self._checkpoint = plugins, Path(), Checkpoint()
        absent: list[AeprobeError] = []
        for stage in stages(run):
            try:
                path = usable_checkpoint(run, stage)
            except AeprobeError as error:
                absent.append(error)
                continue
            checkpoint = checkpoints.read(path)
            module = checkpoints.restore(checkpoint, path, plugins)
            if isinstance(module, Classifier):
                self.classifier = module
            else:
                self.autoencoder = module
            self._path, self._checkpoint = path, checkpoint
        if not self.classifier and not self.autoencoder:
            raise absent[0]
        for why in absent:
            note(str(why))
        self.shape = module.shape
        of_data = self._checkpoint["datamodule_hyper_parameters"]
        self.names = Classes(of_data["noun"], of_data.get("class_names", ()))
        self.digits = bool(of_data["handwritten"])

    @property
    def missing(self) -> str:
        """A remark on what this run cannot predict; "" if it predicts all."""
        if self.classifier is None:
            return f"no {self.names.noun}: {self._path} is an autoencoder's"
        return f"no reconstruction: {self._path} is a classifier's" if self.autoencoder is None else ""

    @cached_property
    def limit(self) -> float | None:
        """The MSE that 99.9 % of the test images do not exceed; None if it is not known, which is said."""
        if self.autoencoder is None:
            return None
        try:
            images = images_of(self._checkpoint, self._path, "test", self._plugins).images
        except AeprobeError as error:
            note(f"no warnings of pictures that are unlike the test images: {error}")
            return None
        errors = [self._reconstructed(part)[1] for part in images.split(PART)]
        return float(np.quantile(torch.cat(errors).numpy(), COMMON))

    def _reconstructed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert self.autoencoder is not None
        found = self.autoencoder.predict(images)["reconstruction"]
        return found, (found - self.autoencoder.normalize.pixels(images)).square().mean((1, 2, 3))

    def reader(self, as_is: bool = False) -> Callable[[Path], Image]:
        """Return the function that reads a picture's file as an image for the networks.

        Args:
            as_is: whether pictures are such images already; other images than MNIST's always are, resized at most.
        """
        return partial(digit if self.digits and not as_is else picture, shape=self.shape)

    def answer(self, named: Iterable[tuple[str, Image]]) -> Iterator[Answer]:
        """Yield the predictions for images with their names, in their order; some are computed at a time."""
        for part in batched(named, PART):
            yield from self._answered(part)

    def _answered(self, named: Sequence[tuple[str, Image]]) -> Iterator[Answer]:
        images = torch.from_numpy(np.stack([image for _, image in named]))
        probabilities = self.classifier.predict(images)["probabilities"] if self.classifier else None
        made, errors = self._reconstructed(images) if self.autoencoder else (None, None)
        for i, (name, image) in enumerate(named):
            mse = errors[i].item() if errors is not None else None
            unlike = mse is not None and self.limit is not None and mse > self.limit
            likely = probabilities[i] if probabilities is not None else None
            yield Answer(name, image, likely, made[i] if made is not None else None, mse, unlike)
