"""Cameras around a head: all over the front hemisphere, evenly for label maps, by chance for portraits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.camera import Camera, look_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

YAW = 75.0
"""Degrees to both sides of the face's direction that cameras reach."""

LOWEST, HIGHEST = -20.0, 30.0
"""Degrees of elevation."""

_DISTANCE = (0.95, 1.7)
_HALF_FRAME = (0.170, 0.215)


def orbit(rng: np.random.Generator, count: int, size: int) -> list[Camera]:
    """Draw cameras that share out the front hemisphere evenly: one in each slice of yaw.

    Args:
        rng: source of all chance.
        count: how many.
        size: width and height of the images in pixels.
    """
    slices = (np.arange(count) + rng.uniform(0, 1, count)) / count
    # Elevations are as even, in an order of their own.
    levels = (rng.permutation(count) + rng.uniform(0, 1, count)) / count
    yaw = -YAW + 2 * YAW * slices
    pitch = LOWEST + (HIGHEST - LOWEST) * levels
    return [around_head(rng, y, p, size) for y, p in zip(yaw, pitch, strict=True)]


def portrait_camera(rng: np.random.Generator, size: int) -> Camera:
    """Draw a camera as photographers place it: mostly from the front, near eye level."""
    yaw = float(np.clip(rng.normal(0, 27), -YAW, YAW))
    pitch = float(np.clip(rng.normal(3, 8), LOWEST, HIGHEST))
    return around_head(rng, yaw, pitch, size)


def around_head(rng: np.random.Generator, yaw: float, pitch: float, size: int) -> Camera:
    """Return a camera that sees the head about in the middle of its image.

    Args:
        rng: of distance, framing, a small offset and a small roll.
        yaw: degrees from the face's direction to the head's left.
        pitch: degrees above the horizon.
        size: width and height of the image in pixels.
    """
    a, e = np.radians(yaw), np.radians(pitch)
    away = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    distance = float(rng.uniform(*_DISTANCE))
    half = float(rng.uniform(*_HALF_FRAME))
    target: NDArray[np.float64] = rng.normal(0, 0.007, 3) + np.array([0.0, 0.005, 0.0])
    up = np.array([np.sin(rng.normal(0, 0.04)), 1.0, 0.0])
    focal = 0.5 * size * distance / half
    return look_at(target + distance * away, target, up, focal=focal, width=size, height=size)
