"""Bytes of an image as a quantised code, and what that loses, beside PCA and files of pictures."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aeprobe.data.datamodule import PART, ImageDataset, as_pixels, in_parts
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation, Figures, Findings, Subject
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe_tools.evaluations.quantizer import Quantizer, entropy, require_bits
from aeprobe_tools.figures.charts import DARK, GREY, LETTERS, ORANGE, Drawing, new_axes
from aeprobe_tools.figures.pca import ROUNDING, fitted
from aeprobe_tools.pages import BEYOND, Blocks, Table, Text
from aeprobe_tools.wording import NONE, counted, number, percent

Row = Mapping[str, Any]
Coder = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
# Each format, its quality (None: lossless) and what Pillow is asked for: the smallest file that it can make.
FORMATS: list[tuple[str, int | None, dict[str, Any]]] = [
    *(("JPEG", quality, {"quality": quality, "optimize": True}) for quality in (1, 5, 10, 15, 25, 50, 75, 95)),
    *(("WebP", quality, {"quality": quality, "method": 6}) for quality in (0, 1, 2, 5, 15, 40, 75)),
    ("WebP", None, {"lossless": True, "quality": 100, "method": 6}),
    ("PNG", None, {"optimize": True}),
]
MOST, LEAST, NUMBERS = 1_000, 50, 4_000_000  # images that are written; fewer where each has many numbers


class Compression(Evaluation):
    """The bytes of the test images as quantised codes, and what is lost with them.

    Each number of a code is quantised uniformly, in its range over the training images (`quantizer`), or rounded
    to a float. The bytes of the decoder, and of PCA's directions and mean, are not counted.

    In metrics.json, `evaluations.compression` has:

    - `images`: the number of test images. `code`: how many numbers a code has.
    - `rates`: a row for each number of bits. `bits`, of a number; `kind`: "uniform", or "float" for 16 and 32
      bits (32: the codes as they are); `bytes`, of an image; `entropy_bytes`: the bytes of an ideal coder of each
      number by itself: the entropy of the quantised test codes, without a table (null for floats); `mse`: per
      pixel in [0, 1], a mean over the images; `psnr`: 10 log10(1 / mse) of that mean, in dB (null where the MSE
      is 0); `accuracy`: of the classifier of the same stage=all run on these codes, from 0 to 1, if there is one.
    - `pca`: such rows, without an accuracy, of as many principal components of training images. Their images are
      not clipped to [0, 1].
    - `files`: a row for each format and quality that Pillow writes, `format`, `quality` (null: lossless), `bytes`
      of the whole file, a mean over the images, `mse` and `psnr`; none for images of other than one or three
      channels. `picture_files`: how many of the test images were written, evenly spaced.

    Args:
        bits: of a quantised number; each 1 to 8.
    """

    def __init__(self, bits: Sequence[int] = (2, 3, 4, 5, 6, 7, 8)) -> None:
        for width in bits:
            require_bits(width)
        if not bits or len({*bits}) != len(bits):
            raise ValueError(f"bits={[*bits]}: must be one or more, each another")
        self.bits = sorted(bits)

    def __call__(self, subject: Subject) -> Findings:
        """Measure a trained autoencoder."""
        module, train, test = subject.module, subject.splits["train"].images, subject.splits["test"]
        if not isinstance(module, Autoencoder):
            raise AeprobeError("compression: a classifier decodes nothing: give the run of an autoencoder")
        weight, linear = next(module.parameters()), fitted(train, module.code_size)
        learned = (lambda images: module.encode(as_pixels(images).to(weight)), module.decoder)
        pca = (linear.encode, lambda codes: linear.decode(codes).view(-1, *module.shape))
        rates = self._rates(learned, train, test, _classifier(subject, module))
        numbers = {"images": len(test), "code": module.code_size, "rates": rates}
        numbers["pca"] = self._rates(pca, train, test)
        numbers["picture_files"], numbers["files"] = measured(test.images)
        finest = rates[len(self.bits) - 1]
        return Findings(numbers, {f"test/mse_{finest['bits']}_bits": finest["mse"]}, higher_is_better=False)

    def figures(self, found: Findings) -> Figures:
        """Yield the MSE over the bytes."""
        yield "compression", lambda: curves(found.numbers)

    @classmethod
    def page(cls, numbers: Mapping[str, Any]) -> Blocks:
        """Yield a sentence, a table of rates, one of other codes, and the figure."""
        rates, files = numbers["rates"], numbers["files"]
        yield Text("An image in a few bytes", _sentence(_uniform(rates)[-1], rates[-1], files))
        cells = [
            [
                f"{'float' if row['kind'] == 'float' else ''}{row['bits']}",
                *(_plain(row["bytes"]), _plain(row["entropy_bytes"]), f"{row['mse']:.5f}"),
                percent(row.get("accuracy")),
            ]
            for row in rates
        ]
        title = f"Codes of {counted(numbers['images'], 'test image')} in few bits"
        note = (
            "Bits of a number of the code; bytes of an image, without the decoder. Entropy: bytes that are needed "
            "where each number is coded by itself as well as possible, estimated on these codes."
        )
        yield Table(BEYOND, title, ["Bits", "Bytes", "Entropy", "MSE", "Accuracy"], cells, note, numeric=True)
        others = [("PCA", f"{row['bits']} bits", row) for row in _uniform(numbers["pca"])]
        others += [(row["format"], _quality(row), row) for row in files]
        cells = [
            [*names, _plain(row["bytes"]), f"{row['mse']:.5f}", _plain(row["psnr"])] for *names, row in others
        ]
        note = f"Files of {counted(numbers['picture_files'], 'test image')}, with their headers; PCA of all."
        head = ["", "", "Bytes", "MSE", "PSNR, dB"]
        yield Table(BEYOND, "Other codes of the same images", head, cells, note, numeric=True)
        yield "compression"

    def _rates(
        self, coder: Coder, train: Tensor, test: ImageDataset, classifier: Classifier | None = None
    ) -> list[dict[str, Any]]:
        """Return a row for each number of bits; `coder` are the functions from images to codes and back."""
        encode, decode = coder
        codes = in_parts(encode, test.images)
        low, high = in_parts(encode, train).aminmax(dim=0)
        rows = []
        for bits in (*self.bits, 16, 32):
            values, entropy_bytes = codes, None
            if bits in self.bits:
                quantizer = Quantizer(low, high, bits)
                indices = quantizer.indices(codes)
                values, entropy_bytes = quantizer.values(indices).to(codes), entropy(indices) / 8
            elif bits == 16:
                values = codes.clamp(-65_504, 65_504).half().to(codes)
            total = 0.0
            for code, images in zip(values.split(PART), test.images.split(PART), strict=True):
                total += (decode(code).double() - as_pixels(images).double()).square().sum().item()
            mse = total / test.images.numel() if total > ROUNDING * test.images.numel() else 0.0
            row: dict[str, Any] = {"bits": bits, "kind": "uniform" if bits in self.bits else "float"}
            row |= {"bytes": bits * codes.shape[1] / 8, "entropy_bytes": entropy_bytes}
            row |= {"mse": mse, "psnr": psnr(mse)}
            if classifier is not None:
                labels = in_parts(classifier, values.to(next(classifier.parameters()))).argmax(1)
                row["accuracy"] = (labels == test.labels).double().mean().item()
            rows.append(row)
        return rows


def _classifier(subject: Subject, module: Autoencoder) -> Classifier | None:
    """Return the classifier of the same stage=all run, if it has this very encoder and the images have labels."""
    if subject.ckpt is None or (subject.splits["test"].labels < 0).any():
        return None
    with suppress(AeprobeError):
        loaded = checkpoints.load(subject.ckpt.absolute().parents[2] / "classifier")
        theirs, ours = loaded.encoder.state_dict(), module.encoder.state_dict()
        alike = theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in ours)
        return loaded if isinstance(loaded, Classifier) and alike else None
    return None


def measured(images: Tensor) -> tuple[int, list[dict[str, Any]]]:
    """Write images, uint8, evenly spaced, as files; return how many, and a row for each format and quality.

    None are written of other than 1 (grey) or 3 (colours) channels.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        return 0, []
    most = min(MOST, max(LEAST, NUMBERS // images[0].numel()))
    arrays = images[:: math.ceil(len(images) / most)].movedim(1, 3).numpy()
    pixels = [array[:, :, 0] if channels == 1 else array for array in arrays]
    rows = []
    for name, quality, options in FORMATS:
        size, mse = np.mean([_written(array, name, options) for array in pixels], axis=0).tolist()
        rows.append({"format": name, "quality": quality, "bytes": size, "mse": mse, "psnr": psnr(mse)})
    return len(pixels), rows


def _written(pixels: NDArray[np.uint8], name: str, options: dict[str, Any]) -> tuple[int, float]:
    """Return the bytes of one image's file, and its MSE of pixels in [0, 1]."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.save(file, name, **options)
    read = np.asarray(Image.open(file).convert(image.mode), np.float64)
    return file.getbuffer().nbytes, float(np.square((read - pixels) / 255).mean())


def psnr(mse: float) -> float | None:
    """Return the peak signal-to-noise ratio of an MSE of pixels in [0, 1], in dB; None if nothing is lost."""
    return 10 * math.log10(1 / mse) if mse > 0 else None


def curves(numbers: Mapping[str, Any]) -> Drawing:
    """Draw the MSE of an image over its bytes: of quantised codes, of PCA's and of files of pictures."""
    rates, files = numbers["rates"], numbers["files"]
    lines = {
        f"code, {rates[0]['bits']} to 32 bits": ("o-", DARK, DARK, _points(rates)),
        "code, entropy-coded": ("o--", DARK, "white", _points(_uniform(rates), "entropy_bytes")),
        "PCA": ("s-", ORANGE, ORANGE, _points(numbers["pca"])),
    }
    for name, form, face in (("JPEG", "^-", GREY), ("WebP", "v--", "white")):
        lossy = [row for row in files if row["format"] == name and row["quality"] is not None]
        lines[name] = (form, GREY, face, sorted(_points(lossy)))
    title, place = "Bytes of an image and what they lose", (0.145, 0.125, 0.83, 0.79)
    names = ("bytes of an image (log scale)", "test MSE (log scale)")
    figure, axes = new_axes(title, *names, size=(6.6, 4.6), place=place)
    alt = [counted(numbers["images"], "test image")]
    for name, (form, colour, face, points) in lines.items():
        if shown := [point for point in points if min(point) > 0]:
            axes.plot(*zip(*shown, strict=True), form, color=colour, markerfacecolor=face, ms=5.5, label=name)
        ends = [f"{size:.4g} bytes (MSE {number(mse)})" for size, mse in (*points[:1], *points[-1:])]
        alt += [f"{name}: {' to '.join(ends)}"] if ends else []
    lossless = [[row["format"], row["bytes"]] for row in files if row["quality"] is None]
    for (name, size), form in zip(lossless, (":", "-."), strict=False):
        axes.axvline(size, color=GREY, ls=form, lw=1.2, label=f"{name}, lossless")
        alt.append(f"{name}, lossless: {size:.4g} bytes")
    axes.set(xscale="log", yscale="log")
    for axis, digits in ((axes.xaxis, (1, 2, 5)), (axes.yaxis, (1,))):
        axis.label.set_fontsize(LETTERS)
        axis.set_major_locator(LogLocator(subs=digits))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=LETTERS)
    axes.legend(frameon=False, fontsize=LETTERS, loc="lower left")
    data = {name: [list(point) for point in points] for name, (*_, points) in lines.items()}
    return Drawing([], title, f"{'; '.join(alt)}.", figure, data | {"lossless": lossless})


def _uniform(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "uniform"]


def _points(rows: Sequence[Row], of: str = "bytes") -> list[tuple[float, float]]:
    return [(row[of], row["mse"]) for row in rows]


def _sentence(row: Row, exact: Row, files: Sequence[Row]) -> str:
    """Compare a row of codes with the codes as they are, and with files of its MSE or less."""
    texts = [
        f"With {row['bits']} bits for each number an image takes {_plain(row['bytes'])} bytes, or "
        f"{_plain(row['entropy_bytes'])} with an ideal entropy coder, and has an MSE of {row['mse']:.5f}; the "
        f"code as it is takes {_plain(exact['bytes'])} bytes and has {exact['mse']:.5f}."
    ]
    for name in dict.fromkeys(one["format"] for one in files):
        good = [one for one in files if one["format"] == name and one["mse"] <= row["mse"]]
        if good:
            least = min(good, key=lambda one: float(one["bytes"]))
            texts.append(f"{name} needs {least['bytes']:.0f} bytes for that MSE or less ({_quality(least)}).")
        else:
            texts.append(f"{name} has a larger MSE at every quality.")
    return " ".join(texts)


def _quality(row: Row) -> str:
    return "lossless" if row["quality"] is None else f"quality {row['quality']}"


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"
