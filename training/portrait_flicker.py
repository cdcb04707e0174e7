"""How much a portrait's surface changes colour from frame to frame while the camera moves.

Nothing of a portrait moves but the camera, so each pixel of a frame, followed by its depth into the
next one, should have the same colour there. What is left is the painter's flicker, beside what is
lost by resampling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.label_orbit import IN_FRONT, orbit_cameras, seen_from
from training.evaluation_flicker import Flow, warped
from training.siw_data import to_pixels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.camera import Camera
    from models.sof_render import LabelMap, SofRenderer
    from training.siw_figures import Painter

SIDEWAYS = 0.6
"""Radians to both sides of the orbit: what films and viewports show of a face."""


class Flicker(NamedTuple):
    """Mean absolute changes of colour, 0…1, over the pixels that are found in the next frame.

    Attributes:
        warped: of the same points of the head.
        still: of the same pixels of the image, whatever moved: what the motion alone changes.
    """

    warped: float
    still: float


Frame = tuple["Camera", "LabelMap", "NDArray[np.float32]"]
"""Camera, label map with depth, and painted image (H, W, 3), 0…1."""


def orbit_flicker(
    renderer: SofRenderer, painter: Painter, code: Tensor, w: Tensor, frames: int
) -> Flicker:
    """Orbit one portrait at the painter's size.

    Args:
        renderer: of label maps.
        painter: of colours.
        code: (code,) of the head.
        w: (17, W) styles.
        frames: of the orbit, at least 2.
    """
    cameras = orbit_cameras(frames, painter.model.config.size, widest=SIDEWAYS)
    return flicker(_painted(renderer, painter, code, w, camera) for camera in cameras)


def flicker(frames: Iterable[Frame]) -> Flicker:
    """Compare every frame with the next one.

    Args:
        frames: at least two, in order.
    """
    changed = unmoved = 0.0
    counted = 0
    last: Frame | None = None
    for frame in frames:
        if last is not None:
            (camera, seen, image), (after, seen_after, later) = last, frame
            flow = label_flow(camera, seen, after, seen_after)
            changed += _sum(warped(later, flow), image, flow.known)
            unmoved += _sum(later, image, flow.known)
            counted += int(flow.known.sum())
        last = frame
    return Flicker(changed / max(counted, 1), unmoved / max(counted, 1))


def label_flow(camera: Camera, seen: LabelMap, after: Camera, seen_after: LabelMap) -> Flow:
    """Return where each pixel of a head is in the next frame; background is not followed."""
    depth, depth_after = (each.depth.cpu().numpy() for each in (seen, seen_after))
    row, column = np.nonzero(np.isfinite(depth))
    goal = seen_from(camera, depth, row, column, after)
    x, y = np.zeros(depth.shape, np.float32), np.zeros(depth.shape, np.float32)
    x[row, column], y[row, column] = goal[:, 0], goal[:, 1]
    known = np.zeros(depth.shape, bool)
    at_x, at_y = (np.floor(goal[:, k]).astype(np.int64) for k in range(2))
    inside = (at_x >= 0) & (at_x < after.width) & (at_y >= 0) & (at_y < after.height)
    found = depth_after[at_y.clip(0, after.height - 1), at_x.clip(0, after.width - 1)]
    known[row, column] = inside & (np.abs(found - goal[:, 2]) < IN_FRONT)
    return Flow(x, y, known)


def _painted(
    renderer: SofRenderer, painter: Painter, code: Tensor, w: Tensor, camera: Camera
) -> Frame:
    seen = renderer.label_map(code, camera)
    labels = seen.labels.cpu()[None]
    image = to_pixels(painter.paint(labels, w[None]))[0]
    return camera, seen, image.astype(np.float32) / 255.0


def _sum(one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    return float(np.abs(one - other).mean(axis=-1)[where].sum(dtype=np.float64))
