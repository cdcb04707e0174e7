"""The 33 landmarks of a person in a photograph, and where they lie on a body.

Names and order are those of MediaPipe's pose (BlazePose). On a body most are joints; those of the
face are found on the surface, by geometry alone, so that any SMPL-X body will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from blender_addon.contract.joints import JOINT_INDEX

if TYPE_CHECKING:
    from torch import Tensor

    from models.body import Body

_SIDED = (
    "eye_inner", "eye", "eye_outer", "ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index",
    "thumb", "hip", "knee", "ankle", "heel", "foot_index",
)  # fmt: skip

LANDMARK_NAMES: tuple[str, ...] = (
    "nose",
    *(f"{side}_{part}" for side in ("left", "right") for part in _SIDED[:3]),
    *(f"{side}_{part}" for part in _SIDED[3:] for side in ("left", "right")),
)
"""Left is the person's own."""

LANDMARK_INDEX: dict[str, int] = {name: index for index, name in enumerate(LANDMARK_NAMES)}

_JOINTS = {
    "shoulder": "shoulder", "elbow": "elbow", "wrist": "wrist", "pinky": "pinky1",
    "index": "index1", "thumb": "thumb2", "hip": "hip", "knee": "knee", "ankle": "ankle",
}  # fmt: skip
_SHAPES = {"nose": 13, "right_mouth": 31, "left_mouth": 37, "right_eye_outer": 19,
           "right_eye_inner": 22, "left_eye_inner": 25, "left_eye_outer": 28}  # fmt: skip
"""Face landmarks of SMPL-X files: the 51 inner ones of the usual 68, from the brows on."""


class LandmarkPoints(NamedTuple):
    """Where landmarks lie: sums of joints and of vertices.

    Attributes:
        joints: (33, 55) weights of joints.
        vertices: (N,) indices of the vertices that count.
        weights: (33, N) their weights.
    """

    joints: Tensor
    vertices: Tensor
    weights: Tensor

    def of(self, vertices: Tensor, joints: Tensor) -> Tensor:
        """Return landmarks (B, 33, 3) of joints (B, 55, 3) and chosen vertices (B, N, 3)."""
        return self.joints @ joints + self.weights @ vertices


def landmark_points(body: Body) -> LandmarkPoints:
    """Return where the landmarks lie on a body.

    Bodies without face landmarks use their eye joints for all of the eyes and the mouth's corners
    are left to lie on the jaw.
    """
    joints = torch.zeros(len(LANDMARK_NAMES), len(JOINT_INDEX))
    surface: dict[int, dict[int, float]] = {}
    for side in ("left", "right"):
        for part, joint in _JOINTS.items():
            joints[LANDMARK_INDEX[f"{side}_{part}"], JOINT_INDEX[f"{side}_{joint}"]] = 1.0
        for part in ("eye_inner", "eye", "eye_outer"):
            index = LANDMARK_INDEX[f"{side}_{part}"]
            joints[index, JOINT_INDEX[f"{side}_eye_smplhf"]] = 1.0
        joints[LANDMARK_INDEX[f"{side}_mouth"], JOINT_INDEX["jaw"]] = 1.0
        surface[LANDMARK_INDEX[f"{side}_ear"]] = {_ear(body, side): 1.0}
        surface[LANDMARK_INDEX[f"{side}_heel"]] = {_foot(body, side, front=False): 1.0}
        surface[LANDMARK_INDEX[f"{side}_foot_index"]] = {_foot(body, side, front=True): 1.0}
    joints[LANDMARK_INDEX["nose"], JOINT_INDEX["head"]] = 1.0
    if body.landmarks is not None:
        for name, number in _SHAPES.items():
            index = LANDMARK_INDEX[name]
            joints[index] = 0.0
            corners = body.faces[body.landmarks.faces[number]].tolist()
            shares = body.landmarks.weights[number].tolist()
            surface[index] = dict(zip(corners, shares, strict=True))
    vertices = sorted({vertex for point in surface.values() for vertex in point})
    weights = torch.zeros(len(LANDMARK_NAMES), len(vertices))
    for index, point in surface.items():
        for vertex, share in point.items():
            weights[index, vertices.index(vertex)] += share
    return LandmarkPoints(joints, torch.tensor(vertices), weights)


def _sign(side: str) -> float:
    return 1.0 if side == "left" else -1.0


def _ear(body: Body, side: str) -> int:
    """Return the vertex furthest out at the height of the eyes."""
    eye = body.joint_regressor[JOINT_INDEX[f"{side}_eye_smplhf"]] @ body.v_template
    height = (body.v_template[:, 1] - eye[1]).abs()
    of_head = body.skin_weights[:, JOINT_INDEX["head"]] > 0.5
    out = _sign(side) * body.v_template[:, 0]
    return int(torch.where(of_head & (height < 0.03), out, -torch.inf).argmax())


def _foot(body: Body, side: str, *, front: bool) -> int:
    """Return the foot's vertex furthest to the front or to the back, below the ankle."""
    ankle, ball = (JOINT_INDEX[f"{side}_{name}"] for name in ("ankle", "foot"))
    of_foot = body.skin_weights[:, [ankle, ball]].sum(dim=1) > 0.5
    low = (body.joint_regressor[ankle] @ body.v_template)[1] - 0.02
    depth = body.v_template[:, 2] if front else -body.v_template[:, 2]
    return int(torch.where(of_foot & (body.v_template[:, 1] < low), depth, -torch.inf).argmax())
