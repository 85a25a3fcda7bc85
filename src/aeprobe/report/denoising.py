"""What the page says of noisy images: a table of one level of noise, and a sentence."""

from collections.abc import Mapping
from typing import Any

from aeprobe.report.tables import BEYOND, Blocks, Table
from aeprobe.wording import NONE, counted, number

SHOWN = ("gaussian", 0.5)
LEARNED = ("noisy", "autoencoder", "plain", "PCA")
NAMES = {"autoencoder": "this autoencoder", "plain": "the plain autoencoder"}


def words(numbers: Mapping[str, Any]) -> Blocks:
    """The blocks below the evaluation's name, of what `Denoising` found."""
    levels = numbers["levels"]
    level = next((one for one in levels if (one["kind"], one["level"]) == SHOWN), levels[0])
    methods = level["methods"][:20]
    psnr = {str(method["name"]): float(method["psnr"]) for method in methods}
    best = max((name for name in psnr if name not in LEARNED), key=lambda name: psnr[name])
    gain = psnr["autoencoder"] - psnr[best]
    kind = "normal noise of standard deviation" if level["kind"] == "gaussian" else "a share of black pixels of"
    images = counted(int(numbers["images"]), "test")
    yield (
        "Noisy images",
        f"Of {images} with {kind} {level['level']:g}, the autoencoder finds {psnr['autoencoder']:.1f} dB again, "
        f"{abs(gain):.1f} dB {'more' if gain >= 0 else 'less'} than the best filter, {best}.",
    )
    rows = [
        [
            NAMES.get(str(method["name"]), str(method["name"])),
            f"{method['setting']:g}" if "setting" in method else NONE,
            number(method["mse"]),
            f"{method['psnr']:.2f}",
            NONE if method["ssim"] is None else f"{method['ssim']:.3f}",
        ]
        for method in methods
    ]
    note = (
        "The mean over the images of each one's PSNR. A filter's setting is the best of a few on "
        f"{counted(int(numbers['tuned_on']), 'validation')}: a radius in pixels, a weight, a strength."
    )
    title = f"What is found again of {images} at {level['level']:g}"
    yield Table(BEYOND, title, ["", "Setting", "MSE", "PSNR, dB", "SSIM"], rows, note, numeric=True)
