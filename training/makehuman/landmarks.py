"""Where SMPL-X's face landmarks lie on a body: 51 fixed ones and a contour that follows yaw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]

CONTOUR_BINS = 79
"""Yaw of the head in degrees, −39…39: smplx looks the contour up by this bin."""
CONTOUR_POINTS = 17


@dataclass(frozen=True)
class Face:
    """What the canonical layout hangs on, metres, in the template's T-pose.

    Attributes:
        left_eye: (3,) centre.
        right_eye: (3,) centre.
        nose: (3,) tip.
        lips: (n, 3) vertices of the front of the lips.
        neck: (3,) axis about which the head turns.
    """

    left_eye: Array
    right_eye: Array
    nose: Array
    lips: Array
    neck: Array


def fixed_landmarks(
    vertices: Array, faces: Indices, skin_faces: NDArray[np.bool_], face: Face
) -> tuple[Indices, Array]:
    """Return the 51 inner landmarks as face ids (51,) and barycentrics (51, 3)."""
    cast = _Caster(vertices, faces, skin_faces, face)
    return _stack([cast(x, y) for x, y in _inner_layout(face)])


def contour_landmarks(
    vertices: Array, faces: Indices, skin_faces: NDArray[np.bool_], face: Face
) -> tuple[Indices, Array]:
    """Return the jaw line by yaw: face ids (79, 17) and barycentrics (79, 17, 3).

    For each bin the head is turned by its yaw and the canonical jaw line cast onto what then
    faces the camera, so that the points slide over the cheek as a seen contour does.
    """
    ids: list[Indices] = []
    weights: list[Array] = []
    for step in range(CONTOUR_BINS):
        yaw = np.deg2rad(step - CONTOUR_BINS // 2)
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        turned = (vertices - face.neck) @ turn.T + face.neck
        cast = _Caster(turned, faces, skin_faces, face)
        found = _stack([cast(x, y) for x, y in _jaw_layout(face)])
        ids.append(found[0])
        weights.append(found[1])
    return np.stack(ids), np.stack(weights)


def _stack(hits: list[tuple[int, Array]]) -> tuple[Indices, Array]:
    return np.array([hit[0] for hit in hits]), np.stack([hit[1] for hit in hits])


class _Caster:
    """Casts points (x, y) along −z onto the front of the face."""

    def __init__(
        self, vertices: Array, faces: Indices, skin: NDArray[np.bool_], face: Face
    ) -> None:
        corners = vertices[faces]
        middle = corners.mean(axis=1)
        height = (face.left_eye[1] + face.right_eye[1]) / 2
        near = skin & (np.abs(middle[:, 0]) < 0.15) & (np.abs(middle[:, 1] - height) < 0.2)
        self.ids = np.flatnonzero(near)
        self.corners = corners[self.ids]
        self.middle = middle[self.ids]

    def __call__(self, x: float, y: float) -> tuple[int, Array]:
        a, b, c = self.corners[:, 0], self.corners[:, 1], self.corners[:, 2]
        area = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
        area = np.where(np.abs(area) < 1e-14, 1e-14, area)
        first = ((b[:, 1] - c[:, 1]) * (x - c[:, 0]) + (c[:, 0] - b[:, 0]) * (y - c[:, 1])) / area
        second = ((c[:, 1] - a[:, 1]) * (x - c[:, 0]) + (a[:, 0] - c[:, 0]) * (y - c[:, 1])) / area
        weights = np.stack([first, second, 1 - first - second], axis=1)
        inside = (weights >= -1e-6).all(axis=1)
        if not inside.any():  # beyond the silhouette: the nearest face there
            flat = (self.middle[:, 0] - x) ** 2 + (self.middle[:, 1] - y) ** 2
            return int(self.ids[flat.argmin()]), np.full(3, 1 / 3)
        depth = np.where(inside, (weights * self.corners[:, :, 2]).sum(axis=1), -np.inf)
        best = int(depth.argmax())
        clipped = np.clip(weights[best], 0.0, 1.0)
        return int(self.ids[best]), clipped / clipped.sum()


def _measures(face: Face) -> tuple[Array, float]:
    middle = (face.left_eye + face.right_eye) / 2
    return middle, float(abs(face.left_eye[0] - face.right_eye[0]))


def _inner_layout(face: Face) -> list[tuple[float, float]]:
    """Brows, nose, eyes, mouth in the order of SMPL-X's 51: the subject's right side first."""
    middle, apart = _measures(face)
    half = apart / 2
    arch = np.array([0.30, 0.44, 0.46, 0.42, 0.34]) * apart + middle[1]
    out = np.linspace(1.75, 0.45, 5) * half
    points = list(zip(-out, arch, strict=True)) + list(zip(out[::-1], arch[::-1], strict=True))
    bridge = face.nose[1] - middle[1]
    points += [(0.0, middle[1] + share * bridge) for share in (0.0, 0.33, 0.66, 1.0)]
    base = face.nose[1] - 0.16 * apart
    points += [(share * apart, base) for share in (-0.24, -0.12, 0.0, 0.12, 0.24)]
    lid = 0.08 * apart
    for center in (-half, half):
        wide = 0.26 * apart
        across = ((-1, 0), (-0.5, 1), (0.5, 1), (1, 0), (0.5, -1), (-0.5, -1))
        points += [(center + wide * x, middle[1] + lid * y) for x, y in across]
    reach, height = float(np.abs(face.lips[:, 0]).max()), float(face.lips[:, 1].mean())
    outer = [(-1, 0), (-0.6, 0.09), (-0.25, 0.13), (0, 0.11), (0.25, 0.13), (0.6, 0.09), (1, 0)]
    outer += [(0.6, -0.12), (0.3, -0.17), (0, -0.18), (-0.3, -0.17), (-0.6, -0.12)]
    inner = [(-0.85, 0), (-0.3, 0.02), (0, 0.02), (0.3, 0.02), (0.85, 0)]
    inner += [(0.3, -0.02), (0, -0.02), (-0.3, -0.02)]
    points += [(reach * x, height + apart * y) for x, y in outer + inner]
    return [(float(x), float(y)) for x, y in points]


def _jaw_layout(face: Face) -> list[tuple[float, float]]:
    middle, apart = _measures(face)
    chin = float(face.lips[:, 1].mean()) - 0.66 * apart
    angle = np.linspace(-1.25, 1.25, CONTOUR_POINTS)
    rise = (1 - np.cos(angle)) / (1 - np.cos(1.25)) * (middle[1] - chin)
    x = np.sin(angle) / np.sin(1.25) * 1.1 * apart
    return [(float(a), float(chin + b)) for a, b in zip(x, rise, strict=True)]
