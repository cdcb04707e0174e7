"""Clothes tailored on the body itself: shells over the skin, cut along clean lines.

A garment is cut by a field in metres on the unshaped template (positive inside the cloth), so
that a hem stays where it belongs whatever the person's shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.spatial import ConvexHull, KDTree

from blender_addon.contract.joints import HEAD_JOINTS, LEFT_HAND_JOINTS, RIGHT_HAND_JOINTS
from training.people.noise import noise, smoothstep
from training.people.surfaces import (
    Surface,
    clip,
    normals,
    select_faces,
    smoothed,
    subdivide,
    with_vertices,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Array = NDArray[np.float64]

Neck = Literal["round", "wide", "v", "collar", "jacket"]


@dataclass(frozen=True, kw_only=True)
class Top:
    """A shirt, jersey or pullover.

    Attributes:
        sleeve: length, 0 (none) … 1 (elbow) … 2 (wrist).
        neck: shape of its opening.
        hem: metres below the pelvis joint; negative for above.
        ease: metres of air between skin and cloth.
    """

    sleeve: float = 0.6
    neck: Neck = "round"
    hem: float = 0.04
    ease: float = 0.011


@dataclass(frozen=True, kw_only=True)
class Trousers:
    """Trousers or shorts.

    Attributes:
        leg: length, 0 (hip) … 1 (knee) … 2 (ankle).
        ease: metres of air between skin and cloth.
        flare: further metres of air at the hem.
    """

    leg: float = 1.97
    ease: float = 0.008
    flare: float = 0.012


@dataclass(frozen=True, kw_only=True)
class Shoes:
    """Low shoes with a sole.

    Attributes:
        shaft: metres that they reach above the ankle joint.
        sole: thickness in metres.
    """

    shaft: float = 0.02
    sole: float = 0.022


def top_field(bare: BareBody, top: Top, paint: Array) -> Array:
    """(V,) metres inside the cut of a top, for points on the template."""
    x = np.abs(paint[:, 0])
    hem = paint[:, 1] - (bare.mark("pelvis")[1] - top.hem)
    sleeve = _sleeve_end(bare, top.sleeve) - x
    center = bare.mark("neck")
    width = {"round": 0.085, "wide": 0.115, "v": 0.085, "collar": 0.062, "jacket": 0.078}[top.neck]
    from_neck = (paint - (center + np.array([0.0, 0.0, 0.01]))) * np.array([1.0, 0.8, 0.85])
    opening = np.linalg.norm(from_neck, axis=1) - width
    # All of the neck and head lies outside, however far from the neck's middle.
    limit = center[1] + 0.02 + 0.05 * smoothstep(0.02, -0.03, paint[:, 2] - center[2])
    opening = np.minimum(opening, limit - paint[:, 1])
    field = np.minimum(np.minimum(hem, sleeve), opening)
    if top.neck in ("v", "jacket"):
        v, below = opening_distance(bare, paint, deep=top.neck == "jacket")
        field = np.where(below < 1.05, np.minimum(field, v), field)
    return field


def opening_distance(bare: BareBody, paint: Array, *, deep: bool) -> tuple[Array, Array]:
    """Return (V,) metres from a V-shaped opening and how far down it, 0 at the collar, 1 at its end."""
    center = bare.mark("neck")
    depth, width = (0.33, 0.08) if deep else (0.13, 0.072)
    below = (center[1] - paint[:, 1] - 0.02) / depth
    distance = (np.abs(paint[:, 0]) - width * (1 - below)) * 0.95
    front = paint[:, 2] > center[2] - 0.01
    return distance, np.where(front, below, 2.0)


def trousers_field(bare: BareBody, trousers: Trousers, paint: Array) -> Array:
    """(V,) metres inside the cut of trousers, for points on the template."""
    waist = bare.mark("spine1")[1] + 0.015
    hem = _leg_height(bare, trousers.leg)
    y = paint[:, 1]
    arms = np.abs(paint[:, 0]) - 0.35
    return np.minimum(np.minimum(waist - y, y - hem), -arms)


def shoes_field(bare: BareBody, shoes: Shoes, paint: Array) -> Array:
    """(V,) metres inside the cut of shoes: lower in front of the shin than behind the heel."""
    ankle = bare.mark("left_ankle")
    return ankle[1] + shoes.shaft - paint[:, 1]


def sew_top(bare: BareBody, top: Top, seed: int, *, over: Top | None = None) -> Surface:
    """Return the top as a surface, without what another top worn over it hides."""
    paint = bare.template
    waist = smoothstep(bare.mark("spine3")[1], bare.mark("pelvis")[1], paint[:, 1])
    cuff = smoothstep(0.5, 1.0, np.abs(paint[:, 0]) / max(_sleeve_end(bare, top.sleeve), 0.1))
    loose = 0.010 * waist * (np.abs(paint[:, 0]) < 0.25) + (0.008 * cuff if top.sleeve > 0.2 else 0)
    surface = _shell(
        bare,
        lambda points: top_field(bare, top, points),
        top.ease + loose,
        rounds=18,
        folds=(0.0028, (20.0, 8.0, 20.0), seed),
    )
    if over is not None:
        surface = clip(
            surface, np.minimum(surface.edge, 0.02 - top_field(bare, over, surface.paint))
        )
    return _measured_around(bare, surface)


def sew_trousers(
    bare: BareBody, trousers: Trousers, seed: int, *, over: Top | None = None
) -> Surface:
    """Return the trousers as a surface, without what a top worn over them hides."""
    hem = _leg_height(bare, trousers.leg)
    top = bare.mark("left_hip")[1]
    down = smoothstep(top, hem, bare.template[:, 1])
    surface = _shell(
        bare,
        lambda points: trousers_field(bare, trousers, points),
        trousers.ease + trousers.flare * down,
        rounds=10,
        folds=(0.0026, (11.0, 17.0, 11.0), seed),
    )
    if over is None:
        return surface
    return clip(surface, np.minimum(surface.edge, 0.04 - top_field(bare, over, surface.paint)))


def make_shoes(bare: BareBody, shoes: Shoes) -> Surface:
    """Return a pair of shoes; `coords[:, 1]` is the height above the ground in metres."""
    surface = _shell(
        bare,
        lambda points: shoes_field(bare, shoes, points),
        np.full(len(bare.vertices), 0.009),
        rounds=26,
        folds=None,
    )
    vertices = smoothed(_without_toes(bare, surface.vertices), surface.faces, 4)
    ground = float(bare.vertices[:, 1].min())
    # The upper ends in a flat sole that stands out a little all around.
    height = vertices[:, 1] - ground
    rim = smoothstep(0.022, 0.008, height)
    outward = normals(vertices, surface.faces) * np.array([1.0, 0.0, 1.0])
    vertices += (rim * 0.005)[:, None] * outward
    vertices[:, 1] = np.where(
        height < 0.012, ground - shoes.sole + 0.3 * np.maximum(height, 0), vertices[:, 1]
    )
    coords = np.stack([vertices[:, 0], vertices[:, 1] - (ground - shoes.sole)], axis=1)
    return Surface(
        vertices=vertices,
        faces=surface.faces,
        weights=surface.weights,
        paint=surface.paint,
        coords=coords,
        edge=surface.edge,
    )


def _without_toes(bare: BareBody, vertices: Array) -> Array:
    """Return the (N, 3) vertices of shoes with each forefoot as the hull of what it holds."""
    ankle = bare.joint("left_ankle")
    forward = vertices[:, 2] - ankle[2]
    result = vertices.copy()
    for side in (vertices[:, 0] > 0, vertices[:, 0] <= 0):
        fore = side & (forward > 0.02)
        points = vertices[fore]
        hull = ConvexHull(points).equations
        center = points.mean(axis=0)
        way = points - center
        facing = way @ hull[:, :3].T
        room = -(hull[:, :3] @ center + hull[:, 3])
        reach = np.where(facing > 1e-9, room[None] / np.maximum(facing, 1e-9), np.inf).min(axis=1)
        # Away from the toes the shoe keeps its own shape.
        share = smoothstep(0.02, 0.07, forward[fore])[:, None]
        result[fore] = points + share * (np.clip(reach, 1.0, 1.6) - 1)[:, None] * way
    return result


def skin_under(bare: BareBody, fields: list[Array], *, margin: float = 0.025) -> NDArray[np.bool_]:
    """(F,) bool: faces of the skin that clothes hide for good."""
    hidden = np.zeros(len(bare.vertices), bool)
    for field in fields:
        hidden |= field > margin
    return np.asarray(hidden[bare.faces].all(axis=1))


def pushed_out(
    vertices: Array, bare: BareBody, *, gap: float, torso_gap: float | None = None, rounds: int = 3
) -> Array:
    """Return the (N, 3) vertices moved outward where they lie under the skin or close to it.

    Args:
        vertices: in the person's rest pose.
        bare: the person.
        gap: least distance from the skin, metres.
        torso_gap: the same below the neck, where clothes lie between; as `gap` when None.
        rounds: the nearest point of the skin changes as a vertex moves.
    """
    solid = ~bare.eyes
    tree = KDTree(bare.vertices[solid])
    outward = bare.normals[solid]
    neck = float(bare.joint("neck")[1])
    low = smoothstep(neck + 0.03, neck - 0.06, vertices[:, 1])
    least = gap + ((torso_gap or gap) - gap) * low
    for _ in range(rounds):
        _, index = tree.query(vertices)
        index = np.asarray(index)
        height = ((vertices - bare.vertices[solid][index]) * outward[index]).sum(axis=1)
        vertices = vertices + np.clip(least - height, 0, 0.05)[:, None] * outward[index]
    return vertices


def _shell(
    bare: BareBody,
    cut: Callable[[Array], Array],
    thickness: NDArray[np.floating],
    *,
    rounds: int,
    folds: tuple[float, tuple[float, float, float], int] | None,
) -> Surface:
    surface = bare.surface()
    field = cut(bare.template)
    apart = [*HEAD_JOINTS, *LEFT_HAND_JOINTS[1:], *RIGHT_HAND_JOINTS[1:]]
    near = (field > -0.03) & (bare.weights[:, apart].sum(axis=1) < 0.5)
    wanted = near[surface.faces].all(axis=1)
    skin, outward = bare.vertices, bare.normals
    # Cloth bridges what skin follows: smooth over the wanted part, then keep off the skin.
    draped = skin + smoothed(outward, surface.faces[wanted], 4) * thickness[:, None]
    draped = smoothed(draped, surface.faces[wanted], rounds)
    for _ in range(3):
        height = ((draped - skin) * outward).sum(axis=1)
        lack = np.clip(0.9 * thickness - height, 0, 0.03)
        lack = np.maximum(smoothed(lack[:, None], surface.faces[wanted], 2)[:, 0], 0.7 * lack)
        draped = draped + lack[:, None] * outward
    draped = smoothed(draped, surface.faces[wanted], 2)
    values = surface.attributes()
    values[:, :3] = draped
    # Smoothing slides the cloth over the skin: let the print and the hems slide with it.
    values[:, 58:61] = smoothed(bare.template, surface.faces[wanted], rounds)
    values[:, -1] = cut(values[:, 58:61])
    cloth = select_faces(surface.rebuilt(values, surface.faces), wanted)
    cloth = subdivide(cloth)
    if folds is not None:
        amount, scale, seed = folds
        cloth = _folded(cloth, amount, scale, seed)
    return clip(cloth, cloth.edge)


def _measured_around(bare: BareBody, surface: Surface) -> Surface:
    """Set `coords` to x and z from the trunk's own middle at each height: the print's angle."""
    trunk = bare.template[np.abs(bare.template[:, 0]) < 0.15]
    levels = np.linspace(float(bare.mark("left_hip")[1]), float(bare.mark("neck")[1]) - 0.05, 12)
    middles = [
        float(np.mean(np.percentile(trunk[np.abs(trunk[:, 1] - y) < 0.03, 2], [2, 98])))
        for y in levels
    ]
    x, y, z = surface.paint.T
    coords = np.stack([x, z - np.interp(y, levels, middles)], axis=1)
    values = surface.attributes()
    values[:, -3:-1] = coords
    return surface.rebuilt(values, surface.faces)


def _folded(cloth: Surface, amount: float, scale: tuple[float, float, float], seed: int) -> Surface:
    coarse = noise(cloth.paint, scale, seed)
    # Absolute value turns smooth noise into creases.
    crease = 1 - np.abs(noise(cloth.paint, tuple(1.9 * s for s in scale), seed + 1)) * 2
    relief = amount * (0.8 * coarse + 0.5 * crease)
    vertices = cloth.vertices + relief[:, None] * normals(cloth.vertices, cloth.faces)
    return with_vertices(cloth, vertices)


def _sleeve_end(bare: BareBody, length: float) -> float:
    """Return the |x| at which a sleeve ends on the template."""
    shoulder, elbow, wrist = (
        float(bare.mark(f"left_{name}")[0]) for name in ("shoulder", "elbow", "wrist")
    )
    return float(np.interp(length, [0, 1, 2], [shoulder + 0.01, elbow, wrist - 0.01]))


def _leg_height(bare: BareBody, length: float) -> float:
    """Return the y at which a trouser leg ends on the template."""
    hip, knee, ankle = (float(bare.mark(f"left_{name}")[1]) for name in ("hip", "knee", "ankle"))
    return float(np.interp(length, [0, 1, 2], [hip - 0.08, knee, ankle]))
