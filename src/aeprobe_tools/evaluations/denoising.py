"""Noisy images denoised: by the autoencoder, by PCA, and by the filters that one would use instead."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from aeprobe.data.sampler import evenly_spaced
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Evaluation, Figures, Findings, Subject
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.corruption import Gaussian, Masking
from aeprobe_tools.evaluations.similarity import WINDOW, structural_similarity
from aeprobe_tools.figures import of_run
from aeprobe_tools.figures.charts import DARK, GREY, ORANGE, Drawing
from aeprobe_tools.figures.panels import LETTERS, legend, panels
from aeprobe_tools.figures.pca import fitted
from aeprobe_tools.figures.tiles import Row, grid
from aeprobe_tools.pages import BEYOND, Blocks, Table, Text
from aeprobe_tools.wording import NONE, counted
from aeprobe_tools.wording import number as written

Array = NDArray[Any]
Filter = Callable[[Array, float], Array]
Denoiser = Callable[[Tensor], Tensor]  # images in [0, 1], float (N, channels, height, width), to such images
SHOWN_STD = 0.5  # of the noise in the figure of images, if it is measured
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

    Normal noise is clipped to [0, 1]; masked pixels are black. In metrics.json, `evaluations.denoising` has
    `images`, how many test images, `tuned_on`, how many validation images, both evenly spaced, and `levels`,
    one for each `kind` ("gaussian", "masking") and `level` of noise. A level has `methods`, each with `name`;
    `mse`, per pixel in [0, 1], a mean over the images; `psnr`, in dB, the mean over the images of their own
    10 log10(1 / MSE); `ssim`, structural similarity (Wang et al. 2004), the mean over
    the windows inside the image, null for sides below 11 pixels. The methods are "noisy", the images as they
    are; "autoencoder", this one; "plain", that of another run, where one is given; "PCA", as many components as a
    code has numbers; and scikit-image's "median", "total variation" and "non-local means", whose `setting` is the
    best of `SETTINGS` on the validation images.

    Args:
        stds: standard deviations of normal noise, each above 0.
        shares: of masked pixels, each above 0 and below 1.
        images: of the test images, so many, evenly spaced.
        tuned_on: of the validation images, for the filters' settings.
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
        for name, value in (("images", images), ("tuned_on", tuned_on)):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name}={value}: must be 1 or more")
        if not self.noises:
            raise ValueError("stds=[] shares=[]: must have one level of noise or more")
        self.images, self.tuned_on = images, tuned_on
        self.plain = checkpoints.load(plain, stage="autoencoder") if plain else None
        if plain and not isinstance(self.plain, Autoencoder):
            raise AeprobeError(f"denoising.plain={plain}: holds a classifier: give an autoencoder's run")

    def require(self, subject: Subject) -> None:
        """Refuse a plain autoencoder of images of another shape."""
        if self.plain is not None and self.plain.shape != (shape := subject.module.shape):
            raise AeprobeError(
                f"denoising.plain: its images are {self.plain.shape}, but those of this run {shape}"
            )

    def __call__(self, subject: Subject) -> Findings:
        """Measure all methods at all levels."""
        module = subject.module
        assert isinstance(module, Autoencoder)
        chosen = evenly_spaced(len(subject.splits["test"]), self.images)
        test, labels = subject.splits["test"][chosen]
        val, _ = subject.splits["val"][evenly_spaced(len(subject.splits["val"]), self.tuned_on)]
        learned = self._learned(module, subject.splits["train"].images)
        shown = of_run.one_of_each(labels, subject.seed)
        levels, kept = list[dict[str, Any]](), dict[float, dict[str, Tensor]]()
        bar = tqdm(self.noises.items(), "denoising", disable=not subject.progress, leave=False)
        for number, ((kind, level), corruption) in enumerate(bar):
            noisy = _corrupted(test, corruption, 2 * number)
            tuning = _rows(val), _rows(_corrupted(val, corruption, 2 * number + 1))
            settings = {name: best_setting(name, *tuning) for name in SETTINGS}
            made = {name: denoise(noisy) for name, denoise in learned.items()}
            for name, setting in settings.items():
                made[name] = torch.from_numpy(filtered(name, _rows(noisy), setting)).movedim(3, 1)
            methods = [{"name": name, **_measured(found, test)} for name, found in made.items()]
            for method in methods[-len(settings) :]:
                method["setting"] = settings[str(method["name"])]
            levels.append({"kind": kind, "level": level, "methods": methods})
            if kind == "gaussian":
                kept[level] = {"clean": test[shown]} | {name: found[shown] for name, found in made.items()}
        numbers = {"images": len(test), "tuned_on": len(val), "levels": levels}
        std = min(kept, key=lambda std: abs(std - SHOWN_STD), default=None)
        return Findings(numbers, images={} if std is None else {"std": std, "rows": kept[std]})

    def figures(self, found: Findings) -> Figures:
        """Yield some images at one level of noise, and the PSNR at all levels."""
        if found.images:
            rows = {name: of_run.shown(images) for name, images in found.images["rows"].items()}
            yield "denoising", lambda: _tiles(rows, found.images["std"], found.numbers)
        yield "denoising_psnr", lambda: _curves(found.numbers["levels"])

    @classmethod
    def page(cls, numbers: Mapping[str, Any]) -> Blocks:
        """Yield a sentence and a table of one level of noise, and the figures."""
        levels = numbers["levels"]
        level = next((one for one in levels if (one["kind"], one["level"]) == ("gaussian", SHOWN_STD)), levels[0])
        psnr = {method["name"]: method["psnr"] for method in level["methods"]}
        best = max(SETTINGS, key=psnr.__getitem__)
        gain = psnr["autoencoder"] - psnr[best]
        noise = (
            "normal noise of standard deviation" if level["kind"] == "gaussian" else "a share of black pixels of"
        )
        images = counted(numbers["images"], "test")
        yield Text(
            "Noisy images",
            f"{images} with {noise} {level['level']:g}: the autoencoder brings them back with a PSNR of "
            f"{psnr['autoencoder']:.1f} dB, {abs(gain):.1f} dB {'more' if gain >= 0 else 'less'} than the best "
            f"filter, {best}.",
        )
        rows = [
            [
                METHODS[method["name"]][0],
                f"{method['setting']:g}" if "setting" in method else NONE,
                written(method["mse"]),
                f"{method['psnr']:.2f}",
                NONE if method["ssim"] is None else f"{method['ssim']:.3f}",
            ]
            for method in level["methods"]
        ]
        note = (
            "PSNR is the mean over the images. A filter's setting is the best of a few on "
            f"{counted(numbers['tuned_on'], 'validation')}: a radius in pixels, a weight, a strength."
        )
        title = f"{images}, denoised, at noise of {level['level']:g}"
        yield Table(BEYOND, title, ["", "Setting", "MSE", "PSNR, dB", "SSIM"], rows, note, numeric=True)
        if any(one["kind"] == "gaussian" for one in levels):
            yield "denoising"
        yield "denoising_psnr"

    def _learned(self, module: Autoencoder, train: Tensor) -> dict[str, Denoiser]:
        """Return the denoisers without a setting, by name."""
        code = fitted(train, module.code_size)

        def linear(images: Tensor) -> Tensor:
            return code.decode(code.encode(255 * images)).clamp(0, 1).float().view_as(images)

        found: dict[str, Denoiser] = {"noisy": lambda images: images, "autoencoder": _denoiser(module)}
        if isinstance(self.plain, Autoencoder):
            found["plain"] = _denoiser(self.plain)
        return found | {"PCA": linear}


def _denoiser(module: Autoencoder) -> Denoiser:
    """Wrap a module in any precision as a function of images in single precision."""
    weight = next(module.parameters())
    return lambda images: module(images.to(weight)).float()


def _corrupted(images: Tensor, corruption: nn.Module, stream: int) -> Tensor:
    """Return images with noise that depends on the stream alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream)
        noisy: Tensor = corruption(images)
    return noisy


def _rows(images: Tensor) -> Any:
    """Return images as scikit-image takes them: (N, height, width, channels)."""
    return images.movedim(1, 3).numpy()


def _measured(found: Tensor, clean: Tensor) -> dict[str, Any]:
    mse = (found.float() - clean).square().mean((1, 2, 3)).double()
    psnr = 10 * (1 / mse.clamp_min(LEAST)).log10()
    fits = min(clean.shape[2:]) >= WINDOW
    ssim = structural_similarity(found.float(), clean).mean().item() if fits else None
    return {"mse": mse.mean().item(), "psnr": psnr.mean().item(), "ssim": ssim}


def filters() -> dict[str, Filter]:
    """Return each filter by its name: a function of an image, float (height, width[, channels]), and a setting."""
    from skimage.filters import median
    from skimage.morphology import disk
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    def medians(image: Array, radius: float) -> Array:
        if image.ndim == 2:
            return np.asarray(median(image, disk(int(radius))))
        return np.stack([medians(channel, radius) for channel in image.transpose(2, 0, 1)], axis=2)

    def axis(image: Array) -> int | None:
        return 2 if image.ndim == 3 else None

    return {
        "median": medians,
        "total variation": lambda image, weight: denoise_tv_chambolle(image, weight, channel_axis=axis(image)),
        "non-local means": lambda image, h: denoise_nl_means(image, 5, 6, h=h, channel_axis=axis(image)),
    }


def best_setting(name: str, clean: Array, noisy: Array) -> float:
    """Return the setting of a filter with the least MSE on images, float (N, height, width, channels)."""

    def mse(setting: float) -> float:
        return float(np.square(filtered(name, noisy, setting) - clean).mean())

    return min(SETTINGS[name], key=mse)


def filtered(name: str, noisy: Array, setting: float) -> Array:
    """Filter images, float (N, height, width, channels), and clip them to [0, 1]."""
    apply, grey = filters()[name], noisy.shape[3] == 1
    found = [apply(image[:, :, 0] if grey else image, setting) for image in noisy]
    return np.stack(found).reshape(noisy.shape).clip(0, 1).astype(np.float32)


def _tiles(rows: Mapping[str, Array], std: float, numbers: Mapping[str, Any]) -> Drawing:
    """Draw ten images: clean, with noise, and as the autoencoder and the best other method denoise them."""
    (level,) = (one for one in numbers["levels"] if (one["kind"], one["level"]) == ("gaussian", std))
    psnr = {method["name"]: method["psnr"] for method in level["methods"]}
    best = max((name for name in psnr if name in ("PCA", *SETTINGS)), key=psnr.__getitem__)
    lines: list[Row] = [("clean", rows["clean"], [])]
    for name, words in (("noisy", "noisy"), ("autoencoder", "this\nautoencoder"), (best, best)):
        lines.append((f"{words}\n{psnr[name]:.1f} dB", rows[name], []))
    title = f"Test images with noise of {std:g}, denoised"
    alt = (
        f"PSNR of {counted(numbers['images'], 'test')} with noise of standard deviation {std:g}: "
        f"{psnr['noisy']:.1f} dB with the noise, {psnr['autoencoder']:.1f} dB by the autoencoder, "
        f"{psnr[best]:.1f} dB by the best other method, {best}."
    )
    return Drawing([], "Images without their noise", alt, grid(title, lines), {"std": std, "psnr": psnr})


def _curves(levels: Sequence[Mapping[str, Any]]) -> Drawing:
    """Draw the PSNR over the noise, a panel for each kind of it."""
    kinds = [kind for kind in KINDS if any(level["kind"] == kind for level in levels)]
    figure, every = panels("PSNR of denoised test images", [KINDS[kind] for kind in kinds])
    data: dict[str, list[list[float]]] = {}
    for kind, axes in zip(kinds, every, strict=True):
        for name, (words, colour, form) in METHODS.items():
            points = sorted(
                (level["level"], method["psnr"])
                for level in levels
                for method in level["methods"]
                if (level["kind"], method["name"]) == (kind, name)
            )
            if points:
                axes.plot(*zip(*points, strict=True), form, color=colour, ms=5, lw=1.6, label=words)
                data[f"{kind}, {name}"] = [list(point) for point in points]
    every[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    every[0].set_ylabel("PSNR (dB)", fontsize=LETTERS)
    legend(figure, every[0])
    best = [max(level["methods"], key=lambda method: float(method["psnr"]))["name"] for level in levels]
    alt = f"The autoencoder has the highest PSNR at {best.count('autoencoder')} of {len(levels)} levels of noise."
    return Drawing([], "PSNR over the noise", alt, figure, data)
