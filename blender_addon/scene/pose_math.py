"""From Blender's bone matrices to an SMPL-X pose and back. No bpy.

A bone's rest axes `B` and its posed matrix `M` are both in the armature's space (Z up). The
rotation that SMPL-X calls global is `G = M B⁻¹`; a joint's own is `G_parentᵀ G`. Nothing else of
the rig matters, so poses keyed by hand, driven, constrained or solved by IK read alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..contract.errors import UnsupportedTransform
from ..contract.joints import JOINT_NAMES, PARENTS
from ..contract.pose import Y_UP_TO_Z_UP

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNEVEN_TOLERANCE = 1e-3
"""How far a rig's axes may be from equal lengths and right angles."""


@dataclass(frozen=True, kw_only=True)
class RigReading:
    """What a posed rig says, in SMPL-X axes.

    Attributes:
        pose: (55, 3, 3) float64 local rotations; the first is the root's in world space.
        pelvis: (3,) position of the pelvis joint in the world, metres of the *unscaled* person:
            world metres divided by `scale`.
        scale: uniform scale of the rig in the world.
    """

    pose: NDArray[np.float64]
    pelvis: NDArray[np.float64]
    scale: float


def uniform_scale(matrix: NDArray[np.floating], name: str) -> float:
    """Return the one scale factor of a (4, 4) or (3, 3) matrix.

    Raises:
        UnsupportedTransform: sheared, mirrored or scaled unevenly; names the object.
    """
    axes = np.asarray(matrix, np.float64)[:3, :3]
    gram = axes.T @ axes
    square = float(np.trace(gram)) / 3.0
    if square <= 1e-12:
        raise UnsupportedTransform(f"{name} is scaled to nothing")
    if np.abs(gram / square - np.eye(3)).max() > UNEVEN_TOLERANCE:
        raise UnsupportedTransform(f"{name} is sheared or scaled unevenly")
    if np.linalg.det(axes) < 0:
        raise UnsupportedTransform(f"{name} is mirrored (a negative scale)")
    return float(np.sqrt(square))


def read_rig(
    rest: NDArray[np.floating],
    posed: NDArray[np.floating],
    world: NDArray[np.floating],
    name: str = "the rig",
) -> RigReading:
    """Read an SMPL-X pose off a rig.

    Args:
        rest: (55, 4, 4) rest matrices of the bones in armature space, SMPL-X order.
        posed: (55, 4, 4) evaluated matrices of the pose bones in armature space.
        world: (4, 4) evaluated world matrix of the armature object.
        name: what to call the rig in an error.

    Raises:
        UnsupportedTransform: the object or a bone is sheared, mirrored or scaled unevenly.
    """
    scale = uniform_scale(world, name)
    rotations = _global_rotations(rest, posed, name)
    rotations = nearest_rotations((np.asarray(world, np.float64)[:3, :3] / scale) @ rotations)
    local = rotations.copy()
    parents = np.array(PARENTS[1:])
    local[1:] = np.swapaxes(rotations[parents], -1, -2) @ rotations[1:]
    pelvis = (np.asarray(world, np.float64) @ np.asarray(posed, np.float64)[0, :, 3])[:3] / scale
    return RigReading(
        pose=Y_UP_TO_Z_UP.T @ local @ Y_UP_TO_Z_UP, pelvis=Y_UP_TO_Z_UP.T @ pelvis, scale=scale
    )


def _global_rotations(
    rest: NDArray[np.floating], posed: NDArray[np.floating], name: str
) -> NDArray[np.float64]:
    axes = np.asarray(posed, np.float64)[:, :3, :3]
    lengths = np.linalg.norm(axes, axis=1)
    uneven = np.flatnonzero(np.abs(lengths - 1.0).max(axis=1) > UNEVEN_TOLERANCE)
    if uneven.size:
        raise UnsupportedTransform(
            f"the bone {JOINT_NAMES[int(uneven[0])]} of {name} is scaled",
            "clear the scale of the bones (Alt-S in Pose Mode); scale the whole rig instead",
        )
    # Blender's rest axes are off a rotation by up to 2e-5 (float32 sums); the posed matrices
    # carry the same error, and the true inverse takes it out where the transpose doubles it.
    return axes @ np.linalg.inv(np.asarray(rest, np.float64)[:, :3, :3])


def nearest_rotations(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotations nearest to almost orthonormal matrices (…, 3, 3).

    Blender's matrices are float32 products: orthonormalised, their errors do not add up.
    """
    left, _, right = np.linalg.svd(matrices)
    return left @ right


def basis_rotations(rest: NDArray[np.floating], pose: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rotations that pose bones need (their matrix_basis).

    Args:
        rest: (55, 4, 4) or (55, 3, 3) rest matrices in armature space.
        pose: (…, 55, 3, 3) SMPL-X rotations; the root's relative to the armature.

    Returns:
        (…, 55, 3, 3).
    """
    axes = np.asarray(rest, np.float64)[:, :3, :3]
    turned = Y_UP_TO_Z_UP @ np.asarray(pose, np.float64) @ Y_UP_TO_Z_UP.T
    return nearest_rotations(np.linalg.inv(axes) @ turned @ axes)


def posed_joints(
    pose: NDArray[np.floating], joints: NDArray[np.floating], pelvis: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return where the joints of poses are, by forward kinematics.

    Args:
        pose: (N, 55, 3, 3) local rotations.
        joints: (55, 3) of the unposed body.
        pelvis: (N, 3) position of the first joint.

    Returns:
        (N, 55, 3).
    """
    rest = np.asarray(joints, np.float64)
    turned, placed = np.array(pose, np.float64), np.zeros((len(pose), len(PARENTS), 3))
    placed[:, 0] = pelvis
    for joint, parent in enumerate(PARENTS[1:], start=1):
        placed[:, joint] = placed[:, parent] + turned[:, parent] @ (rest[joint] - rest[parent])
        turned[:, joint] = turned[:, parent] @ turned[:, joint]
    return placed


def quaternions(rotations: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn rotations (N, …, 3, 3) into quaternions (N, …, 4), w first, continuous along axis 0.

    Neighbouring keyframes get quaternions of the same sign, so that Blender's interpolation
    takes the short way.
    """
    from ..contract.pose import axis_angle_from_rotation

    vector = axis_angle_from_rotation(rotations)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    half = angle / 2.0
    factor = np.where(angle > 1e-12, np.sin(half) / np.maximum(angle, 1e-300), 0.5)
    found = np.concatenate([np.cos(half), vector * factor], axis=-1)
    for index in range(1, len(found)):
        flip = np.sum(found[index] * found[index - 1], axis=-1, keepdims=True) < 0
        found[index] = np.where(flip, -found[index], found[index])
    return found
