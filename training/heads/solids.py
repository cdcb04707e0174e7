"""Simple solids that wearings are made of: tubes, balls, sheets, and bands that lie on skin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_COUNT, JOINT_INDEX
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

_HEAD = JOINT_INDEX["head"]


def tube(
    bare: BareBody, curve: Array, radius: float | Array, *, closed: bool = False, sides: int = 8
) -> Surface:
    """Return a tube around a curve (N, 3) that moves with the head.

    Args:
        bare: whose head.
        curve: in the rest pose, metres.
        radius: metres; one number or (N,).
        closed: whether the end joins the start.
        sides: of the tube's cross-section.
    """
    ahead = np.roll(curve, -1, axis=0) - np.roll(curve, 1, axis=0)
    if not closed:
        ahead[0], ahead[-1] = curve[1] - curve[0], curve[-1] - curve[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    # One axis that no part of the curve follows keeps the cross-section from twisting.
    spread = np.linalg.svd(curve - curve.mean(axis=0), full_matrices=False)[2]
    side = np.cross(ahead, spread[-1] + 1e-3)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(side, ahead)
    turn = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * up[:, None]
    grid = curve[:, None] + np.broadcast_to(radius, len(curve))[:, None, None] * ring
    if closed:
        grid = np.concatenate([grid, grid[:1]])
    return sheet(bare, grid)


def ball(bare: BareBody, center: Array, radii: tuple[float, float, float]) -> Surface:
    """Return an ellipsoid that moves with the head: center (3,), radii in metres."""
    down, around = np.meshgrid(
        np.linspace(0, np.pi, 9), np.linspace(0, 2 * np.pi, 15), indexing="ij"
    )
    way = np.stack(
        [np.sin(down) * np.cos(around), np.cos(down), np.sin(down) * np.sin(around)], axis=-1
    )
    return sheet(bare, center + way * np.array(radii))


def sheet(bare: BareBody, grid: Array, coords: Array | None = None) -> Surface:
    """Return a grid of points (n, m, 3) as a surface that moves with the head.

    Args:
        bare: whose head.
        grid: in the rest pose, metres.
        coords: (n, m, 2) free coordinates; the grid's own lengths when None.
    """
    rows, columns = grid.shape[:2]
    ring, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    index = (ring * columns + column).ravel()
    quads = np.stack([index, index + 1, index + columns + 1, index + columns], axis=1)
    vertices = grid.reshape(-1, 3)
    weights = np.zeros((len(vertices), JOINT_COUNT))
    weights[:, _HEAD] = 1.0
    if coords is None:
        coords = np.stack(
            np.meshgrid(np.arange(rows) * 0.01, np.arange(columns) * 0.01, indexing="ij"), axis=-1
        )
    return Surface(
        vertices=vertices,
        faces=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]),
        weights=weights,
        paint=vertices - bare.joint("head") + bare.mark("head"),
        coords=coords.reshape(-1, 2),
        edge=np.full(len(vertices), 1.0),
    )


def skin_band(
    bare: BareBody,
    cut: Callable[[Array], Array],
    thickness: float,
    *,
    rounds: int,
    splits: int,
) -> Surface:
    """Return a shell over the part of the skin where a field is positive, cut along its zero line.

    Args:
        bare: the person.
        cut: the field: metres inside the band for points (N, 3) on the template.
        thickness: metres off the skin.
        rounds: of smoothing, which bridges hollows.
        splits: how often triangles are split in four before the cut: a band narrower than the
            skin's triangles needs some.
    """
    surface = bare.surface()
    wanted: NDArray[np.bool_] = np.asarray(
        (cut(bare.template) > -0.03)[surface.faces].any(axis=1)
        & ~bare.eyes[surface.faces].any(axis=1)
    )
    faces = surface.faces[wanted]
    outward = smoothed(bare.normals, faces, 3)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    values = surface.attributes()
    values[:, :3] = smoothed(bare.vertices + thickness * outward, faces, rounds)
    band = select_faces(surface.rebuilt(values, surface.faces), wanted)
    for _ in range(splits):
        band = subdivide(band)
    return clip(band, cut(band.paint))


def puffed(surface: Surface, amount: NDArray[np.floating]) -> Surface:
    """Return the surface with its vertices moved along their normals by (V,) metres."""
    outward = normals(surface.vertices, surface.faces)
    return with_vertices(surface, surface.vertices + amount[:, None] * outward)
