"""What comes back of noisy images, beside PCA and the filters that one would use instead."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from aeprobe.data.sampler import evenly_spaced
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import filters
from aeprobe.evaluation.evaluation import Evaluation, Findings, Subject
from aeprobe.evaluation.similarity import WINDOW, structural_similarity
from aeprobe.figures import noise, of_run
from aeprobe.figures.charts import Drawing
from aeprobe.figures.pca import fitted
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.corruption import Gaussian, Masking

Denoiser = Callable[[Tensor], Tensor]  # images in [0, 1], float (N, channels, height, width), to such images
SHOWN_STD = 0.5  # of the noise in the figure of images, if it is measured
LEAST = 1e-10  # an MSE that is taken for one of nothing, 100 dB


class Denoising(Evaluation):
    """How well test images are found again below noise that is the same for every run and method.

    Normal noise is clipped to [0, 1]; masked pixels are black. In metrics.json, `evaluations.denoising` has
    `images`, how many test images, `tuned_on`, how many validation images, both evenly spaced, and `levels`,
    one for each `kind` ("gaussian", "masking") and `level` of noise. A level has `methods`, each with `name`;
    `mse`, per pixel in [0, 1], a mean over the images; `psnr`, in dB, the mean over the images of their own
    10 log10(1 / MSE); `ssim`, structural similarity (Wang et al. 2004), the mean over
    the windows inside the image, null for sides below 11 pixels. The methods are "noisy", the images as they
    are; "autoencoder", this one; "plain", that of another run, where one is given; "PCA", as many components as a
    code has numbers; and scikit-image's "median", "total variation" and "non-local means", whose `setting` is the
    best of `filters.SETTINGS` on the validation images.

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
        """As `Evaluation`: the plain autoencoder must be one of such images."""
        if self.plain is not None and self.plain.shape != (shape := subject.module.shape):
            raise AeprobeError(
                f"denoising.plain: its images are {self.plain.shape}, but those of this run {shape}"
            )

    def __call__(self, subject: Subject) -> Findings:
        """Measures all methods at all levels."""
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
            settings = {name: filters.best_setting(name, *tuning) for name in filters.SETTINGS}
            made = {name: denoise(noisy) for name, denoise in learned.items()}
            for name, setting in settings.items():
                made[name] = torch.from_numpy(filters.filtered(name, _rows(noisy), setting)).movedim(3, 1)
            methods = [{"name": name, **_measured(found, test)} for name, found in made.items()]
            for method in methods[-len(settings) :]:
                method["setting"] = settings[str(method["name"])]
            levels.append({"kind": kind, "level": level, "methods": methods})
            if kind == "gaussian":
                kept[level] = {"clean": test[shown]} | {name: found[shown] for name, found in made.items()}
        numbers = {"images": len(test), "tuned_on": len(val), "levels": levels}
        figures: list[tuple[str, Callable[[], Drawing]]] = [("denoising_psnr", lambda: noise.curves(numbers))]
        if kept:
            level = min(kept, key=lambda std: abs(std - SHOWN_STD))
            rows = {name: of_run.shown(found) for name, found in kept[level].items()}
            figures.insert(0, ("denoising", lambda: noise.images(rows, level, numbers)))
        return Findings(numbers, figures)

    def _learned(self, module: Autoencoder, train: Tensor) -> dict[str, Denoiser]:
        """What needs no setting, by name."""
        code = fitted(train, module.code_size)

        def linear(images: Tensor) -> Tensor:
            return code.decode(code.encode(255 * images)).clamp(0, 1).float().view_as(images)

        found: dict[str, Denoiser] = {"noisy": lambda images: images, "autoencoder": _denoiser(module)}
        if isinstance(self.plain, Autoencoder):
            found["plain"] = _denoiser(self.plain)
        return found | {"PCA": linear}


def _denoiser(module: Autoencoder) -> Denoiser:
    """Of a module in any precision, from and to images in single precision."""
    weight = next(module.parameters())
    return lambda images: module(images.to(weight)).float()


def _corrupted(images: Tensor, corruption: nn.Module, stream: int) -> Tensor:
    """Images with noise that depends on the stream alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream)
        noisy: Tensor = corruption(images)
    return noisy


def _rows(images: Tensor) -> Any:
    """Images as scikit-image takes them: (N, height, width, channels)."""
    return images.movedim(1, 3).numpy()


def _measured(found: Tensor, clean: Tensor) -> dict[str, Any]:
    mse = (found.float() - clean).square().mean((1, 2, 3)).double()
    psnr = 10 * (1 / mse.clamp_min(LEAST)).log10()
    fits = min(clean.shape[2:]) >= WINDOW
    ssim = structural_similarity(found.float(), clean).mean().item() if fits else None
    return {"mse": mse.mean().item(), "psnr": psnr.mean().item(), "ssim": ssim}
