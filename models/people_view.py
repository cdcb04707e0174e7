"""Pictures of people to choose from, with a camera that sees all of a person or one part.

`blender_addon.contract.wardrobe.PersonView` says what may be asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.avatar_look import PARTS
from blender_addon.contract.camera import look_at
from models.avatar_preview import preview_pose
from models.body import skin
from models.frame import over_grey
from models.texture_parts import vertex_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from blender_addon.contract.wardrobe import PersonView
    from models.avatar import AvatarRenderer
    from models.body import Body

DISTANCE = 4.0
"""Metres from the camera to the person: far enough for the proportions of a full-length portrait."""
MARGIN = 1.12
"""Of the picture's side over the person's larger extent; hair and skirts leave the body."""
PART_MARGIN = 1.3


def camera_for(
    body: Body, posed: PosedBody, size: int, *, yaw: float = 0.0, part: str = ""
) -> Camera:
    """Return the camera of a square picture of somebody.

    Args:
        body: the body model.
        posed: how it stands.
        size: of the picture in pixels.
        yaw: degrees from +Z to the person's left.
        part: one of `PARTS`, to see that part only; all of the person otherwise.
    """
    given = (posed.pose, posed.betas, posed.expression, posed.transl)
    tensors = [torch.from_numpy(np.array(values, np.float32))[None] for values in given]
    with torch.inference_mode():
        found = skin(body, *(values.to(body.v_template) for values in tensors))
    points = found.vertices[0].cpu().numpy().astype(np.float64)
    margin = MARGIN
    if part:
        points, margin = points[vertex_parts(body) == PARTS.index(part)], PART_MARGIN
    middle = (points.min(axis=0) + points.max(axis=0)) / 2.0
    angle = np.radians(yaw)
    towards = np.array([np.sin(angle), 0.0, np.cos(angle)])
    side = np.array([np.cos(angle), 0.0, -np.sin(angle)])
    beside, above = np.abs((points - middle) @ side), np.abs(points[:, 1] - middle[1])
    half = max(float(beside.max()), float(above.max())) * margin
    return look_at(
        middle + DISTANCE * towards,
        middle,
        np.array([0.0, 1.0, 0.0]),
        focal=size / 2.0 * DISTANCE / half,
        width=size,
        height=size,
    )


def picture(
    renderer: AvatarRenderer, view: PersonView, betas: Sequence[float] = ()
) -> NDArray[np.uint8]:
    """Return a picture (size, size, 3) uint8 sRGB of somebody before grey.

    Args:
        renderer: of the person.
        view: pose and camera, or how to choose them.
        betas: shape of the body where the view has no body.

    Raises:
        BodyMismatch: more coefficients than the body has.
    """
    posed = view.body or preview_pose(np.array(betas, np.float32))
    camera = view.camera or camera_for(
        renderer.body, posed, view.size, yaw=view.yaw, part=view.part
    )
    return over_grey(renderer.render(posed, camera, ("rgba",))["rgba"])
