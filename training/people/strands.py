"""Strands on hair: thin ribbons that follow a hair surface's flow, and curls that stand off it.

The surface below (`hair`, `beard`) gives the mass and the colour; the strands give it a grain
that light runs along, and an outline that is not a cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from training.people.noise import noise, smoothstep
from training.people.surfaces import normals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.surfaces import Surface

    Array = NDArray[np.float64]

_NEIGHBOURS = 3


@dataclass(frozen=True, kw_only=True)
class StrandStyle:
    """How strands lie.

    Attributes:
        count: number of strands.
        length: metres, shortest and longest.
        width: metres at the root.
        lift: metres that the tip stands off the surface, at most.
        wave: metres of sideways waves.
        curl: radius of curls in metres; 0 for strands that lie along the surface.
        swept: comb hair back from the face instead of out from the crown.
    """

    count: int
    length: tuple[float, float]
    width: float = 0.0012
    lift: float = 0.004
    wave: float = 0.001
    curl: float = 0.0
    swept: bool = False


@dataclass(frozen=True, kw_only=True)
class Strands:
    """Ribbons as one mesh.

    Attributes:
        vertices: (V, 3) metres, rest pose.
        faces: (F, 3).
        weights: (V, 55).
        paint: (V, 3) on the template.
        coords: (V, 2) across and along each strand, metres.
        shade: (V,) factor on the hair's colour.
    """

    vertices: Array
    faces: NDArray[np.int64]
    weights: Array
    paint: Array
    coords: Array
    shade: Array


def grow_strands(
    surface: Surface, style: StrandStyle, seed: int, allowed: NDArray[np.bool_] | None = None
) -> Strands:
    """Grow strands on a hair surface.

    Args:
        surface: whose `coords[:, 1]` grows along the flow; where its `edge` is 0, strands end.
        style: how they lie.
        seed: of their places.
        allowed: (V,) bool: where roots may be; everywhere when None.
    """
    rng = np.random.default_rng([seed, 23])
    roots, faces, share = _roots(surface, style.count, rng, allowed)
    normal = normals(surface.vertices, surface.faces)
    flow = _flow(surface, normal, swept=style.swept)
    field = _Field(surface, normal, flow)
    if style.curl > 0:
        spine, outward = _curls(field, roots, style, rng)
    else:
        spine, outward = _lying(field, roots, style, rng)
    steps = spine.shape[1]
    along = np.linspace(0, 1, steps)
    taper = style.width * (1 - 0.75 * along**2)
    tangent = np.gradient(spine, axis=1)
    across = _unit(np.cross(tangent, outward))
    half = across * (taper / 2)[None, :, None]
    vertices = np.stack([spine - half, spine + half], axis=2).reshape(-1, 3)
    corners = surface.faces[faces]
    shade = np.exp(rng.normal(0, 0.16, len(roots)))[:, None] * (0.78 + 0.34 * along)[None]
    count = len(roots)
    _, near = field.tree.query(spine.reshape(-1, 3))
    near = np.asarray(near)
    length = np.linalg.norm(np.diff(spine, axis=1), axis=2).sum(axis=1)
    place = np.einsum("nck,nc->nk", surface.paint[corners], share)[:, None] + spine - roots[:, None]
    return Strands(
        vertices=vertices,
        faces=_ribbon_faces(count, steps),
        weights=np.repeat(surface.weights[near], 2, axis=0),
        paint=np.repeat(place.reshape(-1, 3), 2, axis=0),
        coords=np.stack(
            [
                np.tile([-style.width / 2, style.width / 2], count * steps)
                + np.repeat(rng.uniform(0, 1, count), 2 * steps),
                np.repeat((length[:, None] * along[None]).ravel(), 2),
            ],
            axis=1,
        ),
        shade=np.repeat(shade.ravel(), 2),
    )


class _Field:
    """Normal, flow and distance to the hem near a surface."""

    def __init__(self, surface: Surface, normal: Array, flow: Array) -> None:
        self.tree = KDTree(surface.vertices)
        self._vertices = surface.vertices
        self._values = np.concatenate([normal, flow, surface.edge[:, None]], axis=1)

    def __call__(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Return normal (N, 3), flow (N, 3), height above the surface (N,), edge (N,).

        Away from the surface the edge is 0.
        """
        distance, index = self.tree.query(points, k=_NEIGHBOURS)
        share = 1 / (np.asarray(distance) + 1e-5)
        share /= share.sum(axis=1, keepdims=True)
        index = np.asarray(index)
        values = np.einsum("nk,nkc->nc", share, self._values[index])
        normal = _unit(values[:, :3])
        height = np.einsum("nk,nkc,nc->n", share, points[:, None] - self._vertices[index], normal)
        near = np.asarray(distance)[:, 0] < 0.012
        return normal, _unit(values[:, 3:6]), height, np.where(near, values[:, 6], 0.0)


def _lying(
    field: _Field, roots: Array, style: StrandStyle, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Walk along the flow, rising a little towards the tip."""
    steps = 8
    count = len(roots)
    length = rng.uniform(*style.length, count)
    lift = style.lift * rng.uniform(0.1, 1.0, count) ** 2 + 0.0006
    phase, turns = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.6, 1.6, count)
    spine = np.empty((count, steps, 3))
    outward = np.empty((count, steps, 3))
    points = roots
    moving = np.ones(count)
    for step in range(steps):
        normal, flow, height, edge = field(points)
        s = step / (steps - 1)
        wanted = lift * s + 0.0004
        points = points + (wanted - height)[:, None] * normal
        sideways = np.cross(normal, flow)
        sway = style.wave * np.sin(phase + turns * 2 * np.pi * s) * s**0.5
        spine[:, step] = points + sway[:, None] * sideways
        outward[:, step] = normal
        # Where the hair ends at the face, strands end too.
        moving = np.minimum(moving, smoothstep(0.0005, 0.004, edge) * 0.9 + 0.1)
        points = points + (length * moving / (steps - 1))[:, None] * flow
    return spine, outward


def _curls(
    field: _Field, roots: Array, style: StrandStyle, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Stand curls on the surface, each a turn or two of a spring."""
    steps = 10
    count = len(roots)
    normal, flow, _, edge = field(roots)
    short = smoothstep(0.0, 0.012, edge) * 0.75 + 0.25
    length = rng.uniform(*style.length, count) * short
    radius = style.curl * rng.uniform(0.6, 1.2, count) * short
    lean = _unit(normal + 0.5 * rng.normal(0, 1, (count, 3)))
    side = _unit(np.cross(lean, flow + 1e-6))
    ahead = np.cross(lean, side)
    phase, turns = rng.uniform(0, 2 * np.pi, count), rng.uniform(1.0, 1.8, count)
    s = np.linspace(0, 1, steps)
    angle = phase[:, None] + 2 * np.pi * turns[:, None] * s[None]
    ring = np.cos(angle)[..., None] * side[:, None] + np.sin(angle)[..., None] * ahead[:, None]
    grown = (radius[:, None] * np.minimum(1, 2.5 * s)[None])[..., None]
    spine = roots[:, None] + lean[:, None] * (length[:, None] * s)[..., None] + grown * ring
    return spine, ring


def _roots(
    surface: Surface, count: int, rng: np.random.Generator, allowed: NDArray[np.bool_] | None
) -> tuple[Array, NDArray[np.int64], Array]:
    """Draw points evenly over the surface: places (N, 3), faces (N,), barycentrics (N, 3)."""
    a, b, c = (surface.vertices[surface.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if allowed is not None:
        area = area * allowed[surface.faces].all(axis=1)
    faces = rng.choice(len(area), count, p=area / area.sum())
    u, v = np.sqrt(rng.uniform(0, 1, count)), rng.uniform(0, 1, count)
    share = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    corners = surface.faces[faces]
    return np.einsum("nck,nc->nk", surface.vertices[corners], share), faces, share


def _flow(surface: Surface, normal: Array, *, swept: bool) -> Array:
    """Return (V, 3) unit directions along the surface in which `coords[:, 1]` grows, or back."""
    corners = surface.faces
    p, value = surface.vertices[corners], surface.coords[corners][..., 1]
    e1, e2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    cross = np.cross(e1, e2)
    size = np.maximum((cross**2).sum(axis=1, keepdims=True), 1e-18)
    gradient = (
        np.cross(e2, cross) * (value[:, 1] - value[:, 0])[:, None]
        + np.cross(cross, e1) * (value[:, 2] - value[:, 0])[:, None]
    ) / size
    total = np.zeros_like(surface.vertices)
    weight = np.sqrt(size) / 2
    for corner in range(3):
        np.add.at(total, corners[:, corner], gradient * weight)
    total -= (total * normal).sum(axis=1, keepdims=True) * normal
    if swept:
        # Back and down, to its own side of the head.
        x = surface.vertices[:, :1]
        back = np.concatenate([0.5 * np.tanh(x / 0.03), 0 * x - 0.55, 0 * x - 0.85], axis=1)
        back -= (back * normal).sum(axis=1, keepdims=True) * normal
        total = np.where(surface.weights[:, 15:16] > 0.99, back, total)
    sway = 0.18 * noise(surface.paint, 45.0, 5)[:, None]
    return _unit(_unit(total) + sway * np.cross(normal, _unit(total)))


def _ribbon_faces(count: int, steps: int) -> NDArray[np.int64]:
    step = np.arange(steps - 1) * 2
    quad = step[:, None] + np.array([0, 1, 3, 2])
    two = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    return (two[None] + (np.arange(count) * steps * 2)[:, None, None]).reshape(-1, 3)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
