"""Bone matrices to SMPL-X rotations and back, without Blender."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.errors import UnsupportedTransform
from blender_addon.contract.joints import PARENTS
from blender_addon.contract.pose import (
    Y_UP_TO_Z_UP,
    axis_angle_from_rotation,
    rotation_from_axis_angle,
)
from blender_addon.scene.pose_math import (
    basis_rotations,
    posed_joints,
    quaternions,
    read_rig,
    uniform_scale,
)

seeds = st.integers(0, 2**32 - 1)


def _rig(rng: np.random.Generator, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rest and posed matrices (55, 4, 4) as Blender composes them from bases."""
    rest = np.tile(np.eye(4), (55, 1, 1))
    rest[:, :3, :3] = rotation_from_axis_angle(rng.normal(0, 2, (55, 3)))
    rest[:, :3, 3] = rng.normal(0, 0.5, (55, 3))
    basis = np.tile(np.eye(4), (55, 1, 1))
    basis[:, :3, :3] = basis_rotations(rest, pose)
    posed = np.zeros_like(rest)
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            posed[joint] = rest[joint] @ basis[joint]
        else:
            offset = np.linalg.inv(rest[parent]) @ rest[joint]
            posed[joint] = posed[parent] @ offset @ basis[joint]
    return rest, posed


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(axis_angle_from_rotation(np.swapaxes(a, -1, -2) @ b), axis=-1)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_what_is_written_to_bones_is_read_back(seed):
    rng = np.random.default_rng(seed)
    pose = rotation_from_axis_angle(rng.normal(0, 1, (55, 3)))
    rest, posed = _rig(rng, pose)
    reading = read_rig(rest, posed, np.eye(4))
    assert _angles(pose, reading.pose).max() < 1e-9
    np.testing.assert_allclose(Y_UP_TO_Z_UP @ reading.pelvis, posed[0, :3, 3], atol=1e-12)


@given(seeds, st.floats(0.01, 50))
@settings(max_examples=25, deadline=None)
def test_a_moved_turned_and_scaled_rig_moves_only_the_root(seed, scale):
    rng = np.random.default_rng(seed)
    pose = rotation_from_axis_angle(rng.normal(0, 1, (55, 3)))
    rest, posed = _rig(rng, pose)
    world = np.eye(4)
    turn = rotation_from_axis_angle(rng.normal(0, 2, 3))
    world[:3, :3], world[:3, 3] = scale * turn, rng.normal(0, 3, 3)
    reading = read_rig(rest, posed, world)
    assert reading.scale == pytest.approx(scale)
    assert _angles(pose[1:], reading.pose[1:]).max() < 1e-9
    assert _angles(Y_UP_TO_Z_UP.T @ turn @ Y_UP_TO_Z_UP @ pose[0], reading.pose[0]) < 1e-9
    seen = scale * (Y_UP_TO_Z_UP @ reading.pelvis)
    np.testing.assert_allclose(seen, (world @ posed[0, :, 3])[:3], atol=1e-9 * max(scale, 1))


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (np.diag([1.0, 1.0, 1.01]), "unevenly"),
        (np.array([[1.0, 0.01, 0], [0, 1, 0], [0, 0, 1]]), "sheared"),
        (np.diag([-1.0, 1.0, 1.0]), "mirrored"),
        (np.zeros((3, 3)), "nothing"),
    ],
)
def test_what_is_no_uniform_scale_is_refused_by_name(axes, words):
    with pytest.raises(UnsupportedTransform, match=words) as caught:
        uniform_scale(axes, "Ada")
    assert "Ada" in caught.value.cause


def test_float32_errors_of_deep_chains_do_not_add_up():
    rng = np.random.default_rng(5)
    pose = rotation_from_axis_angle(rng.normal(0, 1, (55, 3)))
    rest, posed = _rig(rng, pose)
    reading = read_rig(rest.astype(np.float32), posed.astype(np.float32), np.eye(4))
    assert _angles(pose, reading.pose).max() < 1e-6


def test_quaternions_take_the_short_way_between_frames():
    angles = np.linspace(0, 4 * np.pi, 50)[:, None] * np.array([0.0, 0.0, 1.0])
    found = quaternions(rotation_from_axis_angle(angles)[:, None])[:, 0]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-12)
    assert np.abs(np.diff(found, axis=0)).max() < 0.2


def test_forward_kinematics_of_the_rest_pose_is_the_rest_pose():
    joints = np.random.default_rng(1).normal(0, 1, (55, 3))
    placed = posed_joints(np.tile(np.eye(3), (2, 55, 1, 1)), joints, np.stack([joints[0]] * 2))
    np.testing.assert_allclose(placed, np.stack([joints] * 2), atol=1e-12)
