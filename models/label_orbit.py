"""Whether label maps of a moving camera show one and the same head.

A pixel's surface point, by its depth, is looked for in the next frame: unless something else is in
front of it there, it must have the same label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.camera import look_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from models.sof_render import LabelMap

IN_FRONT = 0.02
"""Metres by which something nearer hides a point in the next frame."""


@dataclass(frozen=True)
class OrbitAgreement:
    """How well the frames of an orbit agree.

    Attributes:
        labels: share of the followed pixels, background left out, with the same label.
        followed: share of these pixels that are found in the next frame at all.
        depth: median metres between a point's depth and the depth seen in its place.
    """

    labels: float
    followed: float
    depth: float


def orbit_agreement(frames: Iterable[tuple[Camera, LabelMap]]) -> OrbitAgreement:
    """Follow every pixel of each frame into the next one.

    Args:
        frames: at least two, in order.
    """
    same = followed = there = 0
    gaps: list[NDArray[np.float64]] = []
    last: tuple[Camera, LabelMap] | None = None
    for camera, seen in frames:
        if last is not None:
            labels, found, gap = _follow(*last, camera, seen)
            same += int(labels.sum())
            followed += len(labels)
            there += found
            gaps.append(gap)
        last = (camera, seen)
    gap = np.concatenate(gaps) if gaps else np.zeros(0)
    return OrbitAgreement(
        same / max(followed, 1),
        followed / max(there, 1),
        float(np.median(gap)) if len(gap) else float("nan"),
    )


def orbit_cameras(
    frames: int, size: int, *, widest: float, distance: float = 1.3, elevation: float = 0.1
) -> list[Camera]:
    """Return cameras that swing round a head once: to one side, to the other, and back.

    Args:
        frames: how many.
        size: side of the image in pixels.
        widest: radians to both sides.
        distance: metres from the head's origin.
        elevation: radians above it.
    """
    cameras: list[Camera] = []
    for k in range(frames):
        azimuth = widest * np.sin(2.0 * np.pi * k / frames)
        eye = distance * np.array(
            [
                np.sin(azimuth) * np.cos(elevation),
                np.sin(elevation),
                np.cos(azimuth) * np.cos(elevation),
            ]
        )
        up = np.array([0.0, 1.0, 0.0])
        cameras.append(look_at(eye, np.zeros(3), up, focal=2.2 * size, width=size, height=size))
    return cameras


def seen_from(
    camera: Camera,
    depth: NDArray[np.float32],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    after: Camera,
) -> NDArray[np.float64]:
    """Return where surface points that one camera sees lie in another's image.

    Args:
        camera: that sees them.
        depth: (H, W) metres along its viewing axis.
        row: (N,) of the pixels, whose depth is finite; likewise column.
        column: see `row`.
        after: the other camera.

    Returns:
        (N, 3): x and y in pixels, corner origin, and depth in metres.
    """
    z = depth[row, column].astype(np.float64)
    K = camera.K
    own = np.stack(
        [(column + 0.5 - K[0, 2]) / K[0, 0], (row + 0.5 - K[1, 2]) / K[1, 1], np.ones(len(z))], 1
    )
    return after.project((own * z[:, None] - camera.t) @ camera.R)


def _follow(
    camera: Camera, seen: LabelMap, after: Camera, seen_after: LabelMap
) -> tuple[NDArray[np.bool_], int, NDArray[np.float64]]:
    """Return whether labels agree where pixels are found again, how many there were, depth gaps."""
    labels, depth = (each.cpu().numpy() for each in seen)
    labels_after, depth_after = (each.cpu().numpy() for each in seen_after)
    row, column = np.nonzero(labels)
    pixels = seen_from(camera, depth, row, column, after)
    x, y = (np.floor(pixels[:, k]).astype(np.int64) for k in range(2))
    inside = (x >= 0) & (x < after.width) & (y >= 0) & (y < after.height) & (pixels[:, 2] > 0)
    x, y, expected = x[inside], y[inside], pixels[inside, 2]
    found = depth_after[y, x]
    # What is hidden by something nearer has no label to compare; background hides nothing.
    visible = found > expected - IN_FRONT
    same = labels_after[y, x] == labels[row, column][inside]
    gap = np.abs(found - expected)[visible]
    return same[visible], len(row), gap[np.isfinite(gap)]
