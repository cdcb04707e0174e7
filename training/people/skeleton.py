"""Forward kinematics of the 55 joints in numpy: what cloth, hair and collision tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_COUNT, PARENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def joint_transforms(
    rotations: NDArray[np.floating], rest: NDArray[np.floating], transl: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return what carries points of the rest pose into the pose, joint by joint.

    Args:
        rotations: (55, 3, 3) local rotations.
        rest: (55, 3) joints of the shaped body in the rest pose, metres.
        transl: (3,) translation of the root.

    Returns:
        (55, 3, 4): `[A | b]`, so that a point p bound to joint j alone goes to `A[j] p + b[j]`.

    Source: SMPL-X (Pavlakos et al. 2019), equation 4.
    """
    world = np.empty((JOINT_COUNT, 3, 3))
    position = np.empty((JOINT_COUNT, 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            world[joint], position[joint] = rotations[joint], rest[joint] + transl
            continue
        world[joint] = world[parent] @ rotations[joint]
        position[joint] = position[parent] + world[parent] @ (rest[joint] - rest[parent])
    offset = position - np.einsum("jab,jb->ja", world, rest)
    return np.concatenate([world, offset[:, :, None]], axis=2)


def posed_joints(
    transforms: NDArray[np.float64], rest: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the (55, 3) joints in the pose of `joint_transforms`."""
    return np.einsum("jab,jb->ja", transforms[:, :, :3], rest) + transforms[:, :, 3]


def apply_transforms(
    transforms: NDArray[np.float64], weights: NDArray[np.floating], points: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Carry (V, 3) rest points into the pose by their (V, 55) weights (linear blend skinning)."""
    blended = weights.astype(np.float32) @ transforms.reshape(JOINT_COUNT, 12).astype(np.float32)
    matrix = blended.reshape(-1, 3, 4)
    points = points.astype(np.float32)
    return np.einsum("vab,vb->va", matrix[:, :, :3], points) + matrix[:, :, 3]
