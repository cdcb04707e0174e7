"""Cameras around a head: evenly for label maps, by chance for portraits; a share sees all of it."""

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

_ALL_ROUND = 180.0
_DISTANCE = (0.95, 1.7)
_HALF_FRAME = (0.170, 0.215)
_WIDE_FRAME = (0.355, 0.385)
_WIDE_EVERY = 4
_PORTRAITS_ALL_ROUND = 0.12
_PORTRAITS_FARTHER = 0.35


def sees_all(index: int) -> bool:
    """Return whether a head's view of this number sees its whole sphere, from any side."""
    return index % _WIDE_EVERY == 1


def orbit(rng: np.random.Generator, count: int, size: int) -> list[Camera]:
    """Draw cameras that share out the directions evenly: one in each slice of yaw.

    Three quarters share the front hemisphere and are filled by the head. The others share the
    whole circle and see all of the head's sphere: what no view sees, a field makes up.

    Args:
        rng: source of all chance.
        count: how many.
        size: width and height of the images in pixels.
    """
    wide = np.array([sees_all(index) for index in range(count)])
    yaw, pitch = np.zeros(count), np.zeros(count)
    for chosen, reach in ((~wide, YAW), (wide, _ALL_ROUND)):
        number = int(chosen.sum())
        slices = (np.arange(number) + rng.uniform(0, 1, number)) / max(number, 1)
        # Elevations are as even, in an order of their own.
        levels = (rng.permutation(number) + rng.uniform(0, 1, number)) / max(number, 1)
        yaw[chosen] = -reach + 2 * reach * slices
        pitch[chosen] = LOWEST + (HIGHEST - LOWEST) * levels
    return [
        around_head(rng, y, p, size, frame=_WIDE_FRAME if w else _HALF_FRAME)
        for y, p, w in zip(yaw, pitch, wide, strict=True)
    ]


def portrait_camera(rng: np.random.Generator, size: int) -> Camera:
    """Draw a camera as photographers place it: mostly from the front, near eye level.

    One in eight stands anywhere round the head, so that the painter learns the back of heads; a
    third sees more than the head, up to the whole sphere.
    """
    around = float(rng.uniform(-_ALL_ROUND, _ALL_ROUND))
    front = float(np.clip(rng.normal(0, 27), -YAW, YAW))
    yaw = around if rng.random() < _PORTRAITS_ALL_ROUND else front
    pitch = float(np.clip(rng.normal(3, 8), LOWEST, HIGHEST))
    farther = rng.random() < _PORTRAITS_FARTHER
    frame = (_HALF_FRAME[1], _WIDE_FRAME[1]) if farther else _HALF_FRAME
    return around_head(rng, yaw, pitch, size, frame=frame)


def around_head(
    rng: np.random.Generator,
    yaw: float,
    pitch: float,
    size: int,
    frame: tuple[float, float] = _HALF_FRAME,
) -> Camera:
    """Return a camera that sees the head about in the middle of its image.

    Args:
        rng: of distance, framing, a small offset and a small roll.
        yaw: degrees from the face's direction to the head's left.
        pitch: degrees above the horizon.
        size: width and height of the image in pixels.
        frame: limits of half the image's width at the head, metres.
    """
    a, e = np.radians(yaw), np.radians(pitch)
    away = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    distance = float(rng.uniform(*_DISTANCE))
    half = float(rng.uniform(*frame))
    target: NDArray[np.float64] = rng.normal(0, 0.007, 3) + np.array([0.0, 0.005, 0.0])
    up = np.array([np.sin(rng.normal(0, 0.04)), 1.0, 0.0])
    focal = 0.5 * size * distance / half
    return look_at(target + distance * away, target, up, focal=focal, width=size, height=size)
