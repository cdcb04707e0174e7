"""Body fits: known bodies are found again from their keypoints; what is not seen stays sensible."""

import json
from dataclasses import replace

import numpy as np
import pytest

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import BadParameter, BadPersonView, NoPersonFound, VPoserPose
from blender_addon.contract.joints import JOINT_INDEX
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import axis_angle_from_rotation, rotation_from_axis_angle
from models.body import load_body
from models.body_fit import BodyFitRecipe, fit_body, iterate_fit_body
from models.body_fit_figures import body_mask, body_vertices
from models.body_fit_file import read_body_fit, write_body_fit
from models.body_fit_terms import landmark_weights
from models.package import DEFAULT_LIBRARY
from models.pose_landmarks import LANDMARK_INDEX, LANDMARK_NAMES
from training.imports.photo_fit import read_photo_fit
from training.wardrobe.body_fit_evaluation import fit_errors, true_view

SIZE = 256
QUICK = BodyFitRecipe(focal=300.0, root_steps=20, pose_steps=60, shape_steps=40)


@pytest.fixture(scope="module")
def body():
    return load_body(DEFAULT_LIBRARY / "body-cc0")


@pytest.fixture(scope="module")
def camera():
    K = np.array([[300.0, 0, SIZE / 2], [0, 300.0, SIZE / 2], [0, 0, 1]])
    flip = np.diag([1.0, -1.0, -1.0])
    return Camera(K=K, R=flip, t=flip @ np.array([0.1, 0.35, -3.0]), width=SIZE, height=SIZE)


def posed(turns, betas=(0.0,) * 10):
    angles = np.zeros((55, 3))
    for name, turn in turns.items():
        angles[JOINT_INDEX[name]] = turn
    return PosedBody(
        pose=rotation_from_axis_angle(angles).astype(np.float32),
        transl=np.zeros(3, np.float32),
        betas=np.asarray(betas, np.float32),
        expression=np.zeros(10, np.float32),
    )


@pytest.fixture(scope="module")
def truth():
    return posed(
        {
            "pelvis": (0, 0.6, 0),
            "left_shoulder": (0, 0, -0.6),
            "right_shoulder": (0, 0.4, 1.2),
            "right_elbow": (0, 1.4, 0),
            "left_hip": (-0.7, 0, 0),
            "left_knee": (0.9, 0, 0),
            "neck": (0.1, 0.3, 0),
        },
        betas=(0, 1.5, 0, 0, 0, 0, 0, 0, 0, 0),
    )


@pytest.fixture(scope="module")
def view(body, camera, truth):
    return true_view(body, truth, camera, body_mask(body, truth, camera).astype(np.uint8) * 255)


@pytest.fixture(scope="module")
def fit(body, view):
    return fit_body(view, body, QUICK)


def without(view, seen, **changes):
    """Return a view in which only landmarks for which `seen` holds are visible."""
    visible = np.array([float(seen(name)) for name in LANDMARK_NAMES], np.float32)
    return replace(view, visibility=visible * view.visibility, **changes)


def angles(fit, name):
    return axis_angle_from_rotation(fit.body.pose[JOINT_INDEX[name]].astype(np.float64))


def test_a_known_body_is_found_again_from_its_keypoints(body, camera, truth, view, fit):
    errors = fit_errors(body, truth, camera, fit, view, 0.0)
    assert errors.pixels < 1.5
    assert errors.aligned < 45.0
    assert errors.iou > 0.85
    assert fit.figures["landmark_error"] < 3.0
    assert fit.figures["inside"] > 0.9


def test_the_contour_makes_a_broad_person_broad(body, view, fit):
    plain = fit_body(without(view, lambda _: True, mask=None), body, QUICK)
    with_mask = body_mask(body, fit.body, fit.camera)
    without_mask = body_mask(body, plain.body, plain.camera)
    seen = view.mask > 0.5

    def iou(mask):
        return (mask & seen).sum() / (mask | seen).sum()

    assert iou(with_mask) > iou(without_mask) + 0.005
    assert "iou" not in plain.figures


def test_what_is_out_of_a_half_length_portrait_stands_at_ease(body, view):
    upper = ("nose", "eye", "ear", "mouth", "shoulder")
    half = without(view, lambda name: any(part in name for part in upper), world=None, mask=None)
    fit = fit_body(half, body, QUICK)
    for name in ("left_hip", "right_hip", "left_knee", "right_knee"):
        assert np.abs(angles(fit, name)).max() < 0.3, name
    joints = body_vertices(body, fit.body)[1]
    for side in ("left", "right"):
        # Arms hang: wrists lie below elbows and elbows below shoulders.
        wrist, elbow, shoulder = (
            float(joints[JOINT_INDEX[f"{side}_{name}"], 1])
            for name in ("wrist", "elbow", "shoulder")
        )
        assert wrist < elbow < shoulder
    assert float(joints[JOINT_INDEX["head"], 1]) > float(joints[0, 1]) + 0.5


def test_knees_and_elbows_bend_their_own_way_without_depth(body, view):
    flat = without(view, lambda _: True, world=None, mask=None)
    fit = fit_body(flat, body, QUICK)
    assert angles(fit, "left_knee")[0] > -0.15
    assert angles(fit, "right_elbow")[1] > -0.15
    assert angles(fit, "left_elbow")[1] < 0.15


def test_steps_are_small_parts_of_a_whole_and_the_same_each_time(body, view, fit):
    steps = iterate_fit_body(view, body, QUICK)
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            again = end.value
            break
    shares = [step.share for step in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert seen[0].stage == "root"
    assert len(seen) > 30
    assert (again.body.pose == fit.body.pose).all()
    assert (again.camera.t == fit.camera.t).all()


def test_too_little_to_see_is_nobody(body, view):
    with pytest.raises(NoPersonFound):
        fit_body(without(view, lambda name: name == "nose"), body, QUICK)


def test_a_focal_length_that_cannot_be_is_refused(body, view):
    with pytest.raises(BadParameter, match="focal length"):
        fit_body(view, body, BodyFitRecipe(focal=2.0))


def test_landmarks_beyond_the_photograph_do_not_count(view):
    moved = view.landmarks.copy()
    wrist = LANDMARK_INDEX["left_wrist"]
    moved[wrist] = (SIZE + 80, 10)
    before, after = landmark_weights(view), landmark_weights(replace(view, landmarks=moved))
    assert before[wrist] == 1.0
    assert after.sum() == before.sum() - 1.0


def test_a_fit_comes_back_from_its_file(fit, tmp_path):
    write_body_fit(tmp_path / "fit.npz", fit)
    body, camera = read_body_fit(tmp_path / "fit.npz", SIZE, SIZE)
    assert (body.pose == fit.body.pose).all()
    assert (camera.K == fit.camera.K).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pose": np.zeros((24, 3))}, "pose has the shape"),
        ({"pose": np.full((55, 3, 3), 2.0)}, "not rotations"),
        ({"K": None}, "K is missing"),
        ({"R": np.ones((3, 3))}, "must be a rotation"),
    ],
)
def test_a_wrong_fit_is_refused_by_field(tmp_path, change, words):
    given = {"pose": np.zeros((55, 3)), "K": np.eye(3) * 300, "R": np.eye(3), "t": np.zeros(3)}
    given["K"][2, 2] = 1
    given.update(change)
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({k: v.tolist() for k, v in given.items() if v is not None}))
    with pytest.raises(BadPersonView, match=words):
        read_body_fit(path, SIZE, SIZE)


def test_fits_of_smplify_x_are_read_and_vposer_codes_refused(body, tmp_path):
    given = {
        "global_orient": np.array([np.pi, 0, 0]),
        "body_pose": np.zeros(63),
        "camera_translation": np.array([0, 0.2, 30.0]),
        "betas": np.zeros(10),
    }
    path = tmp_path / "fit.npz"
    np.savez(path, **given)
    posed_body, camera, notes = read_photo_fit(path, SIZE, SIZE, body)
    head = body_vertices(body, posed_body)[1][JOINT_INDEX["head"]].numpy()
    # The tool's world is upside down, ours is not; the picture is the same.
    assert head[1] > posed_body.transl[1]
    assert camera.project(head)[1] < SIZE / 2
    assert any("focal" in note for note in notes)
    np.savez(path, **{**given, "body_pose": np.zeros(32)})
    with pytest.raises(VPoserPose):
        read_photo_fit(path, SIZE, SIZE, body)
