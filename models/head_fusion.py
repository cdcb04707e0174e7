"""From label maps with depth of many views to one mesh with label votes.

Off the surface a SOF's field means nothing, so that no grid of the field gives a head. What it
means is what its rays see: their depths are fused into a truncated signed distance on a grid
(Curless and Levoy 1996), background rays carve, marching cubes gives the surface, and every view
that sees a point of the surface votes for its label there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.labels import LABEL_COUNT
from models.rays import Pinhole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.camera import Camera
    from models.sof_render import LabelMap

CARVING = 2.0
"""How much a ray that sees background counts against one that sees a surface."""


class SeenView(NamedTuple):
    """One view that is fused.

    Attributes:
        camera: in head space.
        seen: its label map and depth.
    """

    camera: Camera
    seen: LabelMap


@dataclass(frozen=True)
class VotedMesh:
    """A surface with what the views see there.

    Attributes:
        vertices: (V, 3) float32 metres in head space.
        faces: (F, 3) int64, counter-clockwise from outside.
        votes: (V, 17) float32 shares, 0 for background.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    votes: NDArray[np.float32]


def fuse(
    views: Sequence[SeenView], *, radius: float, resolution: int, truncation: float
) -> VotedMesh:
    """Fuse views into a mesh.

    Args:
        views: round the head; more views, fewer phantom pieces.
        radius: of the bounding sphere in metres.
        resolution: grid points along each axis.
        truncation: metres round the surface in which depths are averaged; some grid spacings.

    Raises:
        BadParameter: no view sees anything.
    """
    distances = signed_distances(views, radius=radius, resolution=resolution, truncation=truncation)
    vertices, faces = _surface(distances, radius)
    votes = label_votes(views, vertices, faces, tolerance=truncation)
    return VotedMesh(vertices, faces, votes)


def signed_distances(
    views: Sequence[SeenView], *, radius: float, resolution: int, truncation: float
) -> Tensor:
    """Return truncated signed distances on a grid (n, n, n) over −radius…radius, x first.

    Positive outside, in metres; what no view knows is inside.
    """
    device = views[0].seen.depth.device
    axis = torch.linspace(-radius, radius, resolution, device=device)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)
    within = points.square().sum(dim=1) < radius**2
    inner = points[within]
    total = inner.new_zeros(len(inner))
    weight = inner.new_zeros(len(inner))
    for view in views:
        seen = _look_up(view, inner)
        empty = seen.known & torch.isinf(seen.depth)
        near = seen.known & ~empty & (seen.behind > -truncation)
        value = torch.where(empty, truncation, seen.behind.clamp(-truncation, truncation))
        counts = near.float() + CARVING * empty.float()
        total += torch.where(counts > 0, value * counts, 0.0)
        weight += counts
    fused = torch.where(weight > 0, total / weight.clamp_min(1e-6), -truncation)
    grid = torch.full((len(points),), truncation, device=device)
    grid[within] = fused
    return grid.view(resolution, resolution, resolution)


def label_votes(
    views: Sequence[SeenView],
    vertices: NDArray[np.float32],
    faces: NDArray[np.int64],
    *,
    tolerance: float,
) -> NDArray[np.float32]:
    """Return the shares (V, 17) of labels that the views see at the vertices of a mesh.

    A view votes where it sees the vertex itself: depth within the tolerance in metres, and the
    more the squarer it looks at the surface. Vertices that nobody sees take their neighbours'
    votes.
    """
    normals = torch.from_numpy(vertex_normals(vertices, faces))
    device = views[0].seen.depth.device
    points, normals = torch.from_numpy(vertices).to(device), normals.to(device)
    votes = points.new_zeros((len(points), LABEL_COUNT))
    for view in views:
        seen = _look_up(view, points)
        eye = torch.as_tensor(view.camera.center, dtype=torch.float32, device=device)
        facing = functional.cosine_similarity(eye - points, normals, dim=1).clamp_min(0.0)
        sees = seen.known & (seen.behind.abs() < tolerance)
        # The square of the cosine: grazing views miss by pixels.
        ballots = torch.where(sees, facing.square(), 0.0)
        votes.scatter_add_(1, seen.labels.long()[:, None], ballots[:, None])
    # Rays beside the silhouette vote for background; a surface has none.
    votes[:, 0] = 0.0
    return _spread_votes(votes.cpu().numpy(), faces)


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return unit normals (V, 3), outwards, weighted by the areas of the faces."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    of_face = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], of_face)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(length, 1e-12)


class _Seen(NamedTuple):
    """What a view says where points are in its image.

    Attributes:
        depth: (N,) of the surface that it sees there, inf where background.
        labels: (N,) uint8.
        known: (N,) bool: whether the point is in the image at all.
        behind: (N,) metres along the ray from the point to that surface.
    """

    depth: Tensor
    labels: Tensor
    known: Tensor
    behind: Tensor


def _look_up(view: SeenView, points: Tensor) -> _Seen:
    camera, seen = view
    pinhole = Pinhole.of(camera, device=points.device)
    own = points @ pinhole.R[0].T + pinhole.t[0]
    K, z = pinhole.K[0], own[:, 2].clamp_min(1e-6)
    x = K[0, 0] * own[:, 0] / z + K[0, 2]
    y = K[1, 1] * own[:, 1] / z + K[1, 2]
    known = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (own[:, 2] > 0)
    column = x.clamp(0, camera.width - 1).long()
    flat = y.clamp(0, camera.height - 1).long() * camera.width + column
    depth = seen.depth.flatten()[flat]
    # Along the ray, not along the viewing axis: a grazing view must not thicken the head.
    behind = (depth - own[:, 2]) * own.norm(dim=1) / z
    return _Seen(depth, seen.labels.flatten()[flat], known, behind)


def _surface(distances: Tensor, radius: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from skimage.measure import marching_cubes

    grid = distances.cpu().numpy()
    if not (grid.min() < 0.0 < grid.max()):
        raise BadParameter(
            "no view sees anything of the head",
            "fuse views that show it, or train the SOF for longer",
        )
    spacing = 2.0 * radius / (len(grid) - 1)
    found = marching_cubes(grid, 0.0, spacing=(spacing,) * 3, gradient_direction="ascent")
    vertices = (found[0] - radius).astype(np.float32)
    # Marching cubes winds them for a left-handed x-first grid.
    faces = found[1].astype(np.int64)
    if _volume(vertices, faces) < 0.0:
        faces = np.ascontiguousarray(faces[:, ::-1])
    return _largest_piece(vertices, faces)


def _volume(vertices: NDArray[np.float32], faces: NDArray[np.int64]) -> float:
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)


def _largest_piece(
    vertices: NDArray[np.float32], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Drop pieces with less than a hundredth of the largest one's faces: noise in the air."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    ones = np.ones(len(edges), np.int8)
    graph = coo_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    _, piece = connected_components(graph, directed=False)
    sizes = np.bincount(piece[faces[:, 0]])
    kept = sizes[piece[faces[:, 0]]] >= max(sizes.max() // 100, 1)
    faces = faces[kept]
    used, renumbered = np.unique(faces, return_inverse=True)
    return vertices[used], renumbered.reshape(faces.shape).astype(np.int64)


def _spread_votes(votes: NDArray[np.float32], faces: NDArray[np.int64]) -> NDArray[np.float32]:
    votes = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-12)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    # As many rounds as rings of vertices that may be hidden, behind an ear for instance.
    for _ in range(256):
        silent = votes.sum(axis=1) == 0.0
        if not silent.any() or silent.all():
            break
        heard = np.zeros_like(votes)
        for start, end in ((0, 1), (1, 0)):
            asked = edges[silent[edges[:, start]]]
            np.add.at(heard, asked[:, start], votes[asked[:, end]])
        total = heard.sum(axis=1, keepdims=True)
        found = silent & (total[:, 0] > 0)
        if not found.any():
            break
        votes[found] = (heard / np.maximum(total, 1e-12))[found]
    return votes.astype(np.float32)
