"""A second surface around the body, for cloth and hair that leave it.

StylePeople rasterises the bare body alone, and the network has to invent where the texture of a
skirt goes: seen from another side, the same point of the skirt lies over another point of the leg.
A shell at about the distance of such cloth carries the same UVs where the cloth is, and closes the
gap between the legs. The dresser is given both layers; see docs/decisions/0006-input-skip.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from blender_addon.contract.joints import JOINT_INDEX, JOINT_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from models.body import Body

SHELL_METRES: Mapping[str, float] = {
    "pelvis": 0.06, "spine1": 0.04, "spine2": 0.03, "spine3": 0.03, "neck": 0.04, "head": 0.06,
    "hip": 0.09, "knee": 0.07, "ankle": 0.015, "foot": 0.01,
    "collar": 0.03, "shoulder": 0.03, "elbow": 0.02, "wrist": 0.005,
}  # fmt: skip
"""How far the shell lies from the skin that follows a joint; 0 for face and fingers."""

LAYERS = 2
"""The body and its shell."""


def shell_distances(body: Body) -> Tensor:
    """Return how far from the skin each vertex of the shell lies, (V,) float32 metres."""
    metres = torch.zeros(len(JOINT_NAMES))
    for name in JOINT_NAMES:
        side, _, part = name.rpartition("_")
        if side in {"", "left", "right"}:
            metres[JOINT_INDEX[name]] = SHELL_METRES.get(part, 0.0)
    return body.skin_weights @ metres.to(body.skin_weights)


def with_shell(vertices: Tensor, faces: Tensor, distances: Tensor) -> Tensor:
    """Return bodies and then their shells.

    Args:
        vertices: (B, V, 3) float32 in any space, metres.
        faces: (F, 3) int64.
        distances: (V,) of `shell_distances`.

    Returns:
        (2 B, V, 3), differentiable: first the bodies, then each moved along its normals.
    """
    normals = vertex_normals(vertices, faces)
    return torch.cat([vertices, vertices + normals * distances[:, None]])


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return unit normals (B, V, 3) out of the surface, weighted by the faces' areas.

    Vertices of no face, or of faces without area, have a normal of 0.
    """
    first, second, third = vertices[:, faces].unbind(2)
    crosses = torch.linalg.cross(second - first, third - first)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals = normals.index_add(1, faces[:, corner], crosses)
    return torch.nn.functional.normalize(normals, dim=2)


def stacked(features: Tensor) -> Tensor:
    """Return the layers of (2 B, C, H, W) features as channels, (B, 2 C, H, W)."""
    body, shell = features.chunk(LAYERS)
    return torch.cat([body, shell], dim=1)
