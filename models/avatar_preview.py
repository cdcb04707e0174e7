"""The picture by which a gallery shows an avatar: a relaxed pose on the floor of a light studio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.joints import JOINT_COUNT, JOINT_INDEX
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import rotation_from_axis_angle
from models.body import skin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.avatar import AvatarRenderer
    from models.body import Body

PREVIEW_SIZE = 512
_UP = np.array([0.0, 1.0, 0.0])
_DISTANCE = 4.5
"""Metres between camera and person: near enough for perspective, too far for a big nose."""
_FEET = ("left_ankle", "right_ankle", "left_foot", "right_foot")
_WALL, _FLOOR = 0.87, 0.79
_SHADOWS = ((0.34, 0.28, ("pelvis",)), (0.09, 0.5, _FEET))
"""Soft discs on the floor: radius in metres, darkness, under which joints."""


def preview_pose(betas: NDArray[np.float32]) -> PosedBody:
    """Return a relaxed pose, turned a little from the viewer: three-quarter view."""
    axis_angles = np.zeros((JOINT_COUNT, 3))
    turns = {
        "pelvis": (0.0, 0.45, 0.0),
        "spine2": (0.0, -0.08, 0.0),
        "head": (0.03, -0.2, 0.0),
        "left_shoulder": (0.0, -0.15, -1.1),
        "right_shoulder": (0.0, 0.15, 1.1),
        "left_elbow": (0.0, -0.35, 0.0),
        "right_elbow": (0.0, 0.5, 0.0),
        "left_hip": (-0.12, 0.1, 0.06),
        "right_hip": (0.05, -0.1, -0.06),
        "left_knee": (0.12, 0.0, 0.0),
    }
    for name, turn in turns.items():
        axis_angles[JOINT_INDEX[name]] = turn
    return PosedBody(
        pose=rotation_from_axis_angle(axis_angles).astype(np.float32),
        transl=np.zeros(3, np.float32),
        betas=betas,
        expression=np.zeros(1, np.float32),
    )


def preview(renderer: AvatarRenderer, betas: NDArray[np.float32]) -> Image.Image:
    """Render an avatar for its gallery, 512².

    Args:
        renderer: of the avatar.
        betas: (n,) its shape.
    """
    body = preview_pose(betas)
    vertices, joints = _posed(renderer.body, body)
    # Avatars that know finer scales are rendered at twice the size and averaged down.
    fine = 2 if renderer.largest_crop >= 2 * PREVIEW_SIZE else 1
    camera = _camera(vertices, PREVIEW_SIZE * fine)
    rgba = renderer.render(body, camera, ("rgba",))["rgba"].astype(np.float32) / 255
    floor = float(vertices[:, 1].min())
    picture = rgba[..., :3] + _studio(camera, floor, joints)[..., None] * (1 - rgba[..., 3:])
    packed = Image.fromarray((picture * 255 + 0.5).clip(0, 255).astype(np.uint8))
    return packed.resize((PREVIEW_SIZE, PREVIEW_SIZE), Image.Resampling.BOX) if fine > 1 else packed


def side_by_side(pictures: Sequence[Image.Image], most: int = 8) -> Image.Image:
    """Return pictures at half size in a row: the preview of a dresser of so many people.

    Args:
        pictures: of one size.
        most: show only so many, evenly spread.
    """
    places = np.linspace(0, len(pictures) - 1, min(len(pictures), most)).round().astype(int)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width // 2 * len(places), height // 2))
    for column, place in enumerate(places):
        small = pictures[place].resize((width // 2, height // 2), Image.Resampling.BOX)
        sheet.paste(small, (column * (width // 2), 0))
    return sheet


def _posed(body: Body, posed: PosedBody) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = (posed.pose, posed.betas, posed.expression, posed.transl)
    device = body.v_template.device
    skinned = skin(body, *(torch.from_numpy(np.asarray(v))[None].to(device) for v in values))
    vertices, joints = (t[0].cpu().numpy().astype(np.float64) for t in skinned)
    return vertices, joints


def _camera(vertices: NDArray[np.float64], size: int) -> Camera:
    """Look at the middle of the posed body from the front, slightly from above."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle = (low + high) / 2
    focal = 0.86 * size * _DISTANCE / (high - low).max()
    eye = middle + _DISTANCE * np.array([0.0, 0.1, 1.0])
    return look_at(eye, middle, _UP, focal=focal, width=size, height=size)


def _studio(camera: Camera, floor: float, joints: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return (H, W) grey: a floor that runs into a wall without an edge, and contact shadows."""
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    focal, center = camera.K[[0, 1], [0, 1]], camera.K[:2, 2]
    rays = np.stack(
        [(columns - center[0]) / focal[0], (rows - center[1]) / focal[1], np.ones_like(rows)], -1
    )
    rays = rays @ camera.R
    eye = -camera.R.T @ camera.t
    # Where a ray meets the floor; rays at or above the horizon meet it very far away.
    along = (floor - eye[1]) / np.minimum(rays[..., 1], -1e-6)
    place = eye[[0, 2]] + along[..., None] * rays[..., [0, 2]]
    behind = joints[JOINT_INDEX["pelvis"], 2] - place[..., 1]
    blend = 1 / (1 + np.exp(-(behind - 2.5) / 0.9))
    grey = _FLOOR + (_WALL - _FLOOR) * blend
    for radius, darkness, names in _SHADOWS:
        light = np.ones_like(grey)
        for name in names:
            apart = place - joints[JOINT_INDEX[name]][[0, 2]]
            light *= 1 - darkness * np.exp(-(apart**2).sum(axis=-1) / (2 * radius**2))
        grey = grey * light
    return grey.astype(np.float32)
