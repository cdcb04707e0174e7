"""Cutting a mesh along the borders between its labels, so that every face has one label.

Votes are known at vertices. Between two vertices with different labels the border lies where both
labels have equal votes; both faces at that edge find the same point, so the mesh stays closed.
Label maps then need no more than each pixel's face.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.head_fusion import VotedMesh

    Faces = NDArray[np.int64]

CLOSEST = 0.05
"""Share of an edge that a border keeps away from its ends: slivers help nobody."""


def cut_by_label(
    mesh: VotedMesh,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]:
    """Return vertices (V, 3), faces (F, 3) and the faces' labels (F,), the same surface."""
    label = mesh.votes.argmax(axis=1).astype(np.int64)
    of_corners = label[mesh.faces]
    kinds = (
        (of_corners[:, 0] != of_corners[:, 1]).astype(int)
        + (of_corners[:, 1] != of_corners[:, 2])
        + (of_corners[:, 2] != of_corners[:, 0])
    )
    whole, two, three = (mesh.faces[kinds == number] for number in (0, 2, 3))
    cuts = _EdgeCuts(mesh, label, np.concatenate([two, three]))
    start = len(mesh.vertices) + len(cuts.points)
    faces = [whole]
    labels = [label[whole[:, 0]]]
    for part, part_labels in (
        _two_labels(two, label, cuts),
        _three_labels(three, label, cuts, start),
    ):
        faces.append(part)
        labels.append(part_labels)
    middles = mesh.vertices[three].mean(axis=1)
    vertices = np.concatenate([mesh.vertices, cuts.points, middles]).astype(np.float32)
    return vertices, np.concatenate(faces), np.concatenate(labels).astype(np.uint8)


class _EdgeCuts:
    """The border's point on each edge whose ends have different labels."""

    def __init__(self, mesh: VotedMesh, label: NDArray[np.int64], mixed: Faces) -> None:
        self._count = len(mesh.vertices)
        ends = np.concatenate([mixed[:, [0, 1]], mixed[:, [1, 2]], mixed[:, [2, 0]]])
        ends = np.sort(ends[label[ends[:, 0]] != label[ends[:, 1]]], axis=1)
        self._keys = np.unique(ends[:, 0] * self._count + ends[:, 1])
        a, b = self._keys // self._count, self._keys % self._count
        votes = mesh.votes
        lead_a = votes[a, label[a]] - votes[a, label[b]]
        lead_b = votes[b, label[b]] - votes[b, label[a]]
        share = lead_a / np.maximum(lead_a + lead_b, 1e-9)
        share = np.clip(share, CLOSEST, 1.0 - CLOSEST)[:, None]
        self.points = mesh.vertices[a] * (1.0 - share) + mesh.vertices[b] * share

    def between(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of the vertices that cut edges, counted after the mesh's own."""
        keys = np.minimum(a, b) * self._count + np.maximum(a, b)
        return self._count + np.searchsorted(self._keys, keys)


def _two_labels(
    faces: Faces, label: NDArray[np.int64], cuts: _EdgeCuts
) -> tuple[Faces, NDArray[np.int64]]:
    # Turned so that the corner with a label of its own comes first.
    of = label[faces]
    lone = np.where(of[:, 1] == of[:, 2], 0, np.where(of[:, 0] == of[:, 2], 1, 2))
    turned = np.take_along_axis(faces, (lone[:, None] + np.arange(3)) % 3, axis=1)
    a, b, c = turned.T
    ab, ca = cuts.between(a, b), cuts.between(c, a)
    tip = np.stack([a, ab, ca], axis=1)
    near = np.stack([ab, b, c], axis=1)
    far = np.stack([ab, c, ca], axis=1)
    return (
        np.concatenate([tip, near, far]),
        np.concatenate([label[a], label[b], label[b]]),
    )


def _three_labels(
    faces: Faces, label: NDArray[np.int64], cuts: _EdgeCuts, start: int
) -> tuple[Faces, NDArray[np.int64]]:
    middle = start + np.arange(len(faces))
    parts: list[Faces] = []
    labels: list[NDArray[np.int64]] = []
    for k in range(3):
        own, after, before = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        out, back = cuts.between(own, after), cuts.between(before, own)
        parts += [np.stack([own, out, middle], axis=1), np.stack([own, middle, back], axis=1)]
        labels += [label[own], label[own]]
    return np.concatenate(parts), np.concatenate(labels)
