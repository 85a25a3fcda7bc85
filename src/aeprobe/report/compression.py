"""What the page says of quantised codes: a table of rates, one of files of pictures, and a sentence on both."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aeprobe.report.tables import BEYOND, Blocks, Table
from aeprobe.wording import NONE, NOTHING, beside, counted, number, percent

MOST = 20  # rows of a table


def words(numbers: Mapping[str, Any]) -> Blocks:
    """The blocks below the evaluation's name, of what `Compression` found."""
    rows, files = numbers["rates"][:MOST], numbers["files"][:MOST]
    uniform = [row for row in rows if row["kind"] == "uniform"]
    (whole,) = (row for row in rows if row["bits"] == 32)
    yield "An image in a few bytes", _sentence(uniform[-1], whole, files)
    images, written = counted(numbers["images"], "test"), counted(numbers["picture_files"], "test")
    yield _rates(rows, images)
    yield _beside_them([row for row in numbers["pca"][:MOST] if row["kind"] == "uniform"], files, written)


def _rates(rows: Sequence[Mapping[str, Any]], images: str) -> Table:
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


def _beside_them(linear: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]], written: str) -> Table:
    cells = [["PCA", f"{row['bits']} bits", *_numbers(row)] for row in linear]
    for row in files:
        quality = "lossless" if row["quality"] is None else f"quality {row['quality']}"
        cells.append([str(row["format"]), quality, *_numbers(row)])
    note = f"Files of {written}, with their headers; PCA of all." if files else ""
    title = "Other codes of the same images"
    return Table(BEYOND, title, ["", "", "Bytes", "MSE", "PSNR, dB"], cells, note, numeric=True)


def _numbers(row: Mapping[str, Any]) -> list[str]:
    return [_plain(row["bytes"]), _mse(row["mse"]), NONE if row["psnr"] is None else f"{row['psnr']:.2f}"]


def _sentence(row: Mapping[str, Any], whole: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> str:
    bits = "1 bit" if row["bits"] == 1 else f"{row['bits']} bits"
    text = (
        f"At {bits} a number an image takes {_plain(row['bytes'])} bytes, or {_plain(row['entropy_bytes'])} with "
        f"an ideal entropy coder, and has an MSE of {number(row['mse'])}, {beside(row['mse'], whole['mse'], 2)} "
        f"that of the code as it is, which takes {_plain(whole['bytes'])} bytes"
    )
    if min(row["mse"], whole["mse"]) > NOTHING:
        text += f" ({10 * math.log10(row['mse'] / whole['mse']):z.3f} dB)"
    return " ".join([f"{text}.", *(_beside(name, row, files) for name in ("JPEG", "WebP", "PNG"))]).strip()


def _beside(name: str, row: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> str:
    """What a format needs for the MSE of a row of codes, exactly as far as it was measured."""
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
