"""Bytes of an image as a quantised code, and what that loses, beside PCA and files of pictures."""

import io
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
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
from aeprobe_tools.figures.charts import DARK, GREY, ORANGE, Drawing, new_axes
from aeprobe_tools.figures.pca import ROUNDING, fitted
from aeprobe_tools.pages import BEYOND, Blocks, Table, Text
from aeprobe_tools.wording import NONE, NOTHING, beside, counted, number, percent

log = logging.getLogger("aeprobe")
Row = Mapping[str, Any]
Points = Sequence[tuple[float, float]]  # bytes and MSE
LETTERS = 11  # a phone shows the figure at half its size
# Each format, its quality (None: lossless) and what Pillow is asked for: the smallest file that it can make.
FORMATS: list[tuple[str, int | None, dict[str, Any]]] = [
    *(("JPEG", quality, {"quality": quality, "optimize": True}) for quality in (1, 5, 10, 15, 25, 50, 75, 95)),
    *(("WebP", quality, {"quality": quality, "method": 6}) for quality in (0, 1, 2, 5, 15, 40, 75)),
    ("WebP", None, {"lossless": True, "quality": 100, "method": 6}),
    ("PNG", None, {"optimize": True}),
]
MOST, LEAST, NUMBERS = 1_000, 50, 4_000_000  # images that are written; fewer where each has many numbers
MOST_SIDE = 16_383  # of WebP; JPEG takes more


@dataclass(frozen=True)
class Coder:
    """Functions from images to codes and back, some at a time.

    Attributes:
        encode: from images, uint8 (N, channels, height, width), to codes, (N, code).
        decode: back, to floats in about [0, 1].
    """

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]

    def codes(self, images: Tensor) -> Tensor:
        """Return the codes of all images."""
        return in_parts(self.encode, images)

    def ranges(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the largest value of each number of their codes, each (code,)."""
        low, high = self.encode(images[:1]).aminmax(dim=0)
        for part in images.split(PART):
            codes = self.encode(part)
            # In place, as in `in_parts`.
            torch.minimum(low, codes.amin(0), out=low)
            torch.maximum(high, codes.amax(0), out=high)
        return low, high

    def mse(self, codes: Tensor, images: Tensor) -> float:
        """Return the MSE per pixel in [0, 1] between images and their codes decoded, a mean over the images."""
        total = 0.0
        for code, part in zip(codes.split(PART), images.split(PART), strict=True):
            total += (self.decode(code).double() - as_pixels(part).double()).square().sum().item()
        mse = total / images.numel()
        return mse if mse > ROUNDING else 0.0


class Compression(Evaluation):
    """Rate and distortion: the bytes of the test images as quantised codes, and what they lose.

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
        ours = self._rates(_learned(module), train, test, _classifier(subject, module))
        linear = self._rates(_linear(train, module.code_size), train, test)
        count, files = measured(test.images)
        numbers = {"images": len(test), "code": module.code_size, "rates": ours, "pca": linear}
        numbers |= {"picture_files": count, "files": files}
        finest = ours[len(self.bits) - 1]
        final = {f"test/mse_{finest['bits']}_bits": finest["mse"]}
        return Findings(numbers, final, higher_is_better=False)

    def figures(self, found: Findings) -> Figures:
        """Yield the MSE over the bytes."""
        yield "compression", lambda: curves(found.numbers)

    @classmethod
    def page(cls, numbers: Mapping[str, Any]) -> Blocks:
        """Yield a sentence, a table of rates, one of other codes, and the figure."""
        rates, files = numbers["rates"], numbers["files"]
        uniform = [row for row in rates if row["kind"] == "uniform"]
        (exact,) = (row for row in rates if row["bits"] == 32)
        yield Text("An image in a few bytes", _sentence(uniform[-1], exact, files))
        yield _rate_table(rates, counted(numbers["images"], "test"))
        linear = [row for row in numbers["pca"] if row["kind"] == "uniform"]
        yield _others_table(linear, files, counted(numbers["picture_files"], "test"))
        yield "compression"

    def _rates(
        self, coder: Coder, train: Tensor, test: ImageDataset, classifier: Classifier | None = None
    ) -> list[dict[str, Any]]:
        """Return a row for each number of bits."""
        (low, high), codes = coder.ranges(train), coder.codes(test.images)
        rows: list[dict[str, Any]] = []

        def add(kind: str, bits: int, values: Tensor, needed: float | None = None) -> None:
            mse = coder.mse(values, test.images)
            row: dict[str, Any] = {
                "bits": bits,
                "kind": kind,
                "bytes": bits * codes.shape[1] / 8,
                "entropy_bytes": needed,
            }
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
    """Return the classifier of the same stage=all run, if it has this very encoder and the images have labels."""
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


def measured(images: Tensor) -> tuple[int, list[dict[str, Any]]]:
    """Write images, evenly spaced, as files; return how many, and a row for each format and quality.

    Args:
        images: uint8 (N, channels, height, width); none are written of other than 1 (grey) or 3 (colours)
            channels, or where a side is longer than `MOST_SIDE`.

    Returns:
        Rows of `format`, `quality`, `bytes`: a mean over files with their headers, `mse`: per pixel in [0, 1], a
        mean over the images, and `psnr`.
    """
    _, channels, *sides = images.shape
    if channels not in (1, 3) or max(sides) > MOST_SIDE:
        return 0, []
    most = min(MOST, max(LEAST, NUMBERS // images[0].numel()))
    arrays = images[:: math.ceil(len(images) / most)].movedim(1, 3).numpy()
    pixels = [array[:, :, 0] if channels == 1 else array for array in arrays]
    rows = []
    for name, quality, options in FORMATS:
        if name == "WebP" and not features.check("webp"):
            continue
        found = np.array([_written(array, name, options) for array in pixels])
        mse = float(found[:, 1].mean())
        row = {"format": name, "quality": quality, "bytes": float(found[:, 0].mean())}
        rows.append(row | {"mse": mse, "psnr": psnr(mse)})
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
    ours, linear, files = numbers["rates"], numbers["pca"], numbers["files"]
    uniform = [row for row in ours if row["kind"] == "uniform"]
    coded = [(row["entropy_bytes"], row["mse"]) for row in uniform]
    lines: dict[str, tuple[str, str, bool, Points]] = {
        f"code, {_bits(uniform)} and floats": ("o-", DARK, True, _points(ours)),
        "code, entropy-coded": ("o--", DARK, False, coded),
        "PCA": ("s-", ORANGE, True, _points(linear)),
        "JPEG": ("^-", GREY, True, _points(row for row in files if row["format"] == "JPEG")),
        "WebP": ("v--", GREY, False, _points(row for row in files if row["format"] == "WebP")),
    }
    title, place = "Bytes of an image and what they lose", (0.145, 0.125, 0.83, 0.79)
    figure, axes = new_axes(
        title, "bytes of an image (log scale)", "test MSE (log scale)", size=(6.6, 4.6), place=place
    )
    for name, (form, colour, filled, points) in lines.items():
        shown = [(x, y) for x, y in points if x > 0 and 0 < y < math.inf]
        if shown:
            face = colour if filled else "white"
            axes.plot(*zip(*shown, strict=True), form, color=colour, markerfacecolor=face, ms=5.5, label=name)
    for name, form in (("PNG", "-."), ("WebP", ":")):
        for row in files:
            if row["format"] == name and row["quality"] is None:
                axes.axvline(row["bytes"], color=GREY, ls=form, lw=1.2, label=f"{name}, lossless")
    if axes.lines:
        _log_scales(axes)
        axes.legend(frameon=False, fontsize=LETTERS, loc="lower left")
    data = {name: [list(point) for point in points] for name, (*_, points) in lines.items()}
    data["lossless"] = [[row["format"], row["bytes"]] for row in files if row["quality"] is None]
    return Drawing([], title, _alt(numbers), figure, data)


def _bits(rows: Sequence[Mapping[str, Any]]) -> str:
    few, many = rows[0]["bits"], rows[-1]["bits"]
    return f"{few} to {many} bits" if few < many else f"{few} bit{'s' if few > 1 else ''}"


def _points(rows: Iterable[Row]) -> Points:
    return [(row["bytes"], row["mse"]) for row in rows if row.get("quality", "") is not None]


def _log_scales(axes: Axes) -> None:
    """Make both axes logarithmic; a lossless format alone has no MSE to show."""
    lossy = any(line.get_marker() != "None" for line in axes.lines)
    axes.set_xscale("log")
    axes.set_yscale("log" if lossy else "linear")
    for axis, steps in ((axes.xaxis, (1, 2, 5)), (axes.yaxis, (1,))) if lossy else ((axes.xaxis, (1, 2, 5)),):
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
        axis.label.set_fontsize(LETTERS)
    axes.tick_params(labelsize=LETTERS)


def _alt(numbers: Mapping[str, Any]) -> str:
    uniform = [row for row in numbers["rates"] if row["kind"] == "uniform"]
    few, last = uniform[0], uniform[-1]
    ends = f"{last['bytes']:.4g} bytes at {last['bits']} bits a number (MSE {number(last['mse'])})"
    if few is not last:
        ends = f"from {few['bytes']:.4g} bytes at {few['bits']} bits a number (MSE {number(few['mse'])}) to {ends}"
    images = counted(numbers["images"], "test")
    linear = next(row for row in numbers["pca"] if row["bits"] == last["bits"])
    text = f"The codes of {images} take {ends}; PCA at {last['bits']} bits has an MSE of {number(linear['mse'])}."
    for name in ("JPEG", "WebP"):
        rows = [row for row in numbers["files"] if row["format"] == name and row["quality"] is not None]
        if rows:
            low, high = (pick(rows, key=lambda row: float(row["bytes"])) for pick in (min, max))
            text += f" {name} takes from {low['bytes']:.0f} bytes ({number(low['mse'])})"
            text += f" to {high['bytes']:.0f} ({number(high['mse'])})."
    for row in numbers["files"]:
        if row["format"] == "PNG":
            text += f" PNG loses nothing in {row['bytes']:.0f} bytes."
    return text


def _rate_table(rows: Sequence[Row], images: str) -> Table:
    read = any("accuracy" in row for row in rows)
    head = ["Bits", "Bytes", "Entropy", "MSE", *(["Accuracy"] if read else [])]
    cells = [
        [
            f"float{row['bits']}" if row["kind"] == "float" else str(row["bits"]),
            _plain(row["bytes"]),
            _plain(row["entropy_bytes"]),
            _mse(row["mse"]),
            *([percent(row.get("accuracy"))] if read else []),
        ]
        for row in rows
    ]
    note = (
        "Bits of a number of the code; bytes of an image, without the decoder. Entropy: bytes that are needed "
        "where each number is coded by itself as well as possible, estimated on these codes."
    )
    return Table(BEYOND, f"Codes of {images} in few bits", head, cells, note, numeric=True)


def _others_table(linear: Sequence[Row], files: Sequence[Row], written: str) -> Table:
    cells = [["PCA", f"{row['bits']} bits", *_numbers(row)] for row in linear]
    for row in files:
        quality = "lossless" if row["quality"] is None else f"quality {row['quality']}"
        cells.append([str(row["format"]), quality, *_numbers(row)])
    note = f"Files of {written}, with their headers; PCA of all." if files else ""
    title = "Other codes of the same images"
    return Table(BEYOND, title, ["", "", "Bytes", "MSE", "PSNR, dB"], cells, note, numeric=True)


def _numbers(row: Row) -> list[str]:
    return [_plain(row["bytes"]), _mse(row["mse"]), NONE if row["psnr"] is None else f"{row['psnr']:.2f}"]


def _sentence(row: Row, whole: Row, files: Sequence[Row]) -> str:
    bits = "1 bit" if row["bits"] == 1 else f"{row['bits']} bits"
    text = (
        f"At {bits} a number an image takes {_plain(row['bytes'])} bytes, or {_plain(row['entropy_bytes'])} with "
        f"an ideal entropy coder, and has an MSE of {number(row['mse'])}, {beside(row['mse'], whole['mse'], 2)} "
        f"that of the code as it is, which takes {_plain(whole['bytes'])} bytes"
    )
    if min(row["mse"], whole["mse"]) > NOTHING:
        text += f" ({10 * math.log10(row['mse'] / whole['mse']):z.3f} dB)"
    return " ".join([f"{text}.", *(_format_beside(name, row, files) for name in ("JPEG", "WebP", "PNG"))]).strip()


def _format_beside(name: str, row: Row, files: Sequence[Row]) -> str:
    """Return what a format needs for the MSE of a row of codes, exactly as far as it was measured."""
    own = sorted((one for one in files if one["format"] == name), key=lambda one: float(one["bytes"]))
    lossy = [one for one in own if one["quality"] is not None]
    if own and not lossy:
        return f"{name} loses nothing in {own[0]['bytes']:.0f} bytes."
    if not own:
        return ""
    good = [one for one in lossy if one["mse"] <= row["mse"]]
    if not good:
        best = min(lossy, key=lambda one: float(one["mse"]))
        return f"{name} is never that good: at quality {best['quality']} its MSE is {number(best['mse'])}."
    least, few = good[0], lossy[0]
    times = f"{least['bytes'] / row['bytes']:.1f} times as many" if row["bytes"] else "and the code none"
    if least is few:
        return (
            f"{name} is never that bad: at quality {few['quality']} it takes {few['bytes']:.0f} bytes, {times}, "
            f"with an MSE of {number(few['mse'])}."
        )
    return (
        f"{name} needs {least['bytes']:.0f} bytes for that MSE or less (quality {least['quality']} of those that "
        f"were measured: {number(least['mse'])}), {times}; its smallest files, of {few['bytes']:.0f} bytes, have "
        f"{number(few['mse'])}."
    )


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def _mse(value: float | None) -> str:
    return NONE if value is None else f"{value:.5f}"
