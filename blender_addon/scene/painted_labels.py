"""A label map painted by hand, and the cameras that it fits. No bpy.

A painted map belongs to the point that the head is seen from. A camera there may turn and zoom
(the map is resampled); one anywhere else sees other parts of the head, so the map is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..contract.labels import PALETTE, Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..contract.camera import Camera

PLACE_TOLERANCE = 1e-3
"""How far from its place, as a share of the distance to the head, a camera may be."""


@dataclass(frozen=True, kw_only=True)
class PaintedLabels:
    """What was painted.

    Attributes:
        labels: (H, W) uint8, 0…16, top row first.
        camera: of head space, whose pixels they are.
    """

    labels: NDArray[np.uint8]
    camera: Camera

    def fits(self, camera: Camera) -> bool:
        """Whether a camera of head space looks from where the map was painted."""
        distance = max(float(np.linalg.norm(self.camera.center)), 1e-6)
        moved = float(np.linalg.norm(camera.center - self.camera.center))
        return moved <= PLACE_TOLERANCE * distance

    def seen_by(self, camera: Camera) -> NDArray[np.uint8] | None:
        """Return the map as a camera sees it, (height, width) uint8; None when it does not fit.

        Pixels that the painted map does not reach are background.
        """
        if not self.fits(camera):
            return None
        if _same_pixels(camera, self.camera):
            return self.labels
        x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
        rays = np.stack([x, y, np.ones_like(x)], axis=-1)
        # From one point, two images differ by a homography: K' R' Rᵀ K⁻¹.
        turned = self.camera.K @ self.camera.R @ camera.R.T @ np.linalg.inv(camera.K)
        at = rays @ turned.T
        ahead = at[..., 2] > 1e-9
        at = at[..., :2] / np.where(ahead, at[..., 2], 1.0)[..., None]
        height, width = self.labels.shape
        column, row = np.floor(at[..., 0]).astype(np.int64), np.floor(at[..., 1]).astype(np.int64)
        inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        found = np.full(x.shape, int(Label.BACKGROUND), np.uint8)
        found[inside] = self.labels[row[inside], column[inside]]
        return found


def _same_pixels(a: Camera, b: Camera) -> bool:
    """Whether two cameras of one place have the same pixels, to a hundredth of one."""
    if (a.width, a.height) != (b.width, b.height):
        return False
    corners = np.array([[0, 0, 1], [a.width, 0, 1], [0, a.height, 1], [a.width, a.height, 1.0]])
    moved = corners @ (b.K @ b.R @ a.R.T @ np.linalg.inv(a.K)).T
    if (moved[:, 2] <= 1e-9).any():
        return False
    return float(np.abs(moved / moved[:, 2:] - corners).max()) < 1e-2


def nearest_labels(colors: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Read a painted image, whatever its colours.

    Args:
        colors: (H, W, 3 or 4) uint8 sRGB; where alpha is under one half there is nothing.

    Returns:
        (H, W) uint8 labels, each that of the palette's nearest colour, and how many pixels had
        a colour that is not in the palette.
    """
    channels = [colors[..., index].astype(np.uint32) for index in range(3)]
    codes = channels[0] << 16 | channels[1] << 8 | channels[2]
    if colors.shape[2] == 4:
        codes[colors[..., 3] < 128] = 0  # the colour of the background
    kinds, places = np.unique(codes.ravel(), return_inverse=True)
    shades = np.stack([kinds >> 16, kinds >> 8 & 255, kinds & 255], axis=-1).astype(np.int64)
    distance = ((shades[:, None] - PALETTE[None].astype(np.int64)) ** 2).sum(axis=-1)
    labels = distance.argmin(axis=1).astype(np.uint8)
    unknown = int(np.count_nonzero((distance.min(axis=1) > 0)[places]))
    return labels[places].reshape(codes.shape), unknown
