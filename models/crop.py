"""The square crop of a frame in which an avatar is rendered.

The dresser sees a square around the visible body, not the frame: its cost follows the crop.
Crops lie on whole frame pixels. Between `MIN_SIZE` and `MAX_SIZE` one network pixel is one
frame pixel, so that nothing is resampled; a smaller body is rendered larger and averaged down,
a larger one is rendered smaller and enlarged.

Source: StylePeople's released renderer crops to the projected body's bounding box × 1.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera

MARGIN = 1.2
"""Side of the crop over the larger side of the body's bounding box: room for hair and cloth."""

MIN_SIZE = 256
MAX_SIZE = 512
"""Default of the largest network resolution: that of the shipped avatars' captures. Beyond it a
body would appear at a scale that training never showed; an avatar trained on larger images says
so in its package (`largest_crop`)."""
MULTIPLE = 32


@dataclass(frozen=True)
class Crop:
    """A square of a frame and the resolution at which it is rendered.

    Attributes:
        x: left edge in whole frame pixels; may lie outside the frame.
        y: top edge.
        side: side in frame pixels.
        size: side in network pixels, those of the dresser's output; a multiple of `MULTIPLE`.
    """

    x: int
    y: int
    side: int
    size: int

    def camera(self, frame: Camera) -> Camera:
        """Return the camera whose image is this crop at network resolution."""
        return frame.cropped(self.x, self.y, self.size, self.size, self.size / self.side)


def body_crop(
    points: NDArray[np.floating],
    width: int,
    height: int,
    *,
    near: float = 0.01,
    margin: float = MARGIN,
    min_size: int = MIN_SIZE,
    max_size: int = MAX_SIZE,
    multiple: int = MULTIPLE,
) -> Crop | None:
    """Return the crop around the visible part of a body, or None when nothing can be seen.

    Args:
        points: (V, 3) projected vertices: x and y in frame pixels, depth in metres.
        width: frame width in pixels.
        height: frame height in pixels.
        near: distance in metres in front of which points count.
        margin: see `MARGIN`.
        min_size: smallest network resolution.
        max_size: largest network resolution.
        multiple: what the network resolution must be a multiple of; `min_size` and `max_size` are.
    """
    depth = points[:, 2]
    front = depth > near
    if not front.any():
        return None
    if front.all():
        low = points[:, :2].min(axis=0)
        high = points[:, :2].max(axis=0)
        slack = (margin - 1.0) / 2.0 * (high - low).max()
        low, high = low - slack, high + slack
    else:
        # The body reaches behind the camera: its projection has no bounds.
        low, high = np.zeros(2), np.array([width, height], np.float64)
    # What lies outside the frame is not rendered, but for a rim that gives the network context.
    rim = 0.05 * max(width, height)
    low = np.maximum(low, -rim)
    high = np.minimum(high, np.array([width, height]) + rim)
    if (high <= low).any() or (high <= 0).any() or (low >= (width, height)).any():
        return None
    side = max(int(np.ceil((high - low).max())), 1)
    size = min(max(-(-side // multiple) * multiple, min_size), max_size)
    if min_size < size < max_size or (side <= size and size == max_size):
        side = size
    center = (low + high) / 2
    x, y = (int(v) for v in np.floor(center - side / 2 + 0.5))
    return Crop(x=x, y=y, side=side, size=size)
