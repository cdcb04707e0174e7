"""What closes a top at the neck: turtlenecks, shirt collars, scarves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.heads.solids import puffed, skin_band
from training.people.noise import noise, smoothstep
from training.people.surfaces import Surface, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Array = NDArray[np.float64]

CollarKind = Literal["turtleneck", "shirt", "scarf"]


@dataclass(frozen=True, kw_only=True)
class Collar:
    """A collar; `height` in metres is how far it rises above its least height."""

    kind: CollarKind = "turtleneck"
    height: float = 0.01


def make_collar(bare: BareBody, collar: Collar, seed: int) -> Surface:
    """Return a collar as a surface over the neck's skin."""

    def upper(z: Array) -> Array:
        # Low under the chin, higher at the nape.
        return np.interp(z, [-0.05, 0.0, 0.05], [0.045, 0.016, -0.012]) + collar.height

    def turtleneck(paint: Array) -> Array:
        _, y, z = (paint - neck).T
        return _around(paint - neck, np.minimum(upper(z) - y, y + 0.07 + 0.3 * np.clip(z, 0, 1)))

    def scarf(paint: Array) -> Array:
        _, y, z = (paint - neck).T
        low = y + 0.062 + 0.45 * np.clip(z, 0, 1)
        return _around(paint - neck, np.minimum(upper(z) + 0.012 - y, low))

    def stand(paint: Array) -> Array:
        x, y, z = (paint - neck).T
        # The opening widens upward, as a shirt's does with its top button undone.
        gap = smoothstep(0.0, 0.03, z) * (0.006 + 0.32 * np.clip(y + 0.045, 0, 0.06))
        high = np.minimum(upper(z) - y, y + 0.060)
        return _around(paint - neck, np.minimum(high, np.abs(x) - gap))

    def leaf(paint: Array) -> Array:
        x, y, z = (paint - neck).T
        # It falls from the upper edge; its points reach lowest beside the opening.
        front = smoothstep(0.0, 0.03, z)
        lower = upper(z) - 0.036 - 0.040 * smoothstep(0.10, 0.02, np.abs(x)) * front
        slant = np.abs(x) - front * np.clip(0.010 + 0.7 * (upper(z) - y), 0, 0.08)
        return _around(paint - neck, np.minimum(np.minimum(upper(z) - y, y - lower), slant))

    neck = bare.mark("neck")
    if collar.kind == "turtleneck":
        band = skin_band(bare, turtleneck, 0.011, rounds=6, splits=2)
        fold = smoothstep(0.0, 0.006, band.edge) * 0.004
        rib = 0.0008 * np.sin(np.arctan2(band.paint[:, 0], band.paint[:, 2]) * 90)
        return puffed(band, fold + rib * smoothstep(0.0, 0.004, band.edge))
    if collar.kind == "scarf":
        band = skin_band(bare, scarf, 0.016, rounds=14, splits=2)
        turn = np.arctan2(band.paint[:, 0], band.paint[:, 2])
        wound = np.stack([3 * turn, band.paint[:, 1] * 46 + turn], axis=1)
        folds = 0.010 + 0.007 * noise(wound, 1.0, seed)
        return puffed(band, folds * smoothstep(0.0, 0.018, band.edge))
    return joined(
        [
            skin_band(bare, stand, 0.009, rounds=4, splits=2),
            skin_band(bare, leaf, 0.017, rounds=5, splits=2),
        ]
    )


def _around(from_neck: Array, field: Array) -> Array:
    """Keep a field to neck and shoulders; points are metres from the neck's joint."""
    x, y, z = from_neck.T
    near = (np.abs(x) < 0.13) & (y > -0.14) & (y < 0.10) & (np.abs(z) < 0.2)
    return np.where(near, field, -0.2)
