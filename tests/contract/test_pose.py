"""Rotations there and back, and what is no pose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blender_addon.contract import joints
from blender_addon.contract.errors import BadPose
from blender_addon.contract.pose import (
    Y_UP_TO_Z_UP,
    axis_angle_from_rotation,
    check_rotations,
    rotation_from_axis_angle,
)

VECTORS = hnp.arrays(np.float64, (3,), elements=st.floats(-1.8, 1.8))
REST = np.tile(np.eye(3), (55, 1, 1))


@given(VECTORS)
def test_axis_angle_there_and_back(vector):
    rotation = rotation_from_axis_angle(vector)
    assert np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    back = axis_angle_from_rotation(rotation)
    assert np.allclose(rotation_from_axis_angle(back), rotation, atol=1e-9)
    if np.linalg.norm(vector) < 3.1:
        assert np.allclose(back, vector, atol=1e-6)


@given(st.floats(1e-12, 1e-6), VECTORS)
def test_tiny_angles_keep_their_digits(angle, vector):
    length = np.linalg.norm(vector)
    if length > 0.1:
        tiny = vector / length * angle
        assert np.allclose(
            axis_angle_from_rotation(rotation_from_axis_angle(tiny)), tiny, rtol=1e-6, atol=1e-15
        )


@pytest.mark.parametrize("axis", [*np.eye(3), np.array([0.6, 0.0, 0.8]), np.array([0.6, -0.8, 0])])
def test_half_turns_have_the_angle_pi(axis):
    back = axis_angle_from_rotation(rotation_from_axis_angle(axis * np.pi))
    assert np.linalg.norm(back) == pytest.approx(np.pi)
    assert abs(back @ axis) == pytest.approx(np.pi)


def test_rotation_turns_counter_clockwise():
    quarter = rotation_from_axis_angle(np.array([0.0, 0.0, np.pi / 2]))
    assert np.allclose(quarter @ [1, 0, 0], [0, 1, 0])


def test_batches_of_any_shape_turn_as_single_ones():
    vectors = np.random.default_rng(0).normal(size=(2, 5, 3))
    batch = rotation_from_axis_angle(vectors)
    assert batch.shape == (2, 5, 3, 3)
    assert np.allclose(batch[1, 3], rotation_from_axis_angle(vectors[1, 3]))
    assert np.allclose(axis_angle_from_rotation(batch)[1, 3], axis_angle_from_rotation(batch[1, 3]))


def test_smplx_up_is_blenders_up():
    assert np.allclose(Y_UP_TO_Z_UP @ [0, 1, 0], [0, 0, 1])
    assert np.allclose(Y_UP_TO_Z_UP @ [0, 0, 1], [0, -1, 0])  # facing the viewer of Blender's front
    assert np.linalg.det(Y_UP_TO_Z_UP) == pytest.approx(1.0)


def test_poses_pass_as_float32():
    assert check_rotations(REST).dtype == np.float32
    assert check_rotations(np.stack([REST, REST])).shape == (2, 55, 3, 3)


@pytest.mark.parametrize(
    "pose",
    [
        REST[:54],
        REST.reshape(55, 9),
        np.zeros((55, 3)),
        np.where(np.arange(55)[:, None, None] == 7, np.nan, REST),
        REST * 1.01,
        np.zeros((55, 3, 3)),
        REST @ np.diag([1.0, 1.0, -1.0]),
        REST + np.array([[0, 0.01, 0], [0, 0, 0], [0, 0, 0]]),
    ],
    ids=["54", "flat", "vectors", "nan", "scaled", "zeros", "mirrored", "sheared"],
)
def test_what_is_no_pose_is_refused(pose):
    with pytest.raises(BadPose):
        check_rotations(pose)


def test_the_joints_are_those_of_smplx():
    assert joints.JOINT_COUNT == len(set(joints.JOINT_NAMES)) == len(joints.PARENTS) == 55
    assert joints.PARENTS[0] == -1
    assert all(parent < index for index, parent in enumerate(joints.PARENTS))
    parent_of = {
        name: joints.JOINT_NAMES[joints.PARENTS[index]]
        for name, index in joints.JOINT_INDEX.items()
        if index
    }
    assert parent_of["left_wrist"] == "left_elbow"
    assert parent_of["jaw"] == parent_of["left_eye_smplhf"] == "head"
    assert parent_of["right_thumb1"] == "right_wrist"
    assert parent_of["right_thumb3"] == "right_thumb2"
    assert joints.JOINT_INDEX["left_index1"] == 25
    assert joints.JOINT_INDEX["right_index1"] == 40
