"""Toy heads for tests: painted ellipsoids of different sizes, exact depth by intersection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.labels import Label
from training.heads.format import Head, HeadSet, HeadSetWriter, HeadView
from training.sof_data import directions

if TYPE_CHECKING:
    from pathlib import Path

SKIN_RADII = np.array([0.09, 0.12, 0.1])


def toy_camera(azimuth: float, elevation: float, size: int, distance: float = 1.2) -> Camera:
    eye = distance * np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    up = np.array([0.0, 1.0, 0.0])
    return look_at(eye, np.zeros(3), up, focal=1.9 * size, width=size, height=size)


def toy_view(head: int, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Label map and depth: a face with brows, eyes and hair on an ellipsoid, on a cloth ball."""
    size = camera.width
    radii = SKIN_RADII * (1.0 + 0.08 * (head % 3))
    direction = directions(camera, np.arange(size * size))
    labels = np.zeros(size * size, np.uint8)
    depth = np.full(size * size, np.inf)
    for center, axes, paint in (
        (np.zeros(3), radii, _face(head)),
        (np.array([0.0, -0.22, -0.02]), np.array([0.17, 0.1, 0.1]), _cloth),
    ):
        origin = (camera.center - center) / axes
        ray = direction / axes
        a, b = (ray * ray).sum(1), (ray * origin).sum(1)
        c = origin @ origin - 1.0
        inside = b * b - a * c
        distance = (-b - np.sqrt(np.maximum(inside, 0.0))) / a
        points = camera.center + distance[:, None] * direction
        hit = (inside > 0) & (np.linalg.norm(points, axis=1) < 0.34)
        z = distance * (direction @ camera.R[2])
        nearer = hit & (z < depth)
        labels[nearer] = paint(points[nearer] - center, axes)
        depth[nearer] = z[nearer]
    depth[np.isinf(depth)] = 0.0
    return labels.reshape(size, size), depth.reshape(size, size).astype(np.float32)


def write_toy_heads(
    folder: Path, heads: int = 3, views: int = 6, size: int = 32, held_out_heads: int = 0
) -> HeadSet:
    """Write a set; of each head the last two views are held out."""
    writer = HeadSetWriter(folder, kind="heads", size=size)
    rows = []
    for head in range(heads + held_out_heads):
        seen = []
        for k in range(views):
            # All round, the front first; neighbours look from above and from below.
            camera = toy_camera(2.4 * k, 0.25 * (-1) ** k, size)
            name = f"h{head:04d}_{k:02d}"
            labels, depth = toy_view(head, camera)
            writer.add(name, labels, depth=depth)
            split = "held-out" if k >= views - 2 else "train"
            seen.append(HeadView(name=name, head=f"h{head:04d}", split=split, camera=camera))
        split = "train" if head < heads else "held-out"
        rows.append(Head(id=f"h{head:04d}", split=split, attributes={}, views=tuple(seen)))
    writer.close(licence="CC0-1.0", source={"made": "by a test"}, heads=rows)
    return HeadSet.open(folder)


def _face(head: int):
    hairline = 0.25 + 0.15 * (head % 2)

    def paint(points: np.ndarray, axes: np.ndarray) -> np.ndarray:
        x, y, z = (points / axes).T
        labels = np.full(len(points), Label.SKIN, np.uint8)
        labels[(y > hairline + 0.4 * z) | (z < -0.2)] = Label.HAIR
        for side in (-0.35, 0.35):
            labels[(z > 0) & ((x - side) ** 2 + (y - 0.1) ** 2 < 0.03)] = Label.EYE
        labels[(z > 0) & (abs(x) < 0.35) & (abs(y + 0.5) < 0.1)] = Label.UPPER_LIP
        return labels

    return paint


def _cloth(points: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.full(len(points), Label.CLOTH, np.uint8)
