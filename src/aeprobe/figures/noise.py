"""What to draw, as images without their noise: by an autoencoder, and by what one would use instead."""

from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import MaxNLocator

from aeprobe.figures.charts import DARK, GREY, ORANGE, Array, Drawing
from aeprobe.figures.panels import LETTERS, legend, panels
from aeprobe.figures.tiles import Row, grid

KINDS = {"gaussian": "standard deviation of the noise", "masking": "share of black pixels"}
STYLES = {
    "autoencoder": ("this autoencoder", DARK, "o-"),
    "plain": ("the plain autoencoder", DARK, "o:"),
    "PCA": ("PCA", ORANGE, "s-"),
    "median": ("median", GREY, "^-"),
    "total variation": ("total variation", GREY, "v--"),
    "non-local means": ("non-local means", GREY, "D:"),
    "noisy": ("noisy", "black", "x-"),
}
LEARNED = ("noisy", "autoencoder", "plain")


def images(rows: Mapping[str, Array], std: float, numbers: Mapping[str, Any]) -> Drawing:
    """Ten images, clean, with noise, and as three found them again.

    Args:
        rows: images by "clean", "noisy", "autoencoder" and every other method's name, N each.
        std: of the noise.
        numbers: as `evaluation.denoising.Denoising` found them.
    """
    (level,) = (one for one in numbers["levels"] if (one["kind"], one["level"]) == ("gaussian", std))
    psnr = {method["name"]: method["psnr"] for method in level["methods"]}
    best = max((name for name in psnr if name not in LEARNED), key=lambda name: psnr[name])
    lines: list[Row] = [("clean", rows["clean"], [])]
    for name, words in (("noisy", "noisy"), ("autoencoder", "this\nautoencoder"), (best, best)):
        lines.append((f"{words}\n{psnr[name]:.1f} dB", rows[name], []))
    title = f"Test images with noise of {std:g}, and what is found again"
    alt = (
        f"Of {numbers['images']:,} test images with noise of standard deviation {std:g} the autoencoder finds "
        f"{psnr['autoencoder']:.1f} dB again, and the best of the others, {best}, {psnr[best]:.1f} dB; "
        f"the noisy images have {psnr['noisy']:.1f} dB."
    )
    return Drawing([], "Images without their noise", alt, grid(title, lines), {"std": std, "psnr": psnr})


def curves(numbers: Mapping[str, Any]) -> Drawing:
    """The PSNR over the noise, a panel for each kind of it."""
    levels = numbers["levels"]
    kinds = [kind for kind in KINDS if any(level["kind"] == kind for level in levels)]
    figure, every = panels("How much of noisy test images is found again", [KINDS[kind] for kind in kinds])
    data: dict[str, list[list[float]]] = {}
    for kind, axes in zip(kinds, every, strict=True):
        for name, (words, colour, form) in STYLES.items():
            points = [
                (level["level"], method["psnr"])
                for level in levels
                for method in level["methods"]
                if (level["kind"], method["name"]) == (kind, name)
            ]
            if points:
                axes.plot(*zip(*sorted(points), strict=True), form, color=colour, ms=5, lw=1.6, label=words)
                data[f"{kind}, {name}"] = [list(point) for point in sorted(points)]
    every[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    every[0].set_ylabel("PSNR (dB)", fontsize=LETTERS)
    legend(figure, every[0])
    return Drawing([], "PSNR over the noise", _said(levels), figure, data)


def _said(levels: list[Mapping[str, Any]]) -> str:
    """How often the autoencoder is the best."""
    won = 0
    for level in levels:
        psnr = {method["name"]: method["psnr"] for method in level["methods"]}
        won += psnr["autoencoder"] >= max(psnr.values())
    return f"At {won} of {len(levels)} levels of noise the autoencoder finds the images best."
