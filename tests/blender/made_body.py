"""A body made of one little tetrahedron per joint: small, asymmetric, with real sliders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from types import ModuleType

BETAS, EXPRESSIONS = 4, 3


def joints() -> np.ndarray:
    """Rough T-pose joints, SMPL-X axes."""
    from blender_addon.contract.joints import PARENTS

    rng = np.random.default_rng(7)
    found = np.zeros((55, 3))
    found[0] = (0.01, 0.93, 0.02)
    for index, parent in enumerate(PARENTS):
        if parent >= 0:
            found[index] = found[parent] + rng.uniform(-0.12, 0.12, 3) + (0.0, 0.02, 0.0)
    return found


def arrays() -> dict[str, np.ndarray]:
    """The arrays of `body.template`."""
    rng = np.random.default_rng(8)
    centres = joints()
    corners = np.array([[0, 0, 0], [0.05, 0, 0], [0, 0.05, 0], [0, 0, 0.05]])
    vertices = (centres[:, None] + corners).reshape(-1, 3)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    faces = (faces + 4 * np.arange(55)[:, None, None]).reshape(-1, 3)
    joint_shape_dirs = rng.normal(0, 0.01, (55, 3, BETAS))
    weight_joints = np.repeat(np.arange(55), 4)[:, None].repeat(4, axis=1)
    return {
        "vertices": vertices.astype(np.float32),
        "faces": faces.astype(np.int32),
        "uv": rng.uniform(0, 1, (len(vertices), 2)).astype(np.float32),
        "uv_faces": faces.astype(np.int32),
        "joints": centres.astype(np.float32),
        # Each tetrahedron moves with its joint, as a regressed joint does.
        "shape_dirs": np.repeat(joint_shape_dirs, 4, axis=0).astype(np.float32),
        "expression_dirs": rng.normal(0, 0.01, (len(vertices), 3, EXPRESSIONS)).astype(np.float32),
        "joint_shape_dirs": joint_shape_dirs.astype(np.float32),
        "weight_joints": weight_joints.astype(np.uint8),
        "weight_values": np.tile([1.0, 0, 0, 0], (len(vertices), 1)).astype(np.float32),
    }


def template(stand_in: ModuleType) -> object:
    """The parsed template; `stand_in` is the installed extension's module."""
    return stand_in.parse_template({"id": "made-body", "digest": "0" * 64}, arrays())
