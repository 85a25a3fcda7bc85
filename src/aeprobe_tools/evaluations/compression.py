"""Bytes of an image as a quantised code, and what that loses, beside PCA and files of pictures."""

import io
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor

from aeprobe.data.datamodule import PART, ImageDataset
from aeprobe.data.pixels import as_pixels
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation, Figures, Findings, Subject, in_parts
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe_tools.evaluations.quantizer import Quantizer, entropy, require_bits
from aeprobe_tools.figures.charts import DARK, GREY, LETTERS, ORANGE, Drawing, new_axes
from aeprobe_tools.figures.pca import ROUNDING, fitted
from aeprobe_tools.pages import BEYOND, Blocks, Table, Text
from aeprobe_tools.wording import NONE, NOTHING, beside, counted, number, percent

log = logging.getLogger("aeprobe")
Row = Mapping[str, Any]
Coder = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
Points = Sequence[tuple[float, float]]  # bytes and MSE
# Each format, its quality (None: lossless) and what Pillow is asked for: the smallest file that it can make.
FORMATS: list[tuple[str, int | None, dict[str, Any]]] = [
    *(("JPEG", quality, {"quality": quality, "optimize": True}) for quality in (1, 5, 10, 15, 25, 50, 75, 95)),
    *(("WebP", quality, {"quality": quality, "method": 6}) for quality in (0, 1, 2, 5, 15, 40, 75)),
    ("WebP", None, {"lossless": True, "quality": 100, "method": 6}),
    ("PNG", None, {"optimize": True}),
]
MOST, LEAST, NUMBERS = 1_000, 50, 4_000_000  # images that are written; fewer where each has many numbers
MOST_SIDE = 16_383  # of WebP; JPEG takes more


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
        (exact,) = (row for row in rates if row["bits"] == 32)
        yield Text("An image in a few bytes", _sentence(_uniform(rates)[-1], exact, files))
        yield _rate_table(rates, counted(numbers["images"], "test"))
        yield _others_table(_uniform(numbers["pca"]), files, counted(numbers["picture_files"], "test"))
        yield "compression"

    def _rates(
        self, coder: Coder, train: Tensor, test: ImageDataset, classifier: Classifier | None = None
    ) -> list[dict[str, Any]]:
        """Return a row for each number of bits; `coder` are the functions from images to codes and back."""
        encode, decode = coder
        codes = in_parts(encode, test.images)
        low, high = in_parts(encode, train).aminmax(dim=0)
        largest = torch.finfo(torch.float16).max
        rows = []
        for bits in (*self.bits, 16, 32):
            values, entropy_bytes = codes, None
            if bits in self.bits:
                quantizer = Quantizer(low, high, bits)
                indices = quantizer.indices(codes)
                values, entropy_bytes = quantizer.values(indices).to(codes), entropy(indices) / 8
            elif bits == 16:
                values = codes.clamp(-largest, largest).half().to(codes)
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
    run = subject.ckpt.absolute().parent.parent.parent / "classifier"
    try:
        loaded = checkpoints.load(run) if run.is_dir() else None
    except AeprobeError as error:
        log.warning("compression: no accuracy: %s", error)
        return None
    if not isinstance(loaded, Classifier):
        return None
    theirs, ours = loaded.encoder.state_dict(), module.encoder.state_dict()
    alike = theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in ours)
    return loaded if alike else None


def measured(images: Tensor) -> tuple[int, list[dict[str, Any]]]:
    """Write images, uint8, evenly spaced, as files; return how many, and a row for each format and quality.

    None are written of other than 1 (grey) or 3 (colours) channels, or where a side is longer than `MOST_SIDE`.
    """
    _, channels, *sides = images.shape
    if channels not in (1, 3) or max(sides) > MOST_SIDE:
        return 0, []
    most = min(MOST, max(LEAST, NUMBERS // images[0].numel()))
    arrays = images[:: math.ceil(len(images) / most)].movedim(1, 3).numpy()
    pixels = [array[:, :, 0] if channels == 1 else array for array in arrays]
    rows = []
    for name, quality, options in FORMATS:
        if name != "WebP" or features.check("webp"):
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
    lines: dict[str, tuple[str, str, bool, Points]] = {
        f"code, {rates[0]['bits']} to 32 bits": ("o-", DARK, True, _points(rates)),
        "code, entropy-coded": ("o--", DARK, False, _points(_uniform(rates), "entropy_bytes")),
        "PCA": ("s-", ORANGE, True, _points(numbers["pca"])),
        "JPEG": ("^-", GREY, True, _points(_files(files, "JPEG"))),
        "WebP": ("v--", GREY, False, _points(_files(files, "WebP"))),
    }
    title, place = "Bytes of an image and what they lose", (0.145, 0.125, 0.83, 0.79)
    names = ("bytes of an image (log scale)", "test MSE (log scale)")
    figure, axes = new_axes(title, *names, size=(6.6, 4.6), place=place)
    for name, (form, colour, filled, points) in lines.items():
        shown = [(x, y) for x, y in points if x > 0 and y > 0]
        if shown:
            face = colour if filled else "white"
            axes.plot(*zip(*shown, strict=True), form, color=colour, markerfacecolor=face, ms=5.5, label=name)
            axes.set_yscale("log")
    lossless = [row for row in files if row["quality"] is None]
    for row, form in zip(lossless, (":", "-."), strict=False):
        axes.axvline(row["bytes"], color=GREY, ls=form, lw=1.2, label=f"{row['format']}, lossless")
    axes.set_xscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(LETTERS)
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if axis is axes.xaxis else (1,)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=LETTERS)
    axes.legend(frameon=False, fontsize=LETTERS, loc="lower left")
    data = {name: [list(point) for point in points] for name, (*_, points) in lines.items()}
    data["lossless"] = [[row["format"], row["bytes"]] for row in lossless]
    return Drawing([], title, _alt(numbers), figure, data)


def _uniform(rows: Sequence[Row]) -> Sequence[Row]:
    return [row for row in rows if row["kind"] == "uniform"]


def _files(files: Sequence[Row], name: str) -> Sequence[Row]:
    """Return the rows of a format that loses something, the smallest files first."""
    lossy = [row for row in files if row["format"] == name and row["quality"] is not None]
    return sorted(lossy, key=lambda row: float(row["bytes"]))


def _points(rows: Sequence[Row], of: str = "bytes") -> Points:
    return [(row[of], row["mse"]) for row in rows]


def _alt(numbers: Mapping[str, Any]) -> str:
    """Name the smallest and the largest of each curve."""
    files = numbers["files"]
    curves = {f"Codes of {counted(numbers['images'], 'test')}": _uniform(numbers["rates"])}
    curves |= {"PCA": _uniform(numbers["pca"])} | {name: _files(files, name) for name in ("JPEG", "WebP")}
    curves |= {f"{row['format']}, lossless": [row] for row in files if row["quality"] is None}
    texts = []
    for name, rows in curves.items():
        ends = [f"{row['bytes']:.4g} bytes (MSE {number(row['mse'])})" for row in (*rows[:1], *rows[-1:])]
        texts += [f"{name}: {' to '.join(dict.fromkeys(ends))}."] if ends else []
    return " ".join(texts)


def _rate_table(rows: Sequence[Row], images: str) -> Table:
    read = any("accuracy" in row for row in rows)
    head = ["Bits", "Bytes", "Entropy", "MSE", *(["Accuracy"] if read else [])]
    cells = []
    for row in rows:
        bits = f"float{row['bits']}" if row["kind"] == "float" else str(row["bits"])
        accuracy = [percent(row.get("accuracy"))] if read else []
        cells.append([bits, _plain(row["bytes"]), _plain(row["entropy_bytes"]), f"{row['mse']:.5f}", *accuracy])
    note = (
        "Bits of a number of the code; bytes of an image, without the decoder. Entropy: bytes that are needed "
        "where each number is coded by itself as well as possible, estimated on these codes."
    )
    return Table(BEYOND, f"Codes of {images} in few bits", head, cells, note, numeric=True)


def _others_table(linear: Sequence[Row], files: Sequence[Row], written: str) -> Table:
    names = [["PCA", f"{row['bits']} bits"] for row in linear]
    qualities = ["lossless" if row["quality"] is None else f"quality {row['quality']}" for row in files]
    names += [[row["format"], quality] for row, quality in zip(files, qualities, strict=True)]
    cells = [
        [*name, _plain(row["bytes"]), f"{row['mse']:.5f}", NONE if row["psnr"] is None else f"{row['psnr']:.2f}"]
        for name, row in zip(names, (*linear, *files), strict=True)
    ]
    note = f"Files of {written}, with their headers; PCA of all." if files else ""
    head = ["", "", "Bytes", "MSE", "PSNR, dB"]
    return Table(BEYOND, "Other codes of the same images", head, cells, note, numeric=True)


def _sentence(row: Row, exact: Row, files: Sequence[Row]) -> str:
    """Compare a row of codes with the codes as they are, and with files of its MSE or less."""
    bits, mse = "1 bit" if row["bits"] == 1 else f"{row['bits']} bits", row["mse"]
    text = (
        f"At {bits} a number an image takes {_plain(row['bytes'])} bytes, or {_plain(row['entropy_bytes'])} with "
        f"an ideal entropy coder, and has an MSE of {number(mse)}, {beside(mse, exact['mse'], 2)} that of the "
        f"code as it is, which takes {_plain(exact['bytes'])} bytes"
    )
    if min(mse, exact["mse"]) > NOTHING:
        text += f" ({10 * math.log10(mse / exact['mse']):z.3f} dB)"
    texts = [f"{text}."]
    for name in ("JPEG", "WebP"):
        rows = _files(files, name)
        good = [one for one in rows if one["mse"] <= mse]
        if good and row["bytes"]:
            least, few = good[0], rows[0]
            texts.append(
                f"{name} needs {least['bytes']:.0f} bytes for that MSE or less (quality {least['quality']} of "
                f"those that were measured: {number(least['mse'])}), {least['bytes'] / row['bytes']:.1f} times as "
                f"many; its smallest files, of {few['bytes']:.0f} bytes, have {number(few['mse'])}."
            )
        elif rows:
            best = min(rows, key=lambda one: float(one["mse"]))
            texts.append(f"{name} has an MSE of {number(best['mse'])} at its best, quality {best['quality']}.")
    lossless = [one for one in files if one["quality"] is None]
    return " ".join([*texts, *(f"{one['format']} loses nothing in {one['bytes']:.0f} bytes." for one in lossless)])


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"
