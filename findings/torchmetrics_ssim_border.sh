#!/usr/bin/env bash
# torchmetrics 1.9.0 and scikit-image 0.26.0: with equal windows (a Gaussian of 1.5 pixels, 11 a side) and constants,
# the mean structural similarity is not the same number. torchmetrics averages over windows around every pixel, those
# at the border see the image mirrored; scikit-image, as Wang et al. 2004, over the windows inside. On small images
# with an empty border it is half, and the order of two methods can depend on it.
# Seen, for a 28 x 28 disc with noise of 0.2: "torchmetrics 0.372, its map without the border 0.726, scikit-image 0.726".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 torchmetrics==1.9.0 scikit-image==0.26.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

rows, columns = np.mgrid[:28, :28] - 13.5
clean = (np.hypot(rows, columns) < 8).astype(np.float64)
noisy = np.clip(clean + 0.2 * np.random.default_rng(0).standard_normal(clean.shape), 0, 1)
pair = [torch.from_numpy(image)[None, None] for image in (noisy, clean)]
mirrored, each = structural_similarity_index_measure(*pair, data_range=1.0, return_full_image=True)
inside = structural_similarity(
    noisy, clean, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
)
cropped = each[..., 5:-5, 5:-5].mean().item()
print(f"torchmetrics {mirrored:.3f}, its map without the border {cropped:.3f}, scikit-image {inside:.3f}")
sys.exit(not (abs(cropped - inside) < 1e-3 and inside - mirrored.item() > 0.2))
PY
