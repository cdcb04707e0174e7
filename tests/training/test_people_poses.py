"""Poses and cameras of synthetic people: within limits, free of collisions, in the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.joints import JOINT_INDEX, JOINT_NAMES
from blender_addon.contract.pose import axis_angle_from_rotation, check_rotations
from models.body import load_body
from training.people.bare import bare_body
from training.people.cameras import VIEW_SHARES, VIEWS, sample_camera
from training.people.collisions import body_solids, penetrates
from training.people.dataset import DEFAULT_BODY
from training.people.poses import FAMILIES, FREE, LIMITS, SKIRTED, sample_pose
from training.people.skeleton import apply_transforms, joint_transforms, posed_joints


@pytest.fixture(scope="module")
def bare():
    return bare_body(load_body(DEFAULT_BODY), np.array([0.5, -0.5, 0.3], np.float32))


@given(
    seed=st.integers(0, 2**32 - 1),
    family=st.sampled_from(FAMILIES),
    style=st.sampled_from([FREE, SKIRTED]),
)
@settings(max_examples=60, deadline=None)
def test_poses_are_rotations_within_the_joints_limits(seed, family, style):
    pose = sample_pose(np.random.default_rng(seed), family, style)
    check_rotations(pose, tolerance=1e-6)
    angles = np.linalg.norm(axis_angle_from_rotation(pose), axis=1)
    for name, angle in zip(JOINT_NAMES, angles, strict=True):
        assert angle <= LIMITS[name] + 1e-6, name


def test_knees_and_elbows_bend_one_way_only():
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        for _ in range(20):
            bends = axis_angle_from_rotation(sample_pose(rng, family))
            assert bends[JOINT_INDEX["left_knee"], 0] >= -1e-6
            assert bends[JOINT_INDEX["right_knee"], 0] >= -1e-6
            assert bends[JOINT_INDEX["left_elbow"], 1] <= 1e-6
            assert bends[JOINT_INDEX["right_elbow"], 1] >= -1e-6


def test_a_skirt_keeps_the_thighs_low():
    rng = np.random.default_rng(0)
    for _ in range(30):
        for family in ("sit", "run", "dance"):
            hips = sample_pose(rng, family, SKIRTED)[[1, 2]]
            assert (np.linalg.norm(axis_angle_from_rotation(hips), axis=1) < 1.0).all()


def test_kinematics_agree_with_the_bodys_skinning(bare):
    from blender_addon.contract.operations import PosedBody
    from training.people.bare import posed_vertices

    pose = sample_pose(np.random.default_rng(4), "dance")
    posed = PosedBody(
        pose=pose.astype(np.float32),
        transl=np.array([0.1, 0.2, 0.3], np.float32),
        betas=bare.betas,
        expression=np.zeros(1, np.float32),
    )
    transforms = joint_transforms(posed.pose, bare.joints, posed.transl)
    ours = apply_transforms(transforms, bare.weights, bare.vertices)
    np.testing.assert_allclose(ours, posed_vertices(bare.body, posed), atol=2e-5)


def test_a_hand_in_the_belly_is_a_collision(bare):
    solids = body_solids(bare.vertices, bare.weights)
    rest = np.tile(np.eye(3), (55, 1, 1))
    assert not penetrates(joint_transforms(rest, bare.joints, np.zeros(3)), bare.joints, solids)
    # Straight arms swung through the trunk.
    from blender_addon.contract.pose import rotation_from_axis_angle

    through = rest.copy()
    through[JOINT_INDEX["left_shoulder"]] = rotation_from_axis_angle(np.array([0, 0, -1.9]))
    through[JOINT_INDEX["left_elbow"]] = rotation_from_axis_angle(np.array([0, 0, -0.9]))
    assert penetrates(joint_transforms(through, bare.joints, np.zeros(3)), bare.joints, solids)


def test_every_family_is_mostly_free_of_collisions(bare):
    solids = body_solids(bare.vertices, bare.weights)
    rng = np.random.default_rng(1)
    for family in FAMILIES:
        free = sum(
            not penetrates(
                joint_transforms(sample_pose(rng, family), bare.joints, np.zeros(3)),
                bare.joints,
                solids,
            )
            for _ in range(40)
        )
        assert free >= 8, family


@pytest.mark.parametrize("view", VIEWS)
def test_cameras_see_their_subject_from_allowed_heights(bare, view):
    rng = np.random.default_rng(2)
    azimuths = []
    for _ in range(40):
        pose = sample_pose(rng, "walk")
        transforms = joint_transforms(pose, bare.joints, np.zeros(3))
        joints = posed_joints(transforms, bare.joints)
        camera = sample_camera(rng, view, joints, facing=pose[0], size=128)
        # Everybody is before the camera.
        assert camera.project(joints)[:, 2].min() > 0.2
        away = camera.R.T @ np.array([0.0, 0.0, -1.0])
        assert np.radians(-15.1) <= np.arcsin(away[1]) <= np.radians(45.1)
        azimuths.append(np.arctan2(away[0], away[2]))
        if view == "whole":
            pixels = camera.project(joints)[:, :2]
            assert (pixels > 0).all()
            assert (pixels < 128).all()
            assert np.ptp(pixels, axis=0).max() > 50
    assert len({int(angle // (np.pi / 2)) for angle in azimuths}) == 4


def test_view_shares_are_those_that_training_wants():
    assert sum(VIEW_SHARES.values()) == pytest.approx(1.0)
    assert VIEW_SHARES["whole"] == pytest.approx(0.5, abs=0.05)
