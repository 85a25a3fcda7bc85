"""How many bytes an image takes as a quantised code, and what that loses, beside PCA and files of pictures."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aeprobe.data.datamodule import PART, ImageDataset
from aeprobe.data.pixels import as_pixels
from aeprobe.errors import AeprobeError
from aeprobe.evaluation.evaluation import Evaluation, Findings, Subject, in_parts
from aeprobe.evaluation.picture_files import measured, psnr
from aeprobe.figures import rates
from aeprobe.figures.pca import ROUNDING, fitted
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.quantizer import Quantizer, entropy, require_bits

log = logging.getLogger("aeprobe")
Row = dict[str, Any]


@dataclass(frozen=True)
class Coder:
    """What makes codes of images and images of codes, some at a time.

    Attributes:
        encode: from images, uint8 (N, channels, height, width), to codes, (N, code).
        decode: back, to floats in about [0, 1].
    """

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]

    def codes(self, images: Tensor) -> Tensor:
        """The codes of all images."""
        return in_parts(self.encode, images)

    def ranges(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest value of each number of their codes, each (code,)."""
        low, high = self.encode(images[:1]).aminmax(dim=0)
        for part in images.split(PART):
            codes = self.encode(part)
            # In place, as in `in_parts`.
            torch.minimum(low, codes.amin(0), out=low)
            torch.maximum(high, codes.amax(0), out=high)
        return low, high

    def mse(self, codes: Tensor, images: Tensor) -> float:
        """Between images and what is made of their codes: per pixel in [0, 1], a mean over the images."""
        total = 0.0
        for code, part in zip(codes.split(PART), images.split(PART), strict=True):
            total += (self.decode(code).double() - as_pixels(part).double()).square().sum().item()
        mse = total / images.numel()
        return mse if mse > ROUNDING else 0.0


class Compression(Evaluation):
    """What the test images lose as codes of few bytes: rate and distortion.

    Each number of a code is quantised uniformly, in its range over the training images (`models.quantizer`), or
    rounded to a float of 16 bits (IEEE 754). Of b bits a number, an image takes b · code / 8 bytes. The decoder,
    which whoever reads codes must have, is not counted, nor PCA's directions and mean.

    In metrics.json, `evaluations.compression` has:

    - `images`: how many test images there are. `code`: how many numbers a code has.
    - `rates`: a row for each number of bits. `bits`, of a number; `kind`: "uniform", or "float" for 16 and 32
      bits (32: the codes as they are); `bytes`, of an image; `entropy_bytes`: what an image needs where each
      number is coded by itself, and as well as possible: the entropy of the quantised test codes, without the
      table that a coder needs (null for floats); `mse`: per pixel in [0, 1], a mean over the images; `psnr`:
      10 log10(1 / mse) of that mean, in dB (null where the MSE is 0); `accuracy`: of the classifier of the same
      stage=all run on these codes, from 0 to 1, only where there is one.
    - `pca`: such rows, without an accuracy, of as many principal components of training images, quantised alike.
      What is made of them is not clipped to [0, 1].
    - `files`: a row for each format and quality that Pillow writes, `format`, `quality` (null: lossless), `bytes`
      of the whole file with its headers, a mean over the images, `mse` and `psnr`. `picture_files`: how many of
      the test images, evenly spaced. None for images of other than one or three channels.

    Args:
        bits: of a quantised number; each 1 to 8.
    """

    def __init__(self, bits: Sequence[int] = (2, 3, 4, 5, 6, 7, 8)) -> None:
        for number in bits:
            require_bits(number)
        if not bits or len({*bits}) != len(bits):
            raise ValueError(f"bits={[*bits]}: must be one or more, each another")
        self.bits = sorted(bits)

    def __call__(self, subject: Subject) -> Findings:
        """Measures a trained autoencoder."""
        module, train, test = subject.module, subject.splits["train"].images, subject.splits["test"]
        if not isinstance(module, Autoencoder):
            raise AeprobeError("compression: a classifier decodes nothing: give the run of an autoencoder")
        ours = self._rates(_learned(module), train, test, _classifier(subject, module))
        linear = self._rates(_linear(train, module.code_size), train, test)
        count, files = measured(test.images)
        numbers = {"images": len(test), "code": module.code_size, "rates": ours, "pca": linear}
        numbers |= {"picture_files": count, "files": files}
        finest = ours[len(self.bits) - 1]
        final = {f"test/mse_{finest['bits']}_bits": finest["mse"]}
        return Findings(numbers, [("compression", lambda: rates.compression(numbers))], final, False)

    def _rates(
        self, coder: Coder, train: Tensor, test: ImageDataset, classifier: Classifier | None = None
    ) -> list[Row]:
        """A row for each number of bits."""
        (low, high), codes, rows = coder.ranges(train), coder.codes(test.images), []

        def add(kind: str, bits: int, values: Tensor, needed: float | None = None) -> None:
            mse = coder.mse(values, test.images)
            row = {"bits": bits, "kind": kind, "bytes": bits * codes.shape[1] / 8, "entropy_bytes": needed}
            row |= {"mse": mse, "psnr": psnr(mse)}
            if classifier is not None:
                weight = next(classifier.parameters())
                labels = in_parts(lambda codes: classifier(codes.to(weight)), values).argmax(1)
                row["accuracy"] = (labels == test.labels).double().mean().item()
            rows.append(row)

        for bits in self.bits:
            quantizer = Quantizer(low, high, bits)
            indices = quantizer.indices(codes)
            add("uniform", bits, quantizer.values(indices).to(codes), entropy(indices) / 8)
        largest = torch.finfo(torch.float16).max
        add("float", 16, codes.clamp(-largest, largest).half().to(codes))
        add("float", 32, codes)
        return rows


def _learned(module: Autoencoder) -> Coder:
    weight = next(module.parameters())
    return Coder(lambda images: module.encode(as_pixels(images).to(weight)), module.decoder)


def _linear(train: Tensor, components: int) -> Coder:
    code, shape = fitted(train, components), train.shape[1:]
    return Coder(code.encode, lambda codes: code.decode(codes).view(-1, *shape))


def _classifier(subject: Subject, module: Autoencoder) -> Classifier | None:
    """The one of the same stage=all run, where there is one on this very encoder, and the images have labels."""
    if subject.ckpt is None or (subject.splits["test"].labels < 0).any():
        return None
    run = subject.ckpt.absolute().parent.parent.parent / "classifier"
    try:
        found = checkpoints.load(run) if run.is_dir() else None
    except AeprobeError as error:
        log.warning("compression: no accuracy: %s", error)
        return None
    if not isinstance(found, Classifier):
        return None
    theirs, own = found.encoder.state_dict(), module.encoder.state_dict()
    alike = theirs.keys() == own.keys() and all(torch.equal(theirs[name], own[name]) for name in own)
    return found if alike else None
