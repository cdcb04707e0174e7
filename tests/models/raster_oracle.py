"""A brute-force rasteriser in float64, written from the definition, for the tests.

Every triangle is clipped exactly at z = near (Sutherland–Hodgman), its pieces are projected, and
every pixel centre is tested against every piece by 2D edge functions. Barycentrics and depth then
come from intersecting the pixel's ray with the plane of the whole triangle. It shares no formula
with the product code, which never clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Truth:
    """All layers at every pixel: (F, H, W) depth (inf where absent), margin, and (…, 3) barycentrics.

    The margin is how far, in pixels, the pixel centre is from the piece's nearest edge: positive
    inside. Where it is tiny, rounding may decide either way.
    """

    depth: np.ndarray
    margin: np.ndarray
    barycentric: np.ndarray


def clip_at_near(triangle: np.ndarray, near: float) -> np.ndarray:
    """Return the polygon (n, 3) of a triangle in front of z = near."""
    kept = []
    for index in range(3):
        here, following = triangle[index], triangle[(index + 1) % 3]
        if here[2] >= near:
            kept.append(here)
        if (here[2] >= near) != (following[2] >= near):
            t = (near - here[2]) / (following[2] - here[2])
            kept.append(here + t * (following - here))
    return np.array(kept).reshape(-1, 3)


def edge_margin(polygon: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the signed distance in pixels from each centre to a convex polygon's edges."""
    doubled_area = sum(
        a[0] * b[1] - a[1] * b[0]
        for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
    )
    margin = np.full(x.shape, np.inf)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        length = np.hypot(*(b - a))
        if length == 0:
            continue
        cross = (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
        margin = np.minimum(margin, np.sign(doubled_area) * cross / length)
    return margin if doubled_area != 0 else np.full(x.shape, -np.inf)


def trace(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, size, near: float) -> Truth:
    """Rasterise one mesh: vertices (V, 3), faces (F, 3), K (3, 3), size (height, width)."""
    vertices, K = vertices.astype(np.float64), K.astype(np.float64)
    height, width = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T
    depth = np.full((len(faces), height, width), np.inf)
    margin = np.full((len(faces), height, width), -np.inf)
    barycentric = np.zeros((len(faces), height, width, 3))
    for index, face in enumerate(faces):
        triangle = vertices[face]
        piece = clip_at_near(triangle, near)
        if len(piece) < 3:
            continue
        projected = piece @ K.T
        margin[index] = edge_margin(projected[:, :2] / projected[:, 2:], x, y)
        normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (normal @ triangle[0]) / (rays @ normal)
            point = rays * t[..., None]
            for corner in range(3):
                a, b = triangle[(corner + 1) % 3], triangle[(corner + 2) % 3]
                area = np.cross(b - a, point - a) @ normal
                barycentric[index, ..., corner] = area / (normal @ normal)
        depth[index] = np.where(margin[index] >= 0, t, np.inf)
    return Truth(depth, margin, barycentric)
