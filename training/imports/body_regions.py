"""The posed body as a frame's camera sees it: its outline, hands, face, joints, landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial import ConvexHull

from blender_addon.contract.joints import HEAD_JOINTS, LEFT_HAND_JOINTS, RIGHT_HAND_JOINTS
from models.body import skin
from models.raster import interpolate, rasterize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.body import Body

FOREHEAD = 0.38
"""How far the face reaches above the brows, in heights from chin to brows."""

RIM = 0.015
"""Width of the face's soft rim, metres."""

_BROWS = slice(0, 10)
_SMALLEST_FACE = 0.02


@dataclass(frozen=True, kw_only=True)
class SeenBody:
    """A body in a frame.

    Attributes:
        covered: (H, W) bool: where the bare body is seen.
        hands: (H, W) float32, 0…1: how much of a hand is seen.
        face: (H, W) float32, 0…1.
    """

    covered: NDArray[np.bool_]
    hands: NDArray[np.float32]
    face: NDArray[np.float32]

    def overlap(self, foreground: NDArray[np.uint8]) -> float:
        """Return intersection over union with a person's mask (H, W), 0…255."""
        mask = foreground > 127
        union = np.count_nonzero(mask | self.covered)
        return np.count_nonzero(mask & self.covered) / union if union else 0.0


class BodyRegions:
    """Finds a body's hands and face in frames.

    Hands are what follows the wrists' and fingers' joints. The face is the front of the head
    inside the outline of its landmarks, raised over the forehead; without landmarks, the front
    half of the head.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        weights = torch.stack([_hand_weights(body), _face_weights(body)], dim=1)
        self._corners = weights[body.faces]

    def see(self, posed: PosedBody, camera: Camera) -> SeenBody:
        """Rasterise a posed body into a camera's image."""
        vertices = torch.from_numpy(self._in_camera(posed, camera)[0].astype(np.float32))
        fragments = rasterize(
            vertices[None],
            self._body.faces,
            torch.from_numpy(camera.K.astype(np.float32))[None],
            (camera.height, camera.width),
        )
        parts = interpolate(fragments, self._corners)[0].clamp(0, 1).numpy()
        return SeenBody(
            covered=fragments.covered[0].numpy(), hands=parts[..., 0], face=parts[..., 1]
        )

    def project(
        self, posed: PosedBody, camera: Camera
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return projected joints (55, 3) and face landmarks (51, 3) or None: x, y, depth."""
        vertices, joints = self._in_camera(posed, camera)
        landmarks = self._body.landmarks
        if landmarks is None:
            return _pixels(joints, camera), None
        corners = vertices[self._body.faces[landmarks.faces].cpu().numpy()]
        points = (corners * landmarks.weights.cpu().numpy()[..., None]).sum(axis=1)
        return _pixels(joints, camera), _pixels(points, camera)

    def _in_camera(
        self, posed: PosedBody, camera: Camera
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        arrays = (posed.pose, posed.betas, posed.expression, posed.transl)
        skinned = skin(self._body, *(torch.from_numpy(array)[None] for array in arrays))
        vertices, joints = (part[0].numpy().astype(np.float64) for part in skinned)
        return vertices @ camera.R.T + camera.t, joints @ camera.R.T + camera.t


def _pixels(points: NDArray[np.float64], camera: Camera) -> NDArray[np.float64]:
    homogeneous = points @ camera.K.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([homogeneous[:, :2] / homogeneous[:, 2:], points[:, 2:]], axis=1)


def _hand_weights(body: Body) -> torch.Tensor:
    return body.skin_weights[:, [*LEFT_HAND_JOINTS, *RIGHT_HAND_JOINTS]].sum(dim=1)


def _face_weights(body: Body) -> torch.Tensor:
    vertices = body.v_template.cpu().numpy()
    head = body.skin_weights[:, list(HEAD_JOINTS)].sum(dim=1)
    on_head = head.cpu().numpy() > 0.5
    middle = vertices[on_head].mean(axis=0) if on_head.any() else np.zeros(3)
    outline = _face_outline(body)
    if outline is None:
        inside = vertices[:, 2] - middle[2]
    else:
        lines = ConvexHull(outline[:, :2]).equations
        beside = (vertices[:, :2] @ lines[:, :2].T + lines[:, 2]).max(axis=1)
        inside = np.minimum(-beside, vertices[:, 2] - outline[:, 2].min())
    # A soft rim: vertices lie too far apart for a sharp one to look like anything but teeth.
    soft = np.clip(0.5 + inside / RIM, 0.0, 1.0)
    return head * torch.from_numpy(soft.astype(np.float32))


def _face_outline(body: Body) -> NDArray[np.float64] | None:
    """Return (n, 3) points round the face of the unposed body, or None if it has none."""
    landmarks = body.landmarks
    if landmarks is None:
        return None
    vertices, faces = body.v_template, body.faces

    def points(ids: torch.Tensor, weights: torch.Tensor) -> NDArray[np.float64]:
        corners = vertices[faces[ids]]
        return (corners * weights[..., None]).sum(dim=1).cpu().numpy().astype(np.float64)

    inner = points(landmarks.faces, landmarks.weights)
    contour = points(landmarks.contour_faces[0], landmarks.contour_weights[0])
    if np.ptp(inner[:, :2], axis=0).min() < _SMALLEST_FACE:
        return None
    brows = inner[_BROWS]
    height = brows[:, 1].mean() - contour[:, 1].min()
    raised = brows + np.array([0.0, FOREHEAD * height, 0.0])
    return np.concatenate([contour, inner, raised])
