"""Pieces of surface in the rest pose, and the few mesh operations that tailoring needs.

A surface carries what its pixels will need: skinning weights, its place on the unshaped
template (`paint`: the coordinates in which patterns, seams and faces are drawn, the same for
every body shape) and further per-vertex values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.spatial import KDTree

Array = NDArray[np.float64]
Faces = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A triangle mesh in the rest pose.

    Attributes:
        vertices: (V, 3) metres, shaped body's rest pose.
        faces: (F, 3).
        weights: (V, 55) skinning weights.
        paint: (V, 3) metres on the unshaped template.
        coords: (V, 2) two free coordinates: along and across strands, or of a print.
        edge: (V,) metres to the nearest hem; large where there is none.
    """

    vertices: Array
    faces: Faces
    weights: Array
    paint: Array
    coords: Array
    edge: Array

    def attributes(self) -> Array:
        """(V, 3 + 55 + 3 + 2 + 1): all per-vertex values side by side."""
        return np.concatenate(
            [self.vertices, self.weights, self.paint, self.coords, self.edge[:, None]], axis=1
        )

    def rebuilt(self, attributes: Array, faces: Faces) -> Surface:
        """Return the surface made of other vertices (rows of `attributes`) and faces."""
        joints = self.weights.shape[1]
        cuts = np.cumsum([3, joints, 3, 2])
        vertices, weights, paint, coords, edge = np.split(attributes, cuts, axis=1)
        return Surface(
            vertices=vertices,
            faces=faces,
            weights=weights,
            paint=paint,
            coords=coords,
            edge=edge[:, 0],
        )


def select_faces(surface: Surface, keep: NDArray[np.bool_]) -> Surface:
    """Return the part of a surface made of the faces (F,) to keep, without loose vertices."""
    faces = surface.faces[keep]
    used, flat = np.unique(faces, return_inverse=True)
    return surface.rebuilt(surface.attributes()[used], flat.reshape(-1, 3))


def subdivide(surface: Surface) -> Surface:
    """Split each triangle in four at the middles of its sides."""
    faces = surface.faces
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, which = np.unique(sides, axis=0, return_inverse=True)
    attributes = surface.attributes()
    middle = attributes[unique].mean(axis=1)
    m = which.reshape(-1, 3) + len(attributes)
    a, b, c = faces.T
    quarters = [
        np.stack(corner, axis=1)
        for corner in (
            (a, m[:, 0], m[:, 2]),
            (m[:, 0], b, m[:, 1]),
            (m[:, 2], m[:, 1], c),
            (m[:, 0], m[:, 1], m[:, 2]),
        )
    ]
    return surface.rebuilt(np.concatenate([attributes, middle]), np.concatenate(quarters))


def clip(surface: Surface, field: Array) -> Surface:
    """Cut a surface along the zero line of a field, exactly, and keep the positive side.

    Args:
        surface: what to cut.
        field: (V,) metres, positive inside; it becomes the result's `edge`.
    """
    inside = field > 0
    count = inside[surface.faces].sum(axis=1)
    attributes = np.concatenate([surface.attributes()[:, :-1], field[:, None]], axis=1)
    whole = surface.faces[count == 3]
    cut = surface.faces[(count == 1) | (count == 2)]
    # Turn each cut triangle so that its lonely corner comes first.
    lonely = inside[cut] == (inside[cut].sum(axis=1) == 1)[:, None]
    first = lonely.argmax(axis=1)
    cut = np.take_along_axis(cut, (first[:, None] + np.arange(3)) % 3, axis=1)
    sides = np.concatenate([cut[:, [0, 1]], cut[:, [0, 2]]])
    f = field[sides]
    t = np.divide(f[:, 0], f[:, 0] - f[:, 1])[:, None]
    crossing = attributes[sides[:, 0]] * (1 - t) + attributes[sides[:, 1]] * t
    n, start = len(cut), len(attributes)
    p, q = start + np.arange(n), start + n + np.arange(n)
    one = inside[cut[:, 0]]
    kept = [
        whole,
        np.stack([cut[one, 0], p[one], q[one]], axis=1),
        np.stack([p[~one], cut[~one, 1], cut[~one, 2]], axis=1),
        np.stack([p[~one], cut[~one, 2], q[~one]], axis=1),
    ]
    result = surface.rebuilt(np.concatenate([attributes, crossing]), np.concatenate(kept))
    return select_faces(result, np.ones(len(result.faces), bool))


def normals(vertices: NDArray[np.floating], faces: Faces) -> Array:
    """Return (V, 3) unit vertex normals, weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return _unit(_incidence(faces, len(vertices)) @ np.cross(b - a, c - a))


def _incidence(faces: Faces, count: int) -> csr_array:
    rows = faces.ravel()
    columns = np.repeat(np.arange(len(faces)), 3)
    return coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, len(faces))).tocsr()


class NormalOperator:
    """Vertex normals of one mesh in many poses: the sparse sum is set up once."""

    def __init__(self, faces: Faces, count: int) -> None:
        self._faces = faces
        self._sum = _incidence(faces, count).astype(np.float32)

    def __call__(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (V, 3) unit normals of (V, 3) vertices."""
        a, b, c = (vertices[self._faces[:, k]] for k in range(3))
        total = np.asarray(self._sum @ np.cross(b - a, c - a), np.float32)
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def smoothed(values: Array, faces: Faces, rounds: int) -> Array:
    """Average (V, k) values with their neighbours', over and over."""
    sides = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    both = np.concatenate([sides, sides[:, ::-1]])
    count = len(values)
    link = coo_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(count, count)).tocsr()
    link.data[:] = 1.0
    degree = np.maximum(np.asarray(link.sum(axis=1)).ravel(), 1.0)
    mean = diags_array(1.0 / degree) @ link
    for _ in range(rounds):
        values = 0.4 * values + 0.6 * (mean @ values)
    return values


def occlusion(
    vertices: Array, vertex_normals: Array, occluders: Array, faces: Faces, *, radius: float = 0.14
) -> Array:
    """Return (V,) how open each vertex lies to the light, 1 for fully.

    Args:
        vertices: (V, 3) where to ask.
        vertex_normals: (V, 3) unit.
        occluders: (N, 3) vertices of the mesh that stands in the light.
        faces: (F, 3) of that mesh.
        radius: how far things shade each other, metres.

    Source: disks as occluders (Bunnell 2005, GPU Gems 2, chapter 14), nearest disks only.
    """
    a, b, c = (occluders[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    area = np.linalg.norm(cross, axis=1) / 2
    disk_normal = _unit(cross)
    center = (a + b + c) / 3
    distance, index = KDTree(center).query(vertices, k=80, distance_upper_bound=radius)
    found = np.isfinite(distance)
    index = np.where(found, index, 0)
    way = center[index] - vertices[:, None]
    length = np.maximum(np.linalg.norm(way, axis=2), 1e-4)
    way = way / length[..., None]
    facing = np.clip((way * vertex_normals[:, None]).sum(-1), 0, 1)
    turned = np.abs((way * disk_normal[index]).sum(-1))
    fade = np.clip(1 - length / radius, 0, 1)
    solid = area[index] * facing * turned * fade / (np.pi * length**2 + area[index])
    return np.exp(-1.6 * (solid * found).sum(axis=1))


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def joined(surfaces: list[Surface]) -> Surface:
    """Return several surfaces as one."""
    offsets = np.cumsum([0, *(len(s.vertices) for s in surfaces)])[:-1]
    faces = np.concatenate([s.faces + o for s, o in zip(surfaces, offsets, strict=True)])
    return surfaces[0].rebuilt(np.concatenate([s.attributes() for s in surfaces]), faces)


def with_vertices(surface: Surface, vertices: Array) -> Surface:
    """Return the surface with its vertices moved."""
    return replace(surface, vertices=vertices)
