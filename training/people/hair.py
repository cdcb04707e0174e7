"""Hair grown on the head itself: a cap over the scalp, with length, a bun or an afro's volume.

`coords` run across and along the strands, in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.people.garments import pushed_out
from training.people.noise import noise, smoothstep
from training.people.strands import StrandStyle
from training.people.surfaces import (
    Surface,
    clip,
    joined,
    normals,
    select_faces,
    smoothed,
    subdivide,
    with_vertices,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Array = NDArray[np.float64]

HairStyle = Literal["none", "short", "bob", "long", "bun", "afro", "ponytail"]
HAIR_STYLES: tuple[HairStyle, ...] = ("short", "bob", "long", "bun", "afro", "ponytail")

# The hairline as a curve over depth: metres ahead of the ear (template z minus the head joint's)
# against height above the eyes. Measured on the template's head.
_LINE_Z = (
    -0.16,
    -0.05,
    -0.035,
    -0.022,
    -0.014,
    0.018,
    0.022,
    0.034,
    0.040,
    0.052,
    0.068,
    0.085,
    0.1,
)
_LINE_Y = (
    -0.09,
    -0.086,
    -0.062,
    -0.030,
    0.012,
    0.012,
    -0.020,
    -0.024,
    0.0,
    0.034,
    0.054,
    0.066,
    0.072,
)


@dataclass(frozen=True, kw_only=True)
class HairCut:
    """A hair style.

    Attributes:
        style: its kind.
        volume: metres that the cap stands off the scalp.
        length: metres that long hair falls below the eyes.
        reach: radians round from the back of the head that falling hair covers to each side.
        gather: how far it draws together behind the shoulders, 0 (not at all) … 1.
    """

    style: HairStyle
    volume: float = 0.014
    length: float = 0.3
    reach: float = 2.12
    gather: float = 0.42


def strand_style(cut: HairCut, *, curly: bool) -> StrandStyle:
    """Return how single hairs lie in a cut."""
    if curly and cut.style == "afro":
        return StrandStyle(count=9000, length=(0.006, 0.018), width=0.0016, curl=0.0045)
    if curly:
        return StrandStyle(count=9000, length=(0.003, 0.006), width=0.0009, curl=0.0017)
    long = cut.style in ("long", "bob", "ponytail")
    return StrandStyle(
        count=8000,
        length=(0.07, 0.2) if long else (0.018, 0.042),
        width=0.0015 if long else 0.0011,
        lift=0.005,
        wave=0.002 if cut.style == "long" else 0.001,
        swept=cut.style != "short",
    )


def scalp_field(bare: BareBody, *, seed: int = 0) -> Array:
    """(V,) metres inside the hairline; negative on face, ears, neck and all the rest."""
    eyes = bare.mark("left_eye_smplhf")
    head = bare.mark("head")
    ahead = bare.template[:, 2] - head[2]
    above = bare.template[:, 1] - eyes[1]
    uneven = 0.0025 * noise(bare.template, 70.0, seed)
    field = above - np.interp(ahead, _LINE_Z, _LINE_Y) + uneven
    # The ears stay free: an oval where they stand out from the skull.
    ear = np.hypot((ahead - 0.003) / 0.022, (above + 0.021) / 0.034)
    field = np.where(
        np.abs(bare.template[:, 0]) > 0.055, np.minimum(field, (ear - 1) * 0.025), field
    )
    return np.where(bare.head_weight() + bare.weights[:, 12] > 0.5, field, -0.2)


def grow(bare: BareBody, cut: HairCut, seed: int, *, under_hat: bool = False) -> Surface | None:
    """Return the hair as a surface, or None for a bald head.

    Args:
        bare: the person.
        cut: the style.
        seed: of its unevenness.
        under_hat: press the crown flat, so that nothing pokes through a hat.
    """
    if cut.style == "none":
        return None
    cap = _cap(bare, cut, seed, under_hat=under_hat)
    extra: list[Surface] = []
    if cut.style in ("bob", "long"):
        extra.append(_curtain(bare, cut, seed))
    if cut.style == "bun":
        extra.append(_ball(bare, _knot(bare, high=True), 0.042, seed))
    if cut.style == "ponytail":
        extra.append(_tail(bare, cut, seed))
    if under_hat:
        # A finger's breadth of it stays under the rim.
        extra = [clip(piece, 0.012 - hat_field(bare, piece.paint)) for piece in extra]
    return joined([cap, *extra])


def hat_field(bare: BareBody, paint: Array) -> Array:
    """(N,) metres above a cap's rim for points on the template: lower at the nape."""
    above = paint[:, 1] - bare.mark("left_eye_smplhf")[1]
    ahead = paint[:, 2] - bare.mark("head")[2]
    return above - (0.018 + 0.35 * ahead)


def _cap(bare: BareBody, cut: HairCut, seed: int, *, under_hat: bool) -> Surface:
    field = scalp_field(bare, seed=seed)
    surface = bare.surface()
    wanted: NDArray[np.bool_] = np.asarray((field > -0.03)[surface.faces].all(axis=1))
    rise = smoothstep(-0.004, 0.035 if cut.style != "afro" else 0.05, field)
    above = bare.template[:, 1] - bare.mark("left_eye_smplhf")[1]
    thickness = 0.0025 + cut.volume * rise
    if cut.style == "short":
        thickness = 0.002 + cut.volume * rise * (0.35 + 0.65 * smoothstep(-0.05, 0.07, above))
    if cut.style in ("bun", "ponytail"):
        thickness = 0.002 + 0.55 * cut.volume * rise
    if under_hat:
        thickness = np.minimum(thickness, np.where(above > 0.03, 0.004, 0.012))
    outward = smoothed(bare.normals, surface.faces[wanted], 6)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    values = surface.attributes()
    values[:, :3] = smoothed(bare.vertices, surface.faces[wanted], 2) + thickness[:, None] * outward
    values[:, -1] = field
    cap = subdivide(subdivide(select_faces(surface.rebuilt(values, surface.faces), wanted)))
    cap = clip(cap, cap.edge)
    return _combed(bare, cap, seed, bumpy=cut.style == "afro")


def _combed(bare: BareBody, cap: Surface, seed: int, *, bumpy: bool) -> Surface:
    """Set strand coordinates from a crown whorl, and raise locks."""
    combed = comb(bare, cap)
    across, along = combed.coords.T
    outward = normals(cap.vertices, cap.faces)
    if bumpy:
        relief = 0.008 * noise(cap.paint, 75.0, seed) + 0.006 * noise(cap.paint, 34.0, seed + 1)
    else:
        angle = np.stack([np.sin(across / 0.09), np.cos(across / 0.09), along * 4], axis=1)
        relief = 0.0024 * noise(angle, (9.0, 9.0, 1.5), seed)
    grown = smoothstep(0.0, 0.02, cap.edge)
    return with_vertices(combed, cap.vertices + (relief * grown)[:, None] * outward)


def comb(bare: BareBody, hair: Surface) -> Surface:
    """Return the hair with strands that run out from the crown's whorl."""
    crown = bare.mark("head") + np.array([0.015, 0.13, -0.07])
    way = hair.paint - crown
    across = np.arctan2(way[:, 0], way[:, 2]) * 0.09
    values = hair.attributes()
    values[:, -3:-1] = np.stack([across, np.linalg.norm(way, axis=1)], axis=1)
    return hair.rebuilt(values, hair.faces)


def knit_cap(bare: BareBody) -> Surface:
    """Return a knitted cap over the crown, with a turned-up rim."""
    field = np.where(bare.head_weight() > 0.5, hat_field(bare, bare.template), -0.2)
    surface = bare.surface()
    wanted: NDArray[np.bool_] = np.asarray((field > -0.03)[surface.faces].all(axis=1))
    outward = smoothed(bare.normals, surface.faces[wanted], 8)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    rim = 0.004 * smoothstep(0.042, 0.036, field)
    thickness = 0.012 + rim + 0.018 * smoothstep(0.05, 0.12, field)
    values = surface.attributes()
    values[:, :3] = smoothed(bare.vertices, surface.faces[wanted], 10)
    values[:, :3] += thickness[:, None] * outward
    values[:, -1] = field
    cap = subdivide(select_faces(surface.rebuilt(values, surface.faces), wanted))
    cap = clip(cap, cap.edge)
    # Smoothing draws the crown in: keep it above the hair.
    cap = with_vertices(cap, pushed_out(cap.vertices, bare, gap=0.0135))
    values = cap.attributes()
    values[:, -3:-1] = cap.paint[:, [0, 2]] - bare.mark("head")[[0, 2]] + np.array([0.0, 0.02])
    return cap.rebuilt(values, cap.faces)


def _curtain(bare: BareBody, cut: HairCut, seed: int) -> Surface:
    """Hair that falls from the head's equator behind the ears to neck, shoulders and back."""
    around, down = 150, 44
    angle = np.linspace(-cut.reach, cut.reach, around)
    step = np.linspace(0, 1, down)
    eyes = bare.joint("left_eye_smplhf") * np.array([0, 1, 1])
    scalp = bare.vertices[(bare.head_weight() > 0.9) & (scalp_field(bare) > 0.01)]
    middle = np.array([0.0, eyes[1], float(scalp[:, 2].min() + scalp[:, 2].max()) / 2 - 0.01])
    half_width = float(np.percentile(np.abs(scalp[:, 0]), 98)) + cut.volume
    half_depth = float(middle[2] - scalp[:, 2].min()) + cut.volume
    length = 0.11 if cut.style == "bob" else cut.length
    ends = 1 + 0.05 * noise(np.stack([angle * 3, angle * 0], 1), 6.0, seed)
    # From a little above the eyes (inside the cap) downward; at first along the skull.
    y = eyes[1] + 0.075 - step[:, None] * (length + 0.075) * ends[None]
    fall = np.clip((eyes[1] + 0.02 - y) / 0.2, 0, 1)
    tuck = 1 - 0.16 * smoothstep(0.0, 0.6, fall) * np.cos(angle / 2)[None] ** 2
    locks = 1 + 0.035 * noise(np.stack([angle * 2, angle * 0 + 3], 1), 5.0, seed + 2)[None] * (
        0.3 + step[:, None]
    )
    start = np.clip((y - eyes[1]) / 0.075, 0, 1)
    # The upper end hides inside the cap.
    radius = (1 - 0.3 * start**2) * tuck * locks
    # Lower down the hair gathers behind the shoulders.
    gather = 1 - cut.gather * smoothstep(0.35, 1.0, fall)
    turn = angle[None] * gather
    x = middle[0] + half_width * np.sin(turn) * radius
    z = middle[2] - half_depth * np.cos(turn) * radius
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    vertices = pushed_out(vertices, bare, gap=0.010, torso_gap=0.036)
    grid = smoothed_grid(vertices.reshape(down, around, 3))
    vertices = pushed_out(grid.reshape(-1, 3), bare, gap=0.009, torso_gap=0.034, rounds=2)
    ring, column = np.meshgrid(np.arange(down - 1), np.arange(around - 1), indexing="ij")
    index = (ring * around + column).ravel()
    quads = np.stack([index, index + around, index + around + 1, index + 1], axis=1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    height = vertices[:, 1]
    back = smoothstep(eyes[1] - 0.08, eyes[1] - 0.2, height)
    weights = np.zeros((len(vertices), 55))
    weights[:, 15] = 1 - back
    weights[:, 9] = back * smoothstep(eyes[1] - 0.1, eyes[1] - 0.26, height)
    weights[:, 12] = 1 - weights[:, 15] - weights[:, 9]
    paint = vertices - bare.joint("head") + bare.mark("head")
    coords = np.stack([np.tile(angle * half_width, down), np.repeat(step * length, around)], axis=1)
    return Surface(
        vertices=vertices,
        faces=faces,
        weights=weights,
        paint=paint,
        coords=coords,
        edge=np.repeat((1 - step) * length, around),
    )


def smoothed_grid(grid: Array, rounds: int = 3) -> Array:
    """Average an (n, m, 3) grid of points along both directions; its border stays."""
    grid = grid.copy()
    for _ in range(rounds):
        inner = grid[1:-1, 1:-1]
        near = grid[:-2, 1:-1] + grid[2:, 1:-1] + grid[1:-1, :-2] + grid[1:-1, 2:]
        grid[1:-1, 1:-1] = 0.5 * inner + 0.125 * near
    return grid


def _knot(bare: BareBody, *, high: bool) -> Array:
    """Return the (3,) place on the back of the head where hair is tied."""
    scalp = bare.vertices[bare.head_weight() > 0.9]
    eyes = bare.joint("left_eye_smplhf")
    y = float(scalp[:, 1].max()) - 0.02 if high else float(eyes[1]) + 0.03
    level = scalp[np.abs(scalp[:, 1] - y) < 0.02]
    return np.array([0.0, y, float(level[:, 2].min()) + (0.005 if high else -0.01)])


def _ball(bare: BareBody, center: Array, radius: float, seed: int) -> Surface:
    latitude, longitude = np.meshgrid(
        np.linspace(0, np.pi, 28), np.linspace(0, 2 * np.pi, 48), indexing="ij"
    )
    way = np.stack(
        [
            np.sin(latitude) * np.cos(longitude),
            np.cos(latitude),
            np.sin(latitude) * np.sin(longitude),
        ],
        axis=-1,
    )
    swirl = noise(
        np.stack([latitude.ravel() * 2 + longitude.ravel(), latitude.ravel()], 1), 3.0, seed
    )
    size = radius * (1 + 0.05 * swirl.reshape(latitude.shape))
    vertices = (center + way * size[..., None] * np.array([1.0, 0.85, 1.0])).reshape(-1, 3)
    coords = np.stack(
        [longitude.ravel() * radius + latitude.ravel() * 0.03, latitude.ravel() * radius], 1
    )
    return _head_surface(bare, vertices, _grid_faces(28, 48), coords)


def _tail(bare: BareBody, cut: HairCut, seed: int) -> Surface:
    """A tail that leaves the head at the back and falls to the shoulder blades."""
    down, around = 40, 28
    start = _knot(bare, high=False)
    s = np.linspace(0, 1, down)
    spine = start + np.stack(
        [
            0 * s,
            -cut.length * s**1.2 + 0.01 * np.sin(np.pi * s),
            -0.05 * np.sin(np.pi * np.minimum(1.4 * s, 1)),
        ],
        axis=1,
    )
    spine[:, 2] -= 0.01
    thick = 0.012 + 0.022 * np.sin(np.pi * np.clip(s * 0.9 + 0.06, 0, 1)) ** 0.8
    turn = np.linspace(0, 2 * np.pi, around)
    lock = 1 + 0.12 * noise(np.stack([np.cos(turn), np.sin(turn)], 1), 2.5, seed)
    vertices = np.stack(
        [
            np.cos(turn)[None] * thick[:, None] * lock[None] * 1.2,
            np.zeros((down, around)),
            np.sin(turn)[None] * thick[:, None] * lock[None] * 0.8,
        ],
        axis=-1,
    )
    vertices = (vertices + spine[:, None]).reshape(-1, 3)
    vertices = pushed_out(vertices, bare, gap=0.01, torso_gap=0.034)
    coords = np.stack([np.tile(turn * 0.03, down), np.repeat(s * cut.length, around)], axis=1)
    tail = _head_surface(bare, vertices, _grid_faces(down, around), coords)
    height = np.repeat(s, around)
    weights = np.zeros((len(vertices), 55))
    weights[:, 9] = 0.8 * smoothstep(0.45, 1.0, height)
    weights[:, 12] = smoothstep(0.2, 0.7, height) * (1 - weights[:, 9]) * 0.7
    weights[:, 15] = 1 - weights[:, 9] - weights[:, 12]
    values = tail.attributes()
    values[:, 3:58] = weights
    return tail.rebuilt(values, tail.faces)


def _grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    ring, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    index = (ring * columns + column).ravel()
    quads = np.stack([index, index + 1, index + columns + 1, index + columns], axis=1)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _head_surface(
    bare: BareBody, vertices: Array, faces: NDArray[np.int64], coords: Array
) -> Surface:
    weights = np.zeros((len(vertices), 55))
    weights[:, 15] = 1.0
    return Surface(
        vertices=vertices,
        faces=faces,
        weights=weights,
        paint=vertices - bare.joint("head") + bare.mark("head"),
        coords=coords,
        edge=np.full(len(vertices), 1.0),
    )
