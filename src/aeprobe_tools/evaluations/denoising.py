"""Noisy images denoised: by the autoencoder, by PCA, and by the filters that one would use instead."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from aeprobe.data.augmentation import Gaussian, Masking
from aeprobe.data.sampler import evenly_spaced
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation, Figures, Findings, Subject
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe_tools.evaluations.similarity import WINDOW, structural_similarity
from aeprobe_tools.figures.charts import DARK, GREY, LETTERS, ORANGE, Drawing, legend, panels
from aeprobe_tools.figures.pca import fitted
from aeprobe_tools.figures.pictures import Row, grid, one_of_each, shown
from aeprobe_tools.pages import BEYOND, Blocks, Table, Text
from aeprobe_tools.wording import NONE, counted, number

Array = NDArray[Any]
SHOWN_STD = 0.5  # of the noise that the page shows, or the next to it that is measured
LEAST = 1e-10  # an MSE that is taken for one of nothing, 100 dB
# Of each filter, the settings that are tried: a disc's radius in pixels, a weight, a strength.
SETTINGS: Mapping[str, Sequence[float]] = {
    "median": (1, 2, 3),
    "total variation": (0.05, 0.1, 0.2, 0.3, 0.5),
    "non-local means": (0.05, 0.1, 0.2, 0.3, 0.5),
}
KINDS = {"gaussian": "standard deviation of the noise", "masking": "share of black pixels"}
METHODS = {  # in the legend and the table, with the colour and the form of the curve
    "autoencoder": ("this autoencoder", DARK, "o-"),
    "plain": ("the plain autoencoder", DARK, "o:"),
    "PCA": ("PCA", ORANGE, "s-"),
    "median": ("median", GREY, "^-"),
    "total variation": ("total variation", GREY, "v--"),
    "non-local means": ("non-local means", GREY, "D:"),
    "noisy": ("noisy", "black", "x-"),
}


class Denoising(Evaluation):
    """Remove noise that is the same for every run and method, and measure what of the test images comes back.

    Normal noise is clipped to [0, 1]; masked pixels are black. In metrics.json, `evaluations.denoising` has:

    - `images`, `tuned_on`: numbers of test and of validation images, evenly spaced.
    - `levels`: one for each `kind` ("gaussian", "masking") and `level` of noise, with its `methods`, each with
      `name`; `mse`, per pixel in [0, 1]; `psnr`, in dB, the mean of the images' own 10 log10(1 / MSE); and `ssim`,
      structural similarity (Wang et al. 2004) over windows inside the image, null for sides below 11 pixels.

    The methods are "noisy", the images as they are; "autoencoder", this one; "plain", that of another run, if one
    is given; "PCA", as many components as a code has numbers; and scikit-image's "median", "total variation" and
    "non-local means", with the `setting` of `SETTINGS` that is best on the validation images.

    Args:
        stds: standard deviations of normal noise, each above 0.
        shares: of masked pixels, each above 0 and below 1.
        images: the number of test images.
        tuned_on: the number of validation images, for the filters' settings.
        plain: another run, or its checkpoint, with an autoencoder for images of the same shape.
    """

    package = ("skimage", "denoising")

    def __init__(
        self,
        stds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5),
        images: int = 200,
        tuned_on: int = 40,
        plain: str | None = None,
    ) -> None:
        self.noises: dict[tuple[str, float], nn.Module] = {}
        self.noises |= {("gaussian", std): Gaussian(std, clip=True) for std in stds}
        self.noises |= {("masking", share): Masking(share) for share in shares}
        if any(type(value) is not int or value < 1 for value in (images, tuned_on)):
            raise ValueError(f"images={images} tuned_on={tuned_on}: must be 1 or more")
        if not self.noises:
            raise ValueError("stds=[] shares=[]: must have one level of noise or more")
        self.images, self.tuned_on = images, tuned_on
        self.plain = checkpoints.load(plain, stage="autoencoder") if plain else None
        if plain and not isinstance(self.plain, Autoencoder):
            raise AeprobeError(f"denoising.plain={plain}: holds a classifier: give an autoencoder's run")

    def require(self, subject: Subject) -> None:
        """Refuse a plain autoencoder of images of another shape."""
        if self.plain is not None and self.plain.shape != (shape := subject.module.shape):
            raise AeprobeError(f"denoising.plain: its images are {self.plain.shape}, those of this run {shape}")

    def __call__(self, subject: Subject) -> Findings:
        """Measure all methods at all levels."""
        module, splits = subject.module, subject.splits
        assert isinstance(module, Autoencoder)
        test, labels = splits["test"][evenly_spaced(len(splits["test"]), self.images)]
        val, _ = splits["val"][evenly_spaced(len(splits["val"]), self.tuned_on)]
        pca = fitted(splits["train"].images, module.code_size)
        chosen = one_of_each(labels, subject.seed)
        levels, tiles = list[dict[str, Any]](), list[dict[str, Tensor]]()
        bar = tqdm(self.noises.items(), "denoising", disable=not subject.progress, leave=False)
        for stream, ((kind, level), corruption) in enumerate(bar):
            noisy = _corrupted(test, corruption, 2 * stream)
            tuning = [i.movedim(1, 3).numpy() for i in (val, _corrupted(val, corruption, 2 * stream + 1))]
            made = {"noisy": noisy, "autoencoder": _denoised(module, noisy)}
            if isinstance(self.plain, Autoencoder):
                made["plain"] = _denoised(self.plain, noisy)
            made["PCA"] = pca.decode(pca.encode(255 * noisy)).clamp(0, 1).float().view_as(noisy)
            settings = {name: {"setting": best_setting(name, *tuning)} for name in SETTINGS}
            for name, best in settings.items():
                made[name] = torch.from_numpy(filtered(name, noisy.movedim(1, 3).numpy(), **best)).movedim(3, 1)
            methods = [{"name": k, **_measured(images, test), **settings.get(k, {})} for k, images in made.items()]
            levels.append({"kind": kind, "level": level, "methods": methods})
            tiles.append({name: images[chosen] for name, images in {"clean": test, **made}.items()})
        return Findings({"images": len(test), "tuned_on": len(val), "levels": levels}, images={"levels": tiles})

    def figures(self, found: Findings) -> Figures:
        """Yield some images at one level of noise, and the PSNR at all."""
        levels = found.numbers["levels"]
        images = found.images["levels"][levels.index(_shown(levels))]
        yield "denoising", lambda: _tiles(images, found.numbers)
        yield "denoising_psnr", lambda: _curves(levels)

    @classmethod
    def page(cls, numbers: Mapping[str, Any]) -> Blocks:
        """Yield a sentence and a table of one level of noise, and the figures."""
        level, images = _shown(numbers["levels"]), counted(numbers["images"], "test image")
        psnr, best = _psnr(level)
        yield Text(
            "Noisy images",
            f"{images} ({KINDS[level['kind']]}: {level['level']:g}): the autoencoder brings them back with a PSNR "
            f"of {psnr['autoencoder']:.1f} dB; the best other method, {best}, reaches {psnr[best]:.1f} dB.",
        )
        rows = [
            [
                *(METHODS[method["name"]][0], f"{method['setting']:g}" if "setting" in method else NONE),
                *(number(method["mse"]), f"{method['psnr']:.2f}", number(method["ssim"])),
            ]
            for method in level["methods"]
        ]
        note = (
            "PSNR is the mean over the images. A filter's setting is the best of a few on "
            f"{counted(numbers['tuned_on'], 'validation image')}: a radius in pixels, a weight, a strength."
        )
        title = f"{images}, denoised, at noise of {level['level']:g}"
        yield Table(BEYOND, title, ["", "Setting", "MSE", "PSNR, dB", "SSIM"], rows, note, numeric=True)
        yield "denoising"
        yield "denoising_psnr"


def _denoised(module: Autoencoder, images: Tensor) -> Tensor:
    """Return what a module in any precision makes of images, in single precision."""
    made: Tensor = module(images.to(next(module.parameters())))
    return made.float()


def _corrupted(images: Tensor, corruption: nn.Module, stream: int) -> Tensor:
    """Return images with noise that depends on the stream alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream)
        noisy: Tensor = corruption(images)
    return noisy


def _measured(images: Tensor, clean: Tensor) -> dict[str, Any]:
    mse = (images.float() - clean).square().mean((1, 2, 3)).double()
    psnr = 10 * (1 / mse.clamp_min(LEAST)).log10()
    fits = min(clean.shape[2:]) >= WINDOW
    ssim = structural_similarity(images.float(), clean).mean().item() if fits else None
    return {"mse": mse.mean().item(), "psnr": psnr.mean().item(), "ssim": ssim}


def best_setting(name: str, clean: Array, noisy: Array) -> float:
    """Return the setting of a filter with the least MSE on images, float (N, height, width, channels)."""
    return min(SETTINGS[name], key=lambda setting: float(np.square(filtered(name, noisy, setting) - clean).mean()))


def filtered(name: str, noisy: Array, setting: float) -> Array:
    """Filter images, float (N, height, width, channels), by scikit-image, and clip them to [0, 1]."""
    from skimage.filters import median
    from skimage.morphology import disk
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    filters: dict[str, Callable[[Array], Array]] = {
        "median": lambda image: median(image, disk(int(setting))[..., None]),
        "total variation": lambda image: denoise_tv_chambolle(image, setting, channel_axis=-1),
        "non-local means": lambda image: denoise_nl_means(image, 5, 6, h=setting, channel_axis=-1),
    }
    made = np.stack([filters[name](image) for image in noisy]).reshape(noisy.shape)  # it drops a single channel
    return made.clip(0, 1).astype(np.float32)


def _shown(levels: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Choose the level that the page and the figure of images show."""
    return min(levels, key=lambda one: (one["kind"] != "gaussian", abs(one["level"] - SHOWN_STD)))


def _psnr(level: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """Return the PSNR of each method at a level, and the best method that is no autoencoder."""
    psnr = {method["name"]: method["psnr"] for method in level["methods"]}
    return psnr, max(("PCA", *SETTINGS), key=psnr.__getitem__)


def _tiles(images: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> Drawing:
    """Draw ten images: clean, with noise, and as the autoencoder and the best other method denoise them."""
    level = _shown(numbers["levels"])
    psnr, best = _psnr(level)
    lines: list[Row] = [("clean", shown(images["clean"]), [])]
    for name, words in (("noisy", "noisy"), ("autoencoder", "this\nautoencoder"), (best, best)):
        lines.append((f"{words}\n{psnr[name]:.1f} dB", shown(images[name]), []))
    noise = f"{KINDS[level['kind']]}: {level['level']:g}"
    alt = (
        f"PSNR of {counted(numbers['images'], 'test image')}, {noise}: {psnr['noisy']:.1f} dB with the noise, "
        f"{psnr['autoencoder']:.1f} dB by the autoencoder, {psnr[best]:.1f} dB by the best other method, {best}."
    )
    figure = grid(f"Test images, {noise}", lines)
    return Drawing([], "Images without their noise", alt, figure, {"std": level["level"], "psnr": psnr})


def _curves(levels: Sequence[Mapping[str, Any]]) -> Drawing:
    """Draw the PSNR over the noise, a panel for each kind of it."""
    kinds = [kind for kind in KINDS if any(level["kind"] == kind for level in levels)]
    figure, every = panels("PSNR of denoised test images", [KINDS[kind] for kind in kinds])
    data: dict[str, list[list[float]]] = {}
    for level in levels:
        for method in level["methods"]:
            data.setdefault(f"{level['kind']}, {method['name']}", []).append([level["level"], method["psnr"]])
    for kind, axes in zip(kinds, every, strict=True):
        for name, (words, colour, form) in METHODS.items():
            if points := sorted(data.get(f"{kind}, {name}", [])):
                axes.plot(*zip(*points, strict=True), form, color=colour, ms=5, lw=1.6, label=words)
    every[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    every[0].set_ylabel("PSNR (dB)", fontsize=LETTERS)
    legend(figure, every[0])
    best = [max(level["methods"], key=lambda method: float(method["psnr"]))["name"] for level in levels]
    alt = f"The autoencoder has the highest PSNR at {best.count('autoencoder')} of {len(levels)} levels of noise."
    return Drawing([], "PSNR over the noise", alt, figure, data)
