"""Fits, hands, masks and keypoints: parsed as their tools mean them."""

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as arrays_of
from PIL import Image

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.errors import BadParameter, CaptureError, VPoserPose
from blender_addon.contract.joints import JOINT_INDEX
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import axis_angle_from_rotation, rotation_from_axis_angle
from models.body import load_body, skin
from models.body_package import smplx_file_fields, unpack
from models.licensed_body import add_body
from models.package import DEFAULT_LIBRARY, load_arrays
from tests.training.import_folders import write_fit
from training.captures import Capture
from training.imports.arrays import read_arrays, table
from training.imports.body_regions import BodyRegions
from training.imports.command import import_capture
from training.imports.fits import SMPL_PELVIS, FittedFrame, Take, place, rest_pelvis
from training.imports.frames import ByName, natural
from training.imports.masks import read_mask
from training.imports.openpose import BODY_25, COCO_18, HAND_21, Keypoints, read_openpose
from training.imports.openpose import reprojection_error as error_of
from training.imports.people_snapshot import smplx_rotations
from training.imports.rotations import hand_rotations
from training.imports.smplify_x import FitReading, parse_fit
from training.imports.splits import split_frames

FREE = DEFAULT_LIBRARY / "body-cc0"
SIZE = (64, 96)
READING = FitReading(size=SIZE)


@pytest.fixture(scope="module")
def body():
    return load_body(FREE)


@pytest.fixture(scope="module")
def licensed(tmp_path_factory):
    """A library with a body that is not the free one by name, and its file for smplx."""
    folder = tmp_path_factory.mktemp("licensed")
    fields = smplx_file_fields(unpack({k: v.numpy() for k, v in load_arrays(FREE).items()}))
    (folder / "smplx").mkdir()
    np.savez(folder / "smplx" / "SMPLX_NEUTRAL.npz", **fields)
    add_body(folder / "smplx" / "SMPLX_NEUTRAL.npz", library=folder / "library")
    return folder


def a_fit(rng, *, hands=45):
    return {
        "global_orient": np.array([[3.0, 0.1, -0.2]]),
        "body_pose": rng.normal(0, 0.2, (1, 63)),
        "jaw_pose": rng.normal(0, 0.1, (1, 3)),
        "leye_pose": rng.normal(0, 0.1, (1, 3)),
        "reye_pose": rng.normal(0, 0.1, (1, 3)),
        "left_hand_pose": rng.normal(0, 0.3, (1, hands)),
        "right_hand_pose": rng.normal(0, 0.3, (1, hands)),
        "betas": rng.normal(0, 0.5, (1, 10)),
        "expression": rng.normal(0, 0.5, (1, 10)),
        "camera_rotation": np.eye(3)[None],
        "camera_translation": np.array([[0.05, 0.3, 30.0]]),
    }


@pytest.mark.slow
@pytest.mark.parametrize("hands", [6, 45])
def test_pixels_are_those_of_smplify_xs_own_body_and_camera(licensed, tmp_path, hands):
    """The oracle: smplx's forward, then f · (R v + t) / z + centre."""
    fit = a_fit(np.random.default_rng(hands), hands=hands)
    folder = tmp_path / "take"
    for part in ("frames", "masks"):
        (folder / part).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", SIZE, (255, 0, 0)).save(folder / part / f"{k}.png")
    write_fit(folder / "smplifyx" / "0.pkl", fit)
    write_fit(folder / "smplifyx" / "1.pkl", {**fit, "jaw_pose": np.zeros((1, 3))})
    library = licensed / "library"
    import_capture(folder, out=tmp_path / "c", body="smplx-neutral", library=library)
    capture = Capture.open(tmp_path / "c")
    posed, camera = capture.posed_body(0), capture.camera(0)
    rows = (posed.pose, posed.betas, posed.expression, posed.transl)
    ours = skin(load_body(library / "smplx-neutral"), *(torch.from_numpy(r)[None] for r in rows))
    pixels = camera.project(ours.vertices[0].numpy())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import smplx

        model = smplx.create(
            str(licensed),
            model_type="smplx",
            use_pca=hands < 45,
            num_pca_comps=hands,
            flat_hand_mean=hands == 45,
            num_betas=10,
            num_expression_coeffs=10,
            dtype=torch.float64,
        )
        names = [name for name in fit if not name.startswith("camera")]
        truth = model(**{name: torch.tensor(fit[name]) for name in names})
    seen = truth.vertices[0].detach().numpy() + fit["camera_translation"]
    expected = 5000 * seen[:, :2] / seen[:, 2:] + np.array(SIZE) / 2
    np.testing.assert_allclose(pixels[:, :2], expected, atol=5e-3)
    np.testing.assert_allclose(pixels[:, 2], seen[:, 2], atol=1e-4)


def test_smplx_betas_and_expressions_are_not_the_free_bodys(body):
    fit, _ = parse_fit(flat(a_fit(np.random.default_rng(0))), FREE, "0", READING)
    placed = place(Take(fits=(fit,), indices=(0,), model="smplx"), body)
    assert not placed.betas.any()
    assert not placed.bodies[0].expression.any()
    assert any("betas of SMPLX mean nothing to 'body-cc0'" in note for note in placed.notes)
    assert any("expressions" in note for note in placed.notes)


def flat(fit):
    return {name: np.asarray(value) for name, value in fit.items()}


vectors = arrays_of(np.float64, (22, 3), elements=st.floats(-2.5, 2.5))
places = arrays_of(np.float64, (3,), elements=st.floats(-3, 3))


@settings(max_examples=25, deadline=None)
@given(vectors=vectors, transl=places, tilt=st.floats(-0.4, 0.4))
def test_a_smpl_fits_pelvis_and_bones_stay_where_they_were(body, vectors, transl, tilt):
    camera = Camera(
        K=np.array([[80.0, 0, 32], [0, 80, 48], [0, 0, 1]]),
        R=rotation_from_axis_angle(np.array([tilt, 0, 0])),
        t=np.array([0.0, 0.1, 6.0]),
        width=64,
        height=96,
    )
    pose = smplx_rotations(np.r_[vectors.ravel(), np.ones(6)])
    fit = FittedFrame(
        name="0",
        rotations=pose,
        transl=transl,
        betas=np.ones(10),
        expression=np.zeros(0),
        camera=camera,
    )
    placed = place(Take(fits=(fit,), indices=(0,), model="smpl"), body, [0.5, -1.0])
    posed, moved = placed.bodies[0], placed.cameras[0]
    assert moved.R[1, 1] < 0  # y up
    pelvis = rest_pelvis(body, posed.betas, posed.expression) + posed.transl
    np.testing.assert_allclose(
        moved.R @ pelvis + moved.t, camera.R @ (SMPL_PELVIS + transl) + camera.t, atol=1e-5
    )
    np.testing.assert_allclose(moved.R @ posed.pose[0], camera.R @ pose[0], atol=1e-6)
    np.testing.assert_allclose(posed.pose[1:], pose[1:], atol=1e-6)
    assert np.array_equal(posed.pose[22:], np.tile(np.eye(3), (33, 1, 1)))


@settings(max_examples=30, deadline=None)
@given(
    numbers=arrays_of(np.float64, (63,), elements=st.floats(-3, 3)),
    form=st.sampled_from(["flat", "row", "joints", "batch of joints", "matrices"]),
)
def test_every_form_of_a_body_pose_is_the_same_pose(numbers, form):
    given_as = {
        "flat": numbers,
        "row": numbers[None],
        "joints": numbers.reshape(21, 3),
        "batch of joints": numbers.reshape(1, 21, 3),
        "matrices": rotation_from_axis_angle(numbers.reshape(1, 21, 3)),
    }[form]
    fit = {**a_fit(np.random.default_rng(1)), "body_pose": given_as}
    parsed, _ = parse_fit(flat(fit), FREE, "0", READING)
    expected = rotation_from_axis_angle(numbers.reshape(21, 3))
    np.testing.assert_allclose(parsed.rotations[1:22], expected, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(shape=st.lists(st.integers(1, 70), min_size=1, max_size=3))
def test_a_body_pose_of_any_other_shape_is_refused(shape):
    size = int(np.prod(shape))
    fit = {**a_fit(np.random.default_rng(1)), "body_pose": np.zeros(shape)}
    if size in (63, 69, 189):
        return
    with pytest.raises(VPoserPose if size == 32 else CaptureError, match="body_pose"):
        parse_fit(flat(fit), FREE, "0", READING)


@settings(max_examples=30, deadline=None)
@given(values=arrays_of(np.float64, st.sampled_from([(3,), (1, 3), (3, 1), (1, 1, 3)])))
def test_a_table_is_finite_and_of_its_shape_or_refused(values):
    found = {"transl": values}
    if np.isfinite(values).all():
        np.testing.assert_array_equal(table(found, "transl", FREE, (3,)), values.ravel())
    else:
        with pytest.raises(CaptureError, match="transl holds numbers that are not finite"):
            table(found, "transl", FREE, (3,))


def test_hand_coefficients_are_the_bodys_components(body):
    code = np.random.default_rng(2).normal(0, 1, (1, 6))
    mean = body.hands.means.numpy()
    for side in (0, 1):
        bent = code[0] @ body.hands.components[side, :6].numpy()
        for option, angles in (("auto", bent + mean[side]), ("none", bent)):
            found, note = hand_rotations({"h": code}, "h", FREE, body.hands, side, option)
            assert note is None
            np.testing.assert_allclose(
                found, rotation_from_axis_angle(angles.reshape(15, 3)), atol=1e-9
            )
    angles = np.linspace(-0.5, 0.5, 45)
    for option, plus in (("auto", 0), ("none", 0), ("add", mean[1])):
        found, _ = hand_rotations({"h": angles}, "h", FREE, body.hands, 1, option)
        np.testing.assert_allclose(
            axis_angle_from_rotation(found).ravel(), angles + plus, atol=1e-9
        )


def test_a_body_without_hand_components_keeps_flat_hands_and_says_so():
    fit = a_fit(np.random.default_rng(3), hands=12)
    parsed, notes = parse_fit(flat(fit), FREE, "0", READING)
    assert np.array_equal(parsed.rotations[25:], np.tile(np.eye(3), (30, 1, 1)))
    assert any("left_hand_pose" in note for note in notes)


def test_smpl_has_no_fingers_and_its_hand_joints_are_left_out():
    rotations = smplx_rotations(np.ones(72))
    assert np.array_equal(rotations[22:], np.tile(np.eye(3), (33, 1, 1)))
    fit = {**a_fit(np.random.default_rng(4)), "body_pose": np.ones((1, 69))}
    parsed, notes = parse_fit(flat(fit), FREE, "0", READING)
    np.testing.assert_allclose(parsed.rotations[21], rotation_from_axis_angle(np.ones(3)))
    assert any("two hand joints" in note for note in notes)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_foreground_is_the_same_however_it_is_saved(tmp_path, mode):
    truth = np.zeros((8, 6), np.uint8)
    truth[2:7, 1:4] = 255
    if mode == "P":
        image = Image.fromarray((truth // 255).astype(np.uint8), "P")
        image.putpalette([0, 0, 0, 128, 0, 0])
    elif mode in ("RGBA", "LA"):
        image = Image.new(mode, (6, 8))
        image.putalpha(Image.fromarray(truth))
    elif mode == "I;16":
        image = Image.fromarray(truth.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(truth).convert(mode)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), truth)


def test_a_mask_of_zeros_and_ones_is_a_mask(tmp_path):
    truth = np.eye(7, dtype=np.uint8)
    Image.fromarray(truth).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), truth * 255)


def standing():
    pose = np.tile(np.eye(3, dtype=np.float32), (55, 1, 1))
    zeros = np.zeros(3, np.float32)
    posed = PosedBody(
        pose=pose, transl=zeros, betas=np.zeros(10, np.float32), expression=np.zeros(0, np.float32)
    )
    eye = np.array([0.0, -0.1, 3.0])
    camera = look_at(eye, eye * [1, 1, 0], np.array([0, 1.0, 0]), focal=380, width=320, height=320)
    return posed, camera


def test_hands_and_face_of_the_free_body_lie_where_they_are(body):
    posed, camera = standing()
    regions = BodyRegions(body)
    seen = regions.see(posed, camera)
    joints, landmarks = regions.project(posed, camera)
    assert seen.covered.sum() > 7000
    rows, columns = np.nonzero(seen.face > 0.5)
    # The face holds its landmarks (less than a pixel of the outline aside) and no neck.
    for x, y, _ in landmarks:
        assert seen.face[int(y), int(x)] > 0.4
    height = np.ptp(landmarks[:, 1])
    assert rows.max() < landmarks[:, 1].max() + 0.6 * height
    assert rows.min() > landmarks[:, 1].min() - height
    assert columns.min() > joints[JOINT_INDEX["right_shoulder"], 0]
    # The back of the head is no face.
    eye = np.array([0.0, -0.1, -3.0])
    behind = look_at(eye, eye * [1, 1, 0], np.array([0, 1.0, 0]), focal=380, width=320, height=320)
    assert regions.see(posed, behind).face.sum() < 0.05 * seen.face.sum()
    for side in ("left", "right"):
        x, y, _ = joints[JOINT_INDEX[f"{side}_middle2"]]
        assert seen.hands[int(y), int(x)] > 0.9
        x, y, _ = joints[JOINT_INDEX[f"{side}_elbow"]]
        assert seen.hands[int(y), int(x)] < 0.1


def openpose_fields(joints, landmarks, shift=(0.0, 0.0), kind=BODY_25):
    """What OpenPose would write for a projected body, shifted by some pixels."""

    def points(count, names, side=""):
        rows = np.zeros((count, 3))
        for index, name in names.items():
            rows[index, :2] = joints[JOINT_INDEX[side + name], :2] + shift
            rows[index, 2] = 0.9
        return rows

    face = np.zeros((70, 3))
    face[17:68] = np.c_[landmarks[:, :2] + shift, np.ones(51)]
    return {
        "pose_keypoints_2d": points(25 if kind is BODY_25 else 18, kind).ravel().tolist(),
        "hand_left_keypoints_2d": points(21, HAND_21, "left_").ravel().tolist(),
        "hand_right_keypoints_2d": points(21, HAND_21, "right_").ravel().tolist(),
        "face_keypoints_2d": face.ravel().tolist(),
    }


@pytest.mark.parametrize("kind", [BODY_25, COCO_18], ids=["body_25", "coco"])
def test_keypoints_measure_a_fit_in_pixels(body, tmp_path, kind):
    posed, camera = standing()
    joints, landmarks = BodyRegions(body).project(posed, camera)
    near = openpose_fields(joints, landmarks, (3.0, -4.0), kind)
    far = openpose_fields(joints, landmarks, (60.0, 0.0), kind)
    path = tmp_path / "x_keypoints.json"
    path.write_text(json.dumps({"people": [far, near]}))
    error = error_of(read_openpose(path), joints, landmarks)  # of the person who fits best
    assert (error.body, error.hands, error.face) == pytest.approx((5.0, 5.0, 5.0))


def test_keypoints_that_openpose_doubts_do_not_count(body):
    posed, camera = standing()
    joints, landmarks = BodyRegions(body).project(posed, camera)
    rows = np.reshape(openpose_fields(joints, landmarks)["pose_keypoints_2d"], (25, 3))
    rows[4] = 0, 0, 0.1
    assert error_of([Keypoints(body=rows)], joints).body == pytest.approx(0, abs=1e-9)
    rows[:, 2] = 0
    assert np.isnan(error_of([Keypoints(body=rows)], joints).overall)
    assert np.isnan(error_of([], joints).overall)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not readable JSON"),
        ("[]", "people is not a list"),
        ('{"people": [{}]}', r"people\[0\]\.pose_keypoints_2d is missing"),
        ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "has 2 numbers, not 75 or 54"),
        ('{"people": [{"pose_keypoints_2d": ["a"]}]}', "not a list of numbers"),
        (json.dumps({"people": [{"pose_keypoints_2d": [float("nan")] * 75}]}), "not finite"),
    ],
)
def test_damaged_keypoints_name_file_and_field(tmp_path, content, words):
    path = tmp_path / "x_keypoints.json"
    path.write_text(content)
    with pytest.raises(CaptureError, match=words) as caught:
        read_openpose(path)
    assert "x_keypoints.json" in caught.value.cause


def test_frames_far_from_their_keypoints_are_left_out(body, tmp_path):
    folder = tmp_path / "take"
    regions = BodyRegions(body)
    for part in ("frames", "masks", "openpose"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(5)
    for k in range(4):
        name = f"clip_{k}"
        Image.new("RGB", SIZE, (255, 0, 0)).save(folder / "frames" / f"{name}.jpg")
        Image.new("L", SIZE, 255).save(folder / "masks" / f"{name}.png")
        fit = a_fit(rng)
        write_fit(folder / "smplifyx" / f"{name}.json", fit)
        parsed, _ = parse_fit(flat(fit), FREE, name, FitReading(size=SIZE, hands=body.hands))
        placed = place(Take(fits=(parsed,), indices=(0,), model="smplx"), body)
        joints, landmarks = regions.project(placed.bodies[0], placed.cameras[0])
        fields = openpose_fields(joints, landmarks, (20.0 if k == 2 else 1.5, 0.0))
        path = folder / "openpose" / f"{name}_keypoints.json"
        path.write_text(json.dumps({"people": [fields] if k else []}))
    import_capture(folder, out=tmp_path / "c", max_error=10)
    capture = Capture.open(tmp_path / "c")
    assert [f.name for f in capture.description.frames] == ["clip_0", "clip_1", "clip_3"]
    source = capture.description.source
    assert any("clip_2" in note for note in source["notes"])
    measured = source["reprojection"]["frames"]
    assert sorted(measured) == ["clip_1", "clip_3"]  # OpenPose saw nobody in the first frame
    assert measured["clip_1"]["body"] == pytest.approx(1.5, abs=0.01)
    assert measured["clip_3"]["face"] == pytest.approx(1.5, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 400),
    share=st.floats(0, 0.95),
    where=st.sampled_from(["end", "start", "spread"]),
)
def test_splits_hold_out_their_share(count, share, where):
    held = max(1, round(count * share)) if share > 0 else 0
    if held >= count:
        with pytest.raises(BadParameter, match="all would be held out"):
            split_frames(count, share, where)
        return
    splits = split_frames(count, share, where)
    assert splits.count("held-out") == held
    assert len(splits) == count
    if where == "end" and held:
        assert set(splits[-held:]) == {"held-out"}


def test_names_sort_by_their_numbers_and_match_by_them(tmp_path):
    names = ["f10.png", "f2.png", "f1b3.png"]
    assert sorted(names, key=natural) == ["f1b3.png", "f2.png", "f10.png"]
    files = ByName({"mask_0007": tmp_path / "a", "mask_0008": tmp_path / "b"})
    assert files.find("000007") == tmp_path / "a"
    assert files.find("mask_0008") == tmp_path / "b"
    assert files.find("9") is None
    assert ByName({"a_1": tmp_path, "b_1": tmp_path}).find("1") is None  # which one?


def test_json_with_ragged_rows_names_the_field(tmp_path):
    (tmp_path / "a.json").write_text('{"betas": [[1, 2], [3]], "gender": "neutral"}')
    with pytest.raises(CaptureError, match="betas is a list of rows of different lengths"):
        read_arrays(tmp_path / "a.json")
