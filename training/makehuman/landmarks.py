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
"""The contour is looked up by the head's yaw in whole degrees: see `yaw_of_bin`."""
CONTOUR_POINTS = 17
CHIN = CONTOUR_POINTS // 2

_RAYS = 181
"""Directions in which the outline is measured before its points are spaced evenly."""
_CHIN_DEPTH = 0.012
"""Metres from the chin's foremost point back to its lowest one, about."""


@dataclass(frozen=True)
class Face:
    """What the canonical layout hangs on, metres, in the template's T-pose.

    Attributes:
        left_eye: (3,) centre.
        right_eye: (3,) centre.
        nose: (3,) tip.
        lips: (n, 3) vertices of the front of the lips.
        ears: depth (z) of the ears' front, where the face ends.
    """

    left_eye: Array
    right_eye: Array
    nose: Array
    lips: Array
    ears: float


def fixed_landmarks(
    vertices: Array, faces: Indices, skin_faces: NDArray[np.bool_], face: Face
) -> tuple[Indices, Array]:
    """Return the 51 inner landmarks as face ids (51,) and barycentrics (51, 3)."""
    cast = _Caster(vertices, faces, skin_faces, face)
    return _stack([cast(x, y) for x, y in _inner_layout(face)])


def yaw_of_bin(index: int) -> float:
    """Return the turn of the head about +y, radians, to which a bin of the contour belongs.

    Bins 0…39 hold turns to the subject's right of as many degrees, bins 40…78 turns to the
    left of 1…39: the order of SMPL-X's files, which the `smplx` package looks up.
    """
    return float(np.deg2rad(-index if index <= CONTOUR_BINS // 2 else index - CONTOUR_BINS // 2))


def contour_landmarks(
    vertices: Array, faces: Indices, head_faces: NDArray[np.bool_], face: Face
) -> tuple[Indices, Array]:
    """Return the face's outline by yaw: face ids (79, 17) and barycentrics (79, 17, 3).

    For each bin the head is turned by its yaw and the outline of the face is measured as a
    camera in front sees it, from the subject's right ear over the chin to the left one. On the
    side that turns away the outline is the cheek's silhouette, on the other the edge of the jaw.

    Args:
        vertices: (V, 3) template.
        faces: (F, 3).
        head_faces: (F,) skin that the head's joints move.
        face: measures of the face.
    """
    corners = vertices[faces]
    ids = np.flatnonzero(head_faces & _in_face(corners, head_faces, face))
    middle = (face.left_eye + face.right_eye) / 2
    center = np.array([0.0, middle[1], (middle[2] + face.ears) / 2])
    patch = corners[ids] - center
    chin = np.array([0.0, -1.0, 0.0])
    found: list[tuple[Indices, Array]] = []
    for index in range(CONTOUR_BINS):
        yaw = yaw_of_bin(index)
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        outline = _Outline((patch @ turn.T)[..., :2], turn @ chin)
        found.append(outline.points())
        if index == 0:  # the straight outline says where the chin is for all others
            chin = (patch[found[0][0][CHIN]] * found[0][1][CHIN, :, None]).sum(axis=0)
    return ids[np.stack([hit[0] for hit in found])], np.stack([hit[1] for hit in found])


def _in_face(corners: Array, head_faces: NDArray[np.bool_], face: Face) -> NDArray[np.bool_]:
    """Return which triangles lie before the ears and above the line from ears to chin."""
    middle = corners.mean(axis=1)
    _, apart = _measures(face)
    mouth = float(face.lips[:, 1].mean())
    below = (middle[:, 1] < mouth - 0.35 * apart) & (middle[:, 1] > mouth - apart)
    central = head_faces & below & (np.abs(middle[:, 0]) < 0.1 * apart)
    foremost = middle[central, 2].max()
    tip = central & (middle[:, 2] > foremost - _CHIN_DEPTH)
    lowest = middle[tip, 1].min()
    slope = (lowest - mouth) / (foremost - _CHIN_DEPTH - face.ears)
    jaw = mouth + slope * (corners[..., 2] - face.ears)
    return ((corners[..., 2] > face.ears) & (corners[..., 1] >= jaw)).all(axis=1)


class _Outline:
    """How far a flat patch of triangles reaches from the origin, from left over down to right.

    Args:
        patch: (F, 3, 2) corners.
        chin: where the chin lies: the middle point of the outline.
    """

    def __init__(self, patch: Array, chin: Array) -> None:
        split = np.arctan2(chin[1], chin[0]) % (2 * np.pi)
        half = _RAYS // 2
        right, left = np.linspace(np.pi, split, half + 1), np.linspace(split, 2 * np.pi, half + 1)
        angles = np.concatenate([right, left[1:]])
        rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
        start = patch.reshape(-1, 2)[None]  # edge k of a face runs from its corner k to the next
        along = np.roll(patch, -1, axis=1).reshape(-1, 2)[None] - start
        with np.errstate(divide="ignore", invalid="ignore"):  # edges along a ray are never hit
            reach = _cross(start, along) / _cross(rays, along)
            share = _cross(start, rays) / _cross(rays, along)
        reach = np.where((share >= 0) & (share <= 1), reach, -np.inf)
        self.edge = reach.argmax(axis=1)
        rows = np.arange(len(rays))
        self.share = share[rows, self.edge]
        self.places = rays[:, 0] * reach[rows, self.edge][:, None]

    def points(self) -> tuple[Indices, Array]:
        """Return 17 points, evenly spaced from either ear to the chin: faces and barycentrics."""
        steps = np.linalg.norm(np.diff(self.places, axis=0), axis=1)
        length = np.concatenate([[0.0], np.cumsum(steps)])
        middle = length[len(length) // 2]
        wanted = np.concatenate(
            [np.linspace(0, middle, CHIN + 1), np.linspace(middle, length[-1], CHIN + 1)[1:]]
        )
        rows = np.abs(length[:, None] - wanted).argmin(axis=0)
        faces, corner = np.divmod(self.edge[rows], 3)
        weights = np.zeros((CONTOUR_POINTS, 3))
        weights[np.arange(CONTOUR_POINTS), corner] = 1 - self.share[rows]
        weights[np.arange(CONTOUR_POINTS), (corner + 1) % 3] = self.share[rows]
        return faces, weights


def _cross(one: Array, other: Array) -> Array:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]


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
