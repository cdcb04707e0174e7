"""Meshes of heads for stand-ins: as they are baked, and a simple one until then. No bpy.

Head space: metres, Y up, the face looks along +Z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.errors import BadMessage
from ..contract.labels import LABEL_COUNT, Label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_COLUMNS, _ROWS = 32, 20
_HALF_SIZES = (0.076, 0.118, 0.096)
"""Half of a head's width, height and depth in metres."""

_NOSE_METRES = 0.022


@dataclass(frozen=True, kw_only=True)
class LabelledMesh:
    """A mesh with a label for each face.

    Attributes:
        vertices: (V, 3) float32 metres, head space.
        faces: (F, 3) int32.
        labels: (F,) uint8.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    labels: NDArray[np.uint8]


def parse_mesh(arrays: Mapping[str, Any]) -> LabelledMesh:
    """Check the arrays of a `portrait.bake` result.

    Raises:
        BadMessage: one is missing, has another shape or points outside.
    """
    vertices, faces, labels = (
        np.asarray(arrays.get(n, ())) for n in ("vertices", "faces", "labels")
    )
    fits = (
        vertices.ndim == faces.ndim == 2
        and vertices.shape[1] == faces.shape[1] == 3
        and labels.shape == (len(faces),)
        and len(faces) > 0
    )
    if not fits or vertices.dtype.kind != "f" or not np.isfinite(vertices).all():
        raise BadMessage("the server's baked head is no mesh")
    if not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        raise BadMessage("the baked head's faces name vertices that it does not have")
    if int(labels.max()) >= LABEL_COUNT:
        raise BadMessage("the baked head's faces have labels that do not exist")
    return LabelledMesh(
        vertices=vertices.astype(np.float32),
        faces=faces.astype(np.int32),
        labels=labels.astype(np.uint8),
    )


def placeholder() -> LabelledMesh:
    """Return a head of the right size that shows where its face is."""
    height = np.linspace(-np.pi / 2, np.pi / 2, _ROWS + 1)
    around = np.arange(_COLUMNS) * (2 * np.pi / _COLUMNS)  # 0 is the face
    rows, columns = np.meshgrid(height, around, indexing="ij")
    unit = np.stack(
        [np.cos(rows) * np.sin(columns), np.sin(rows), np.cos(rows) * np.cos(columns)], axis=-1
    )
    # A chin: narrower downwards; a nose where the face looks.
    narrow = 1.0 - 0.22 * np.clip(-unit[..., 1:2], 0.0, 1.0) ** 2
    points = unit * np.array(_HALF_SIZES) * np.concatenate([narrow, narrow**0, narrow], axis=-1)
    nose = np.exp(-((unit[..., 0] / 0.16) ** 2) - ((unit[..., 1] + 0.1) / 0.2) ** 2)
    points[..., 2] += _NOSE_METRES * nose * (unit[..., 2] > 0)
    index = np.arange((_ROWS + 1) * _COLUMNS).reshape(_ROWS + 1, _COLUMNS)
    below, above = index[:-1], index[1:]
    right_below, right_above = np.roll(below, -1, axis=1), np.roll(above, -1, axis=1)
    first = np.stack([below, right_below, right_above], axis=-1)
    second = np.stack([below, right_above, above], axis=-1)
    # At the poles one of the two triangles of each square has no area.
    faces = np.concatenate([first[1:].reshape(-1, 3), second[:-1].reshape(-1, 3)])
    flat = points.reshape(-1, 3)
    flat[index[0]], flat[index[-1]] = flat[index[0, 0]], flat[index[-1, 0]]
    middle = flat[faces].mean(axis=1)
    hair = (middle[:, 1] > 0.065) | (middle[:, 2] < -0.015)
    labels = np.where(hair, int(Label.HAIR), int(Label.SKIN)).astype(np.uint8)
    return LabelledMesh(
        vertices=flat.astype(np.float32), faces=faces.astype(np.int32), labels=labels
    )
