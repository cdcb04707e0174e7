"""Spectral coordinates of a mesh: eigenvectors of its cotangent Laplacian.

Source: StylePeople supplementary, section 2.1 (16 channels join the texture generator's
inputs). No released code computes them; this is how this project does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS = 16


def spectral_coordinates(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], channels: int = CHANNELS
) -> NDArray[np.float32]:
    """Return the first non-constant eigenvectors of the cotangent Laplacian at the vertices.

    The largest connected part of the mesh (the skin) carries the eigenvectors; vertices of the
    other parts (eyes, teeth, lashes) take the values of the nearest skin vertex. Signs are
    fixed: the entry of largest magnitude is positive. Each channel's maximum magnitude is 1.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) vertex indices.
        channels: how many eigenvectors.

    Returns:
        (V, channels) float32 in −1…1.
    """
    points = np.asarray(vertices, np.float64)
    triangles = np.asarray(faces, np.int64)
    skin = _largest_part(len(points), triangles)
    number = np.full(len(points), -1)
    number[skin] = np.arange(len(skin))
    inner = number[triangles[(number[triangles] >= 0).all(axis=1)]]
    stiffness, mass = _laplacian(points[skin], inner)
    # Shift-invert just below 0, where the constant eigenvector lies. A fixed start vector keeps
    # the iteration, and with it the result, the same on every run.
    start = np.random.default_rng(0).standard_normal(len(skin))
    values, vectors = eigsh(
        stiffness,
        k=channels + 1,
        M=mass,
        sigma=-1e-6,
        which="LM",
        v0=start,
        tol=1e-10,  # pyright: ignore[reportArgumentType]
    )
    vectors = vectors[:, np.argsort(values)][:, 1:]
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(channels)]
    vectors = vectors / peaks
    _, nearest = KDTree(points[skin]).query(points)
    return vectors[nearest].astype(np.float32)


def _largest_part(count: int, faces: NDArray[np.int64]) -> NDArray[np.int64]:
    rows, columns = faces.ravel(), np.roll(faces, 1, axis=1).ravel()
    edges = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    _, labels = connected_components(edges, directed=False)
    return np.flatnonzero(labels == np.bincount(labels).argmax())


def _laplacian(
    points: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[sparse.csc_matrix, sparse.csc_matrix]:
    """Return the cotangent stiffness matrix and the lumped mass matrix."""
    count = len(points)
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    weights: list[NDArray[np.float64]] = []
    for k in range(3):
        tip, one, other = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        a, b = points[one] - points[tip], points[other] - points[tip]
        area = np.linalg.norm(np.cross(a, b), axis=1)
        # Slivers would give unbounded cotangents.
        cotangent = np.clip((a * b).sum(axis=1) / np.maximum(area, 1e-12), -50.0, 50.0) / 2
        rows += [one, other]
        columns += [other, one]
        weights += [cotangent, cotangent]
    joined = np.concatenate(weights)
    at = (np.concatenate(rows), np.concatenate(columns))
    adjacency = sparse.coo_matrix((joined, at), shape=(count, count)).tocsc()
    stiffness = sparse.diags(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency
    sides = points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]]
    areas = np.linalg.norm(np.cross(*sides), axis=1) / 6
    mass = np.bincount(faces.ravel(), np.repeat(areas, 3), minlength=count)
    return stiffness.tocsc(), sparse.diags(np.maximum(mass, 1e-12)).tocsc()
