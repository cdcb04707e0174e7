"""Lens distortion taken out of images: captures know pinholes only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

if TYPE_CHECKING:
    from numpy.typing import NDArray


def distorted(
    pixels: NDArray[np.floating], K: NDArray[np.floating], distortion: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return where a lens shows what a pinhole would show at some pixels.

    Args:
        pixels: (…, 2) of the pinhole's image.
        K: (3, 3) intrinsics.
        distortion: (5,) k1, k2, p1, p2, k3.

    Source: the Brown–Conrady model with OpenCV's coefficients.
    """
    k1, k2, p1, p2, k3 = np.asarray(distortion, np.float64)
    focal, centre = np.diag(K)[:2], np.asarray(K)[:2, 2]
    x, y = np.moveaxis((np.asarray(pixels, np.float64) - centre) / focal, -1, 0)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    moved = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )
    return moved * focal + centre


def undistorted_points(
    pixels: NDArray[np.floating], K: NDArray[np.floating], distortion: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return where a pinhole would show (…, 2) pixels of a lens: the inverse of `distorted`."""
    target = np.asarray(pixels, np.float64)
    found = target.copy()
    for _ in range(20):  # a fixed point that lenses of cameras and phones reach in a few steps
        found += target - distorted(found, K, distortion)
    return found


class Undistortion:
    """Resamples images of one camera to what a pinhole would have seen.

    Args:
        K: (3, 3) intrinsics, pixels with the origin in the image's corner.
        distortion: (5,) k1, k2, p1, p2, k3.
        size: width and height in pixels.
    """

    def __init__(
        self,
        K: NDArray[np.floating],
        distortion: NDArray[np.floating],
        size: tuple[int, int],
    ) -> None:
        columns, rows = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
        source = distorted(np.stack([columns, rows], -1), K, distortion) - 0.5
        self._places = np.stack([source[..., 1], source[..., 0]])

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image (H, W) or (H, W, C) without distortion; outside of it is black."""
        planes = pixels[..., None] if pixels.ndim == 2 else pixels
        found = [
            map_coordinates(planes[..., c], self._places, order=1, output=np.float32)
            for c in range(planes.shape[2])
        ]
        result = np.clip(np.stack(found, -1) + 0.5, 0, 255).astype(np.uint8)
        return result[..., 0] if pixels.ndim == 2 else result
