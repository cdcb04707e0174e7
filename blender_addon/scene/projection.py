"""Cameras of the 3D viewport, render borders and rig scale, as `contract.camera`. No bpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..contract.camera import Camera
from ..contract.errors import UnsupportedCamera
from ..contract.pose import Y_UP_TO_Z_UP

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_smplx(camera: Camera) -> Camera:
    """Return a camera of Blender's world (Z up) as one of SMPL-X space (Y up)."""
    return replace(camera, R=camera.R @ Y_UP_TO_Z_UP)


def for_scaled_rig(camera: Camera, scale: float) -> Camera:
    """Return the camera that sees an unscaled person as `camera` sees the scaled one.

    The pelvis is divided by `scale` too (`pose_math.RigReading`); depths come back divided and
    have to be multiplied by `scale`.
    """
    return replace(camera, t=camera.t / scale)


def from_view(
    view: NDArray[np.floating], projection: NDArray[np.floating], width: int, height: int
) -> Camera:
    """Return the camera of a 3D viewport in Blender's world.

    Args:
        view: (4, 4) the region's view_matrix.
        projection: (4, 4) the region's window_matrix.
        width: of the region, pixels.
        height: of the region.

    Raises:
        UnsupportedCamera: an orthographic view.
    """
    matrix = np.asarray(projection, np.float64)
    if abs(matrix[3, 3]) > 1e-6 or abs(matrix[3, 2]) < 1e-6:
        raise UnsupportedCamera(
            "an orthographic view cannot be rendered: the network was trained on pinholes",
            "switch the view to perspective (Numpad 5)",
        )
    # Blender's clip space: x_ndc = (P00 x + P02 z) / −z, with z negative in front of the camera.
    K = np.array(
        [
            [matrix[0, 0] * width / 2, 0.0, (1.0 - matrix[0, 2]) * width / 2],
            [0.0, matrix[1, 1] * height / 2, (1.0 + matrix[1, 2]) * height / 2],
            [0.0, 0.0, 1.0],
        ]
    )
    flip = np.diag([1.0, -1.0, -1.0])
    pose = np.asarray(view, np.float64)
    axes = pose[:3, :3] / np.linalg.norm(pose[:3, :3], axis=1, keepdims=True)
    return Camera(K=K, R=flip @ axes, t=flip @ pose[:3, 3], width=width, height=height)


@dataclass(frozen=True, kw_only=True)
class Border:
    """The part of a frame that is rendered, in pixels; `bottom` counts upwards."""

    left: int
    bottom: int
    width: int
    height: int


def border_pixels(
    width: int, height: int, x: tuple[float, float], y: tuple[float, float]
) -> Border:
    """Return the pixels of a render border, rounded as Blender rounds.

    Args:
        width: of the whole frame.
        height: of the whole frame.
        x: border_min_x and border_max_x, 0…1.
        y: border_min_y and border_max_y, 0…1, from the bottom.
    """
    # Blender multiplies in float32 and cuts off.
    left, right = (int(np.float32(value) * np.float32(width)) for value in x)
    bottom, top = (int(np.float32(value) * np.float32(height)) for value in y)
    return Border(left=left, bottom=bottom, width=max(right - left, 0), height=max(top - bottom, 0))
