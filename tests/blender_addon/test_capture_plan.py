"""Plans of a sweep: files that are refused by name, poses that keep apart, cameras that see."""

from __future__ import annotations

import numpy as np
import pytest

from blender_addon.capture.exr import read_exr
from blender_addon.capture.plan import load_plan
from blender_addon.capture.poses import FAMILIES, sample_pose
from blender_addon.capture.solids import collides, fit_solids
from blender_addon.capture.views import VIEWS, sample_view
from blender_addon.contract.errors import BadParameter, InternalError
from blender_addon.contract.joints import JOINT_INDEX
from blender_addon.contract.pose import check_rotations, rotation_from_axis_angle
from blender_addon.scene.pose_math import posed_joints
from tests.blender import doll


def rows(**changes):
    given = {
        "pose": np.tile(np.eye(3), (2, 55, 1, 1)), "transl": np.zeros((2, 3)),
        "expression": np.zeros((2, 4)), "R": np.tile(np.eye(3), (2, 1, 1)),
        "K": np.tile(np.array([[50.0, 0, 32], [0, 50.0, 16], [0, 0, 1]]), (2, 1, 1)),
        "t": np.tile([0, 0, 3.0], (2, 1)), "name": np.array(["a", "b"]),
        "split": np.array(["train", "held-out"]), "betas": np.zeros(3),
        "image_size": np.array([64, 32]),
    }  # fmt: skip
    given.update(changes)
    return {name: value for name, value in given.items() if value is not None}


def test_a_plan_is_read_and_resized(tmp_path):
    np.savez(tmp_path / "p.npz", **rows(tags=np.array(["x;back view", ""])))
    frames = load_plan(tmp_path / "p.npz", size=(128, 64))
    assert [f.split for f in frames] == ["train", "held-out"]
    assert frames[0].tags == ("x", "back view")
    np.testing.assert_allclose(frames[0].camera.K[:2, 2], [64, 32])
    assert frames[0].digest() != frames[1].digest()
    with pytest.raises(BadParameter, match="64×32"):
        load_plan(tmp_path / "p.npz", size=(64, 64))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"t": None}, "t is missing"),
        ({"pose": np.zeros((2, 55, 3, 3))}, "frame 0: the pose holds matrices"),
        ({"pose": np.zeros((0, 55, 3, 3))}, "rows"),
        ({"transl": np.zeros((1, 3))}, "transl has 1 rows"),
        ({"split": np.array(["train", "test"])}, "frame 1: split"),
        ({"name": np.array(["a", "a"])}, "twice"),
        ({"transl": np.full((2, 3), np.nan)}, "not finite"),
        ({"image_size": np.zeros(3)}, "image_size"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(tmp_path, changes, words):
    np.savez(tmp_path / "p.npz", **rows(**changes))
    with pytest.raises(BadParameter, match=words):
        load_plan(tmp_path / "p.npz")


def test_files_that_are_no_plans(tmp_path):
    (tmp_path / "p.npz").write_bytes(b"PK not really")
    with pytest.raises(BadParameter, match="readable"):
        load_plan(tmp_path / "p.npz")
    with pytest.raises(BadParameter, match="no plan"):
        load_plan(tmp_path / "none.npz")


@pytest.fixture(scope="module")
def solids():
    given = doll.arrays()
    return fit_solids(given["vertices"], given["weight_joints"][:, 0], given["joints"])


@pytest.mark.parametrize("family", FAMILIES)
def test_poses_are_rotations_and_mostly_free(family, solids):
    poses = [sample_pose(np.random.default_rng(seed), family) for seed in range(6)]
    for pose in poses:
        check_rotations(pose)
    assert np.abs(poses[0] - poses[1]).max() > 0.1
    if family not in ("crossed arms", "hands in front"):
        assert np.mean([collides(pose, solids) for pose in poses]) < 0.9


def test_an_arm_in_the_chest_is_seen(solids):
    pose = np.tile(np.eye(3), (55, 1, 1))
    assert not collides(pose, solids)
    pose[JOINT_INDEX["left_shoulder"]] = rotation_from_axis_angle(np.array([0, 0, -1.9]))
    assert collides(pose, solids)
    pose[0] = rotation_from_axis_angle(np.array([0.3, 2.0, 0.0]))  # wherever the person faces
    assert collides(pose, solids)


@pytest.mark.parametrize("view", VIEWS)
def test_cameras_see_their_subject(view):
    rest = doll.joints()
    part = {"head": "head", "legs": "left_knee", "upper": "spine3", "whole": "pelvis"}.get(view)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pose = sample_pose(rng, "walk")
        placed = posed_joints(pose[None], rest, rest[:1])[0]
        camera = sample_view(rng, view, placed, pose[0], (64, 48))
        seen = camera.project(placed)
        assert (seen[:, 2] > 0.2).all()
        inside = ((seen[:, :2] > 0) & (seen[:, :2] < [64, 48])).all(axis=1)
        if view == "whole":
            assert inside.all()
        elif part is None:
            assert inside[JOINT_INDEX["left_wrist"]] or inside[JOINT_INDEX["right_wrist"]]
        else:
            assert inside[JOINT_INDEX[part]]
        height = (camera.center - placed[0])[1] / np.linalg.norm(camera.center - placed[0])
        assert -0.6 < height < 0.9


@pytest.mark.parametrize("data", [b"", b"not an EXR file at all", b"\x76\x2f\x31\x01\x02\0\0\0"])
def test_damaged_exr_is_refused(data):
    with pytest.raises(InternalError, match="EXR"):
        read_exr(data)
