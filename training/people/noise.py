"""Smooth random fields over space: the same seed, the same cloth."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDE = 32


@lru_cache(maxsize=8)
def _lattice(seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).uniform(-1, 1, (_SIDE, _SIDE, _SIDE))
    return values.astype(np.float32)


def noise(
    points: NDArray[np.floating], scale: float | tuple[float, ...], seed: int = 0
) -> NDArray[np.float32]:
    """Return smooth values in −1…1 at points.

    Args:
        points: (N, 1…3).
        scale: cells per unit, one number or one per axis.
        seed: which field.
    """
    count, axes = points.shape
    cells = np.zeros((3, count), np.float32)
    cells[:axes] = (points * np.asarray(scale, np.float32)).T
    # Ease within each cell: linear interpolation alone shows its lattice.
    whole = np.floor(cells)
    part = cells - whole
    cells = whole + part * part * (3 - 2 * part)
    return map_coordinates(  # pyright: ignore[reportReturnType]
        _lattice(seed), cells % _SIDE, order=1, mode="grid-wrap", output=np.float32
    )


def detail(
    points: NDArray[np.floating],
    scale: float | tuple[float, ...],
    footprint: float,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return `noise` that fades to 0 where it is finer than the image can show.

    Args:
        points: (N, 1…3) metres.
        scale: cells per metre, one number or one per axis.
        footprint: metres between two samples of the image.
        seed: which field.
    """
    cells_per_sample = footprint * float(np.max(scale))
    strength = float(np.clip((0.75 - cells_per_sample) / 0.4, 0.0, 1.0))
    if strength == 0.0:
        return np.zeros(len(points), np.float32)
    return noise(points, scale, seed) * np.float32(strength)


def smoothstep(
    low: float | NDArray[np.floating],
    high: float | NDArray[np.floating],
    value: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Rise from 0 at `low` to 1 at `high` (falls when low > high)."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return t * t * (3 - 2 * t)


def mix(
    one: NDArray[np.floating], other: NDArray[np.floating], share: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Blend (N, 3) or (3,) colours by a share (N,) of the other."""
    share = share[:, None]
    return (one * (1 - share) + other * share).astype(np.float32)
