"""How much fine detail a picture of a person holds: the energy above a blur of one pixel.

PSNR rewards blur; this figure does not. It says nothing about whether detail lies in the right
place, which is what PSNR and SSIM are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLUR = 1.0
"""σ in pixels: what it takes away is "high frequency"."""


def detail_energy(image: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Return Σ (I − G ∗ I)² over the pixels and channels inside a mask.

    The blur is a normalised convolution inside the mask, and pixels at its border do not count:
    the outline against the background is no detail.

    Args:
        image: (H, W, 3) in 0…1.
        inside: (H, W) pixels that are wholly person.
    """
    core = np.asarray(binary_erosion(inside), bool)
    if not core.any():
        return 0.0
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    weight = inside[box].astype(np.float32)
    known = np.asarray(image[box], np.float32) * weight[..., None]
    share = gaussian_filter(weight, BLUR, mode="constant")
    blurred = gaussian_filter(known, (BLUR, BLUR, 0.0), mode="constant")
    high = known - blurred / np.maximum(share, 1e-6)[..., None]
    return float(np.square(high[core[box]], dtype=np.float64).sum())
