"""The structural similarity of the windows inside of images, by scikit-image, one by one."""

import numpy as np
from skimage.metrics import structural_similarity
from torch import Tensor


def similar(images: Tensor, clean: Tensor) -> float:
    """The mean over the images, both (N, channels, height, width), in [0, 1]; for each channel by itself."""
    pairs = zip(images.flatten(0, 1).numpy(), clean.flatten(0, 1).numpy(), strict=True)
    as_wang_et_al = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return float(np.mean([structural_similarity(one, other, **as_wang_et_al) for one, other in pairs]))
