"""Augmentation of label maps and their images: enlarge, crop, mirror. The camera follows.

Source: SofGAN (Chen et al. 2021), training details: random scale of 1.0–1.7, crop, flip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.camera import Camera
from blender_addon.contract.labels import mirror_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SCALE, MOST_SCALE = 1.0, 1.7

_FLIP = np.diag([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Crop:
    """A square part of a square image, brought back to the image's size, perhaps mirrored.

    Attributes:
        x: left edge in pixels of the image.
        y: top edge.
        scale: new pixels per pixel of the image, at least 1.
        mirrored: whether left and right are swapped after the crop.
    """

    x: float
    y: float
    scale: float
    mirrored: bool

    def labels(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop a label map (S, S) without blending; mirrored, the nose's halves swap labels."""
        row, column = self._places(labels.shape[0])
        cut = labels[np.rint(row).astype(int)[:, None], np.rint(column).astype(int)[None]]
        return mirror_labels(cut) if self.mirrored else cut

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop an image (S, S, k), blending between pixels."""
        side = image.shape[0]
        row, column = self._places(side)
        top, left = row.astype(int), column.astype(int)
        below, right = np.minimum(top + 1, side - 1), np.minimum(left + 1, side - 1)
        v = (row - top)[:, None, None].astype(np.float32)
        u = (column - left)[None, :, None].astype(np.float32)
        upper = image[top[:, None], left] * (1 - u) + image[top[:, None], right] * u
        lower = image[below[:, None], left] * (1 - u) + image[below[:, None], right] * u
        cut = np.rint(upper * (1 - v) + lower * v).astype(np.uint8)
        return np.ascontiguousarray(cut[:, ::-1]) if self.mirrored else cut

    def camera(self, camera: Camera) -> Camera:
        """Return the camera that sees the cropped image.

        Mirrored, it is the camera of the mirrored head: x of head space changes its sign.
        """
        side = camera.width
        part = camera.cropped(self.x, self.y, side, side, self.scale)
        if not self.mirrored:
            return part
        K = part.K.copy()
        K[0, 2] = side - K[0, 2]
        return Camera(K=K, R=_FLIP @ part.R @ _FLIP, t=_FLIP @ part.t, width=side, height=side)

    def _places(self, side: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return rows and columns (S,) of the image at which the new pixels' centres lie."""
        centre = (np.arange(side) + 0.5) / self.scale - 0.5
        limit = side - 1
        return np.clip(centre + self.y, 0, limit), np.clip(centre + self.x, 0, limit)


def random_crop(rng: np.random.Generator, size: int) -> Crop:
    """Draw a crop of an image of `size` pixels: scale 1.0–1.7, any place, mirrored or not."""
    scale = float(rng.uniform(LEAST_SCALE, MOST_SCALE))
    room = size - size / scale
    x, y = (float(rng.uniform(0, room)) for _ in range(2))
    return Crop(x, y, scale, mirrored=bool(rng.random() < 0.5))
