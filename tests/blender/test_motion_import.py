"""Motions become keyframes that play back as the file says."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def person(blender, scene, parts, made):
    return parts.rig.add_person(blender.context, made, "ada")


def _amass(path, count=20, rate=24.0, seed=2):
    rng = np.random.default_rng(seed)
    poses = np.cumsum(rng.normal(0, 0.05, (count, 165)), axis=0)
    trans = np.cumsum(rng.normal(0, 0.02, (count, 3)), axis=0) + np.array([0.5, -1.0, 0.9])
    np.savez(path, poses=poses, trans=trans, mocap_frame_rate=rate, gender="neutral")
    return poses.reshape(count, 55, 3), trans


def _person(blender, parts):
    return parts.people.visible_people(blender.context.evaluated_depsgraph_get())[0]


def test_every_frame_of_a_motion_plays_back(blender, scene, parts, person, tmp_path):
    vectors, trans = _amass(tmp_path / "m.npz")
    blender.ops.dressform.import_motion(filepath=str(tmp_path / "m.npz"), start=5)
    assert (scene.frame_start, scene.frame_end) == (5, 24)
    rotations = parts.pose.rotation_from_axis_angle(vectors)
    z_to_y = parts.pose.Y_UP_TO_Z_UP.T
    for index in (0, 7, 19):
        scene.frame_set(5 + index)
        body = _person(blender, parts).body
        expected = rotations[index].copy()
        expected[0] = z_to_y @ expected[0]
        between = np.swapaxes(expected, -1, -2) @ body.pose
        angles = np.linalg.norm(parts.pose.axis_angle_from_rotation(between), axis=-1)
        assert angles.max() < 1e-5
    # The path is the file's, moved as one to where the rig stands.
    places = []
    for index in (0, 19):
        scene.frame_set(5 + index)
        places.append(_person(blender, parts).body.transl.astype(float))
    joint = parts.people.joint_table_of(person)[0, :, 0]
    z_up_path = (places[1] - places[0]) @ z_to_y
    np.testing.assert_allclose(z_up_path, trans[19] - trans[0], atol=1e-5)
    start = parts.pose.Y_UP_TO_Z_UP @ (places[0] + joint)
    np.testing.assert_allclose(start[:2], parts.rig.rest_matrices(person)[0, :2, 3], atol=1e-5)


def test_frame_rates_are_converted(blender, scene, parts, person, tmp_path):
    vectors, _ = _amass(tmp_path / "m.npz", count=121, rate=120.0)
    scene.render.fps = 30
    blender.ops.dressform.import_motion(filepath=str(tmp_path / "m.npz"))
    assert (scene.frame_start, scene.frame_end) == (1, 31)
    scene.frame_set(16)  # half a second: the file's 61st frame
    body = _person(blender, parts).body
    expected = parts.pose.rotation_from_axis_angle(vectors[60, 1:])
    between = np.swapaxes(expected, -1, -2) @ body.pose[1:]
    assert np.linalg.norm(parts.pose.axis_angle_from_rotation(between), axis=-1).max() < 1e-5


@pytest.mark.parametrize("name", ["walk", "dance", "wave"])
def test_own_motions_keep_their_feet_on_the_ground(blender, scene, parts, person, name):
    blender.ops.dressform.apply_motion(motion=name)
    clearance = parts.rig.rest_matrices(person)[:, 2, 3]
    feet = [parts.joints.JOINT_INDEX[f"{side}_foot"] for side in ("left", "right")]
    lowest = []
    for frame in range(1, scene.frame_end, 12):
        scene.frame_set(frame)
        body = _person(blender, parts).body
        joints = parts.stand_in.joint_positions(parts.people.joint_table_of(person), body.betas)
        placed = parts.pose_math.posed_joints(
            body.pose[None], joints, (joints[0] + body.transl)[None]
        )
        lowest.append((placed[0, feet, 1] - clearance[feet]).min())
    assert min(lowest) > -1e-4
    assert scene.frame_end > 100


def test_a_file_that_is_no_motion_is_refused_with_the_reason(blender, person, tmp_path):
    np.savez(tmp_path / "v.npz", body_pose=np.zeros((4, 32)), global_orient=np.zeros((4, 3)))
    with pytest.raises(RuntimeError, match="VPoser"):
        blender.ops.dressform.import_motion(filepath=str(tmp_path / "v.npz"))
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=r"x\.npz"):
        blender.ops.dressform.import_motion(filepath=str(tmp_path / "x.npz"))


def test_import_says_what_is_missing_when_no_person_is_selected(blender, scene):
    with pytest.raises(RuntimeError, match="Select the rig of a person"):
        blender.ops.dressform.import_motion(filepath="x.npz")
