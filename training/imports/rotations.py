"""Rotations as fits store them: axis-angles or matrices, hands as principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from blender_addon.contract.pose import rotation_from_axis_angle
from training.imports.arrays import Arrays, table, wrong

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.body import Hands

HandMean = Literal["auto", "add", "none"]

FINGER_JOINTS = 15


def joint_rotations(
    arrays: Arrays, field: str, path: Path, joints: int, *, optional: bool = True
) -> NDArray[np.float64]:
    """Return a field as (joints, 3, 3) rotations.

    Args:
        arrays: what the file holds.
        field: (joints · 3,) or (joints, 3) axis-angles in radians, or (joints, 3, 3) matrices.
        path: the file, for the errors.
        joints: how many there must be.
        optional: a field that is missing stands for no rotation.

    Raises:
        CaptureError: missing, of another shape, not finite, or matrices that are no rotations.
    """
    if optional and field not in arrays:
        return np.tile(np.eye(3), (joints, 1, 1))
    shapes = [(joints * 3,), (joints, 3), (joints, 3, 3)]
    # A single matrix, (1, 3, 3), comes out as (3, 3).
    values = table(arrays, field, path, *(shapes if joints > 1 else [(3,), (3, 3)]))
    if values.size == joints * 3:
        return rotation_from_axis_angle(values.reshape(joints, 3))
    matrices = values.reshape(joints, 3, 3)
    gram = np.swapaxes(matrices, -1, -2) @ matrices
    if np.abs(gram - np.eye(3)).max() > 1e-3 or (np.linalg.det(matrices) < 0).any():
        raise wrong(path, field, "holds matrices that are not rotations")
    return matrices


def hand_rotations(
    arrays: Arrays, field: str, path: Path, hands: Hands | None, side: int, mean: HandMean
) -> tuple[NDArray[np.float64], str | None]:
    """Return a hand's (15, 3, 3) rotations, and a note if they are not what the file says.

    Args:
        arrays: what the file holds.
        field: 45 axis-angle numbers, (15, 3, 3) matrices, or fewer than 45 coefficients.
        path: the file, for the errors.
        hands: what the body's coefficients stand for.
        side: 0 for the left hand, 1 for the right one.
        mean: whether the body's mean hand is added; "auto": to coefficients, not to angles.

    Raises:
        CaptureError: of another shape, or not finite.
    """
    flat = np.tile(np.eye(3), (FINGER_JOINTS, 1, 1))
    if field not in arrays:
        return flat, None
    values = table(arrays, field, path, (-1,), (FINGER_JOINTS, 3), (FINGER_JOINTS, 3, 3))
    if values.size == FINGER_JOINTS * 9 and values.ndim == 3:
        return joint_rotations(arrays, field, path, FINGER_JOINTS), None
    angles = values.reshape(-1)
    if len(angles) > FINGER_JOINTS * 3:
        raise wrong(path, field, f"has {len(angles)} numbers; 45 angles or fewer coefficients fit")
    coded = len(angles) < FINGER_JOINTS * 3
    if coded or mean == "add":
        if hands is None:
            return flat, f"{field}: the body has no hand components, the hand stays flat"
        if coded:
            angles = angles @ hands.components[side, : len(angles)].cpu().numpy()
        if mean != "none":
            angles = angles + hands.means[side].cpu().numpy()
    return rotation_from_axis_angle(angles.reshape(FINGER_JOINTS, 3)), None
