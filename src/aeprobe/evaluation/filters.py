"""What one would use instead of a trained denoiser: scikit-image's filters, each at its best setting."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Filter = Callable[[Array, float], Array]
# Of each filter, the settings that are tried: a disc's radius in pixels, a weight, a strength.
SETTINGS: Mapping[str, Sequence[float]] = {
    "median": (1, 2, 3),
    "total variation": (0.05, 0.1, 0.2, 0.3, 0.5),
    "non-local means": (0.05, 0.1, 0.2, 0.3, 0.5),
}


def filters() -> dict[str, Filter]:
    """Each filter by its name: from an image, float (height, width) or with channels, and a setting."""
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
    """The setting of a filter with the least MSE on images, float (N, height, width, channels)."""

    def mse(setting: float) -> float:
        return float(np.square(filtered(name, noisy, setting) - clean).mean())

    return min(SETTINGS[name], key=mse)


def filtered(name: str, noisy: Array, setting: float) -> Array:
    """Images, float (N, height, width, channels), without noise as a filter has it, clipped to [0, 1]."""
    apply, grey = filters()[name], noisy.shape[3] == 1
    found = [apply(image[:, :, 0] if grey else image, setting) for image in noisy]
    return np.stack(found).reshape(noisy.shape).clip(0, 1).astype(np.float32)
