"""Hats built around the head that wears them: brimmed hats, peaked caps, berets, knit caps.

A hat's frame lies in the plane of its rim, which rises towards the forehead as
`training.people.hair.hat_field` has it, so that hair cut to go under one hat goes under all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.heads.solids import sheet
from training.people.hair import knit_cap
from training.people.noise import smoothstep
from training.people.surfaces import Surface, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Array = NDArray[np.float64]

HatKind = Literal["knit", "brim", "peak", "beret"]

_RIM_HEIGHT, _RIM_SLOPE = 0.018, 0.35
_HAIR_ROOM = 0.011


@dataclass(frozen=True, kw_only=True)
class Hat:
    """A hat.

    Attributes:
        kind: knitted cap, brimmed hat, peaked cap or beret.
        height: metres of air above the crown.
        brim: width of brim or peak in metres.
    """

    kind: HatKind = "knit"
    height: float = 0.03
    brim: float = 0.06


@dataclass(frozen=True)
class _Rim:
    """The head seen from the rim's plane: origin, axes (up, ahead), and slices of the head.

    Attributes:
        origin: (3,) on the head's axis in the rim's plane.
        up: (3,) unit.
        ahead: (3,) unit.
        levels: (n,) metres above the rim's plane.
        half_width: (n,) of the head there.
        front: (n,) metres ahead of the origin.
        back: (n,) the same at the back, negative.
    """

    origin: Array
    up: Array
    ahead: Array
    levels: Array
    half_width: Array
    front: Array
    back: Array

    def ring(self, level: float, turn: Array, *, room: float, out: Array | float = 0.0) -> Array:
        """(n, 3) points around the head at a level, `room` metres off it and `out` more."""
        width = float(np.interp(level, self.levels, self.half_width)) + room
        front = float(np.interp(level, self.levels, self.front)) + room
        back = float(np.interp(level, self.levels, self.back)) - room
        middle, half = (front + back) / 2, (front - back) / 2
        x = (width + out) * np.sin(turn)
        f = middle + (half + out) * np.cos(turn)
        return self.place(x, np.full(len(turn), level), f)

    def place(self, x: Array, height: Array, ahead: Array) -> Array:
        """(n, 3) points of x, metres above the rim and metres ahead."""
        side = np.array([1.0, 0.0, 0.0])
        return (
            self.origin
            + x[:, None] * side
            + height[:, None] * self.up
            + ahead[:, None] * self.ahead
        )


def make_hat(bare: BareBody, hat: Hat) -> Surface:
    """Return the hat on the person's head."""
    if hat.kind == "knit":
        return knit_cap(bare)
    rim = _measured(bare)
    if hat.kind == "beret":
        return _beret(bare, rim, hat)
    crown = _crown(bare, rim, hat)
    return joined([crown, _brim(bare, rim, hat) if hat.kind == "brim" else _peak(bare, rim, hat)])


def _measured(bare: BareBody) -> _Rim:
    eye, head = bare.joint("left_eye_smplhf"), bare.joint("head")
    slope = np.array([0.0, 1.0, -_RIM_SLOPE]) / np.hypot(1, _RIM_SLOPE)
    ahead = np.array([0.0, _RIM_SLOPE, 1.0]) / np.hypot(1, _RIM_SLOPE)
    origin = np.array([0.0, float(eye[1]) + _RIM_HEIGHT, float(head[2])])
    skull = bare.vertices[(bare.head_weight() > 0.9) & ~bare.eyes] - origin
    height, depth = skull @ slope, skull @ ahead
    top = float(height.max())
    levels = np.linspace(0, top, 14)
    rows: list[tuple[float, float, float]] = []
    for level in levels:
        # The ears end below the rim; what lies at it is skull.
        near = np.abs(height - level) < 0.007
        rows.append(
            (
                float(np.abs(skull[near, 0]).max()),
                float(depth[near].max()),
                float(depth[near].min()),
            )
        )
    width, front, back = np.array(rows).T
    return _Rim(origin, slope, ahead, levels, width, front, back)


def _crown(bare: BareBody, rim: _Rim, hat: Hat) -> Surface:
    """Rise from the rim, keep clear of the head, close on top."""
    turn = np.linspace(0, 2 * np.pi, 49)
    top = float(rim.levels[-1]) + hat.height
    steep = 5.0 if hat.kind == "brim" else 2.4
    base = rim.ring(0.0, turn, room=_HAIR_ROOM)
    middle = rim.place(
        np.zeros(49), np.zeros(49), np.full(49, float((rim.front[0] + rim.back[0]) / 2))
    )
    rings: list[Array] = []
    for share in np.linspace(0, 1, 20):
        level = top * float(share)
        close = (1 - share**steep) ** (1 / steep)
        taper = 1 - (0.10 * share if hat.kind == "brim" else 0.0)
        ring = middle + (base - middle) * close * taper + level * rim.up
        if level < rim.levels[-1] - 0.004:
            # Wherever the head is wider than the hat's own form, the hat gives way.
            head = rim.ring(level, turn, room=_HAIR_ROOM)
            axis = middle + level * rim.up
            own = np.linalg.norm(ring - axis, axis=1, keepdims=True)
            need = np.linalg.norm(head - axis, axis=1, keepdims=True)
            ring = axis + (head - axis) / need * np.maximum(own, need)
        rings.append(ring)
    grid = np.stack(rings)
    if hat.kind == "brim":
        # The pinch along the top.
        x = (grid - rim.origin)[..., 0]
        high = smoothstep(0.8, 1.0, np.linspace(0, 1, 20))[:, None]
        grid = grid - (0.016 * high * np.exp(-((x / 0.03) ** 2)))[..., None] * rim.up
    return sheet(bare, grid, _woven(grid, rim))


def _brim(bare: BareBody, rim: _Rim, hat: Hat) -> Surface:
    turn = np.linspace(0, 2 * np.pi, 65)
    rings = [rim.ring(0.0, turn, room=_HAIR_ROOM, out=out) for out in np.linspace(0, hat.brim, 8)]
    grid = np.stack(rings)
    share = np.linspace(0, 1, 8)[:, None]
    # The sides turn up a little, front and back dip.
    bend = 0.18 * hat.brim * share**1.5 * (np.sin(turn)[None] ** 2 - 0.6)
    # The rim's own slope would lift a wide brim's front: lay it flatter.
    depth = (grid - rim.origin) @ rim.ahead
    flat = -0.16 * np.clip(np.abs(depth) - 0.09, 0, None) * np.sign(depth)
    grid = grid + (bend + flat)[..., None] * rim.up
    return sheet(bare, grid, _woven(grid, rim))


def _peak(bare: BareBody, rim: _Rim, hat: Hat) -> Surface:
    turn = np.linspace(-0.88, 0.88, 33)
    reach = hat.brim * (1 - (np.abs(turn) / 0.88) ** 2.6) ** 0.6
    rows = [
        rim.ring(0.004, turn, room=_HAIR_ROOM + 0.001, out=reach * share)
        for share in np.linspace(0, 1, 8)
    ]
    grid = np.stack(rows)
    share = np.linspace(0, 1, 8)[:, None]
    x = (grid - rim.origin)[..., 0]
    drop = (-0.30 * hat.brim - 1.6 * x**2) * share * (reach / hat.brim)
    grid = grid + drop[..., None] * rim.up
    return sheet(bare, grid, _woven(grid, rim))


def _beret(bare: BareBody, rim: _Rim, hat: Hat) -> Surface:
    turn = np.linspace(0, 2 * np.pi, 49)
    top = float(rim.levels[-1])
    rings: list[Array] = []
    for share in np.linspace(0, 1, 22):
        level = (top + 0.35 * hat.height) * float(1 - (1 - share) ** 1.4)
        out = 0.030 * np.sin(np.pi * np.clip(share * 1.35, 0, 1)) ** 0.8
        ring = rim.ring(min(level, top - 0.012), turn, room=_HAIR_ROOM, out=out)
        axis = rim.place(
            np.zeros(49), np.zeros(49), np.full(49, float(rim.back[0] + rim.front[0]) / 2)
        )
        close = smoothstep(1.0, 0.72, np.array([share]))[0] ** 0.5
        flat = ring - ((ring - rim.origin) @ rim.up)[:, None] * rim.up
        ring = axis + (flat - axis) * close + level * rim.up
        # It leans to one side.
        lean = 0.016 * share * np.sin(np.pi * min(1.0, share * 1.2))
        rings.append(ring + np.array([lean, 0.0, 0.0]) - 0.012 * share * rim.ahead)
    grid = np.stack(rings)
    return sheet(bare, grid, _woven(grid, rim))


def _woven(grid: Array, rim: _Rim) -> Array:
    """(n, m, 2): x and z from the head's axis, the angle by which prints run around."""
    away = grid - rim.origin
    return np.stack([away[..., 0], away @ rim.ahead + 0.02], axis=-1)
