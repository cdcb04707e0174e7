"""Conventions of poses: axes, rotations, and what makes a pose valid.

SMPL-X space is Y-up, Blender's is Z-up; `Y_UP_TO_Z_UP` turns the first into the second.
Poses are 55 local 3×3 rotations in SMPL-X order (`joints.JOINT_NAMES`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import BadPose
from .joints import JOINT_COUNT

if TYPE_CHECKING:
    from numpy.typing import NDArray

Y_UP_TO_Z_UP: NDArray[np.float64] = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""(3, 3): `v_blender = Y_UP_TO_Z_UP @ v_smplx`."""


def rotation_from_axis_angle(axis_angle: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn axis-angle vectors into rotation matrices (Rodrigues' formula).

    Args:
        axis_angle: (…, 3) radians.

    Returns:
        (…, 3, 3) float64.
    """
    vector = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)[..., None]
    axis = vector[..., None] / np.maximum(angle, 1e-300)
    x, y, z = axis[..., 0, 0], axis[..., 1, 0], axis[..., 2, 0]
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def axis_angle_from_rotation(rotation: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn rotation matrices into axis-angle vectors, angles in [0, π].

    Args:
        rotation: (…, 3, 3).

    Returns:
        (…, 3) float64, radians. At an angle of π either of the two axes may come back.
    """
    matrix = np.asarray(rotation, np.float64)
    # Through the quaternion of largest component (Shepperd): exact near 0 and near π alike.
    m00, m11, m22 = matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 2, 2]
    squares = np.stack(
        [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1
    )
    a = matrix[..., 2, 1], matrix[..., 0, 2], matrix[..., 1, 0]
    b = matrix[..., 1, 2], matrix[..., 2, 0], matrix[..., 0, 1]
    wx, wy, wz = (p - q for p, q in zip(a, b, strict=True))
    yz, xz, xy = (p + q for p, q in zip(a, b, strict=True))
    candidates = np.stack(
        [
            np.stack([squares[..., 0], wx, wy, wz], -1),
            np.stack([wx, squares[..., 1], xy, xz], -1),
            np.stack([wy, xy, squares[..., 2], yz], -1),
            np.stack([wz, xz, yz, squares[..., 3]], -1),
        ],
        -2,
    )
    best = np.argmax(squares, axis=-1)[..., None, None]
    quaternion = np.take_along_axis(candidates, np.broadcast_to(best, (*best.shape[:-1], 4)), -2)
    quaternion = quaternion[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, quaternion[..., :1])
    scale = np.where(sine > 1e-12, angle / np.maximum(sine, 1e-300), 2.0)
    return quaternion[..., 1:] * scale


def check_rotations(
    rotations: NDArray[np.floating], *, tolerance: float = 1e-3
) -> NDArray[np.float32]:
    """Return the pose as float32 after checking that it is one.

    Args:
        rotations: (55, 3, 3) or (B, 55, 3, 3).
        tolerance: how far RᵀR may be from the identity, per element.

    Raises:
        BadPose: wrong shape, not finite, not rotations (scaled, sheared or mirrored).
    """
    pose = np.asarray(rotations, np.float32)
    if pose.ndim not in (3, 4) or pose.shape[-3:] != (JOINT_COUNT, 3, 3):
        raise BadPose(f"a pose has the shape (55, 3, 3), this has {tuple(pose.shape)}")
    if not np.isfinite(pose).all():
        raise BadPose("the pose holds numbers that are not finite")
    gram = np.swapaxes(pose, -1, -2) @ pose
    if np.abs(gram - np.eye(3, dtype=np.float32)).max() > tolerance:
        raise BadPose("the pose holds matrices that are not rotations")
    if (np.linalg.det(pose) < 0).any():
        raise BadPose("the pose holds mirrored matrices")
    return pose
