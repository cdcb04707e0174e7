"""Real videos become captures: what a known capture looks like to public tools comes back."""

import io
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from blender_addon.contract.errors import BadParameter, CaptureError, MissingExtra, VPoserPose
from models.body import load_body, skin
from scripts.cli import main
from tests.training.import_folders import (
    camera_fields,
    snapshot_arrays,
    write_fit,
    write_people_snapshot,
    write_smplify_x,
)
from tests.training.toy_people import BODY_ID, write_toy_body, write_toy_capture
from training.captures import Capture
from training.imports.arrays import read_arrays
from training.imports.command import import_capture
from training.imports.lens import Undistortion, distorted, undistorted_points

SIZE = 48
FRAMES = 5


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    write_toy_body(folder)
    return folder


@pytest.fixture(scope="module")
def truth(library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "toy"
    return Capture.open(write_toy_capture(library, folder, train=FRAMES, held_out=0, size=SIZE))


@pytest.fixture
def azure(truth, library, tmp_path):
    return write_smplify_x(truth, library, tmp_path / "azure")


@pytest.fixture
def snapshot(truth, library, tmp_path):
    return write_people_snapshot(truth, library, tmp_path / "snapshot")


def run(folder, library, **options):
    out = folder.parent / "capture"
    import_capture(folder, out=out, library=library, **{"body": BODY_ID, **options})
    return Capture.open(out)


def projected(capture, index, library):
    """Vertices and joints as the frame's camera sees them: pixels and depth."""
    posed, camera = capture.posed_body(index), capture.camera(index)
    body = load_body(library / capture.description.body)
    arrays = (posed.pose, posed.betas, posed.expression, posed.transl)
    skinned = skin(body, *(torch.from_numpy(array)[None] for array in arrays))
    return camera.project(np.concatenate([part[0].numpy() for part in skinned]))


def assert_same_views(capture, truth, library, *, masks=True):
    assert len(capture) == len(truth)
    for index in range(len(truth)):
        np.testing.assert_allclose(
            projected(capture, index, library), projected(truth, index, library), atol=2e-3
        )
        np.testing.assert_array_equal(capture.image(index), truth.image(index))
        if masks:
            np.testing.assert_array_equal(capture.masks(index), truth.masks(index))


@pytest.mark.parametrize(
    ("suffix", "nested"), [(".pkl", False), (".pkl", True), (".json", False), (".npz", False)]
)
def test_smplify_x_fits_come_back_as_the_same_views(truth, library, tmp_path, suffix, nested):
    folder = write_smplify_x(truth, library, tmp_path / "a", suffix=suffix, nested=nested)
    capture = run(folder, library)
    assert_same_views(capture, truth, library)
    np.testing.assert_allclose(capture.betas, truth.betas, atol=1e-6)
    assert capture.description.background == "photograph"
    assert capture.description.source["masks"]["face"] == "given"


def test_people_snapshot_comes_back_as_the_same_views(snapshot, truth, library):
    # SMPL's betas mean nothing to another body: the test knows the right ones.
    capture = run(snapshot, library, betas=truth.betas.tolist())
    assert_same_views(capture, truth, library, masks=False)
    source = capture.description.source
    assert source["kind"] == "people-snapshot"
    assert any("SMPL's poses fit SMPL-X approximately" in note for note in source["notes"])


def test_smpl_betas_are_not_taken_for_those_of_another_body(snapshot, library):
    capture = run(snapshot, library)
    assert not capture.betas.any()
    assert any("--betas" in note for note in capture.description.source["notes"])


def test_the_world_of_a_capture_has_y_up(azure, truth, library):
    capture = run(azure, library)
    for index in range(len(capture)):
        assert capture.camera(index).R[1, 1] < 0


def test_masks_of_one_channel_get_hands_and_face_from_the_body(truth, library, tmp_path):
    folder = write_smplify_x(truth, library, tmp_path / "a", channels=1)
    capture = run(folder, library)
    assert capture.description.source["masks"] == {
        "foreground": "given",
        "hands": "projected body",
        "face": "projected body",
    }
    faces = 0
    for index in range(len(truth)):
        masks = capture.masks(index)
        np.testing.assert_array_equal(masks[..., 0], truth.masks(index)[..., 0])
        assert (masks[..., 1:] <= masks[..., :1]).all()
        if masks[..., 2].any():  # the toy's head is its upper half
            faces += 1
            row = np.arange(SIZE)[:, None]
            face, person = (np.average(np.tile(row, SIZE), weights=masks[..., c]) for c in (2, 0))
            assert face < person - 4
    assert faces


def test_a_smaller_image_size_keeps_the_views(azure, truth, library):
    capture = run(azure, library, size=SIZE // 2)
    assert capture.description.image_size == (SIZE // 2, SIZE // 2)
    for index in range(len(truth)):
        small, whole = projected(capture, index, library), projected(truth, index, library)
        np.testing.assert_allclose(small[:, :2], whole[:, :2] / 2, atol=2e-3)
        image = truth.image(index).astype(float)
        mean = image.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(1, 3))
        assert np.abs(capture.image(index) - mean).max() <= 1


def test_an_image_size_above_the_frames_is_refused(azure, library):
    with pytest.raises(BadParameter, match=f"{SIZE} × {SIZE}"):
        run(azure, library, size=SIZE + 1)


@pytest.mark.parametrize(
    ("where", "held"), [("end", [3, 4]), ("start", [0, 1]), ("spread", [1, 3])]
)
def test_held_out_frames(azure, library, where, held):
    capture = run(azure, library, held_out=0.4, held_out_where=where)
    assert capture.frames("held-out") == held
    assert len(capture.frames("train")) == FRAMES - 2


def test_frame_step_and_range(azure, library):
    capture = run(azure, library, first=1, step=2, held_out=0)
    assert [frame.name for frame in capture.description.frames] == ["00001", "00003"]


def test_a_held_out_frame_that_training_sees_too_is_left_out(azure, library):
    fit = azure / "smplifyx"
    (fit / "00004.pkl").write_bytes((fit / "00000.pkl").read_bytes())
    capture = run(azure, library, held_out=0.4)
    assert [capture.description.frames[i].name for i in capture.frames("held-out")] == ["00003"]
    assert not set(capture.digests("train")) & set(capture.digests("held-out"))


def test_frames_without_a_fit_are_left_out_and_said(azure, library):
    (azure / "smplifyx" / "00002.pkl").unlink()
    capture = run(azure, library)
    assert len(capture) == FRAMES - 1
    assert any("1 frames have no fit" in note for note in capture.description.source["notes"])


def test_betas_that_differ_per_frame_keep_the_pelvis(azure, truth, library):
    for index in range(FRAMES):
        path = azure / "smplifyx" / f"{index:05d}.pkl"
        fit = read_arrays(path)
        still = fit["betas"] + 0.1 * (index - 2)
        write_fit(path, {**fit, "betas": still})
    capture = run(azure, library)
    np.testing.assert_allclose(capture.betas, truth.betas, atol=1e-6)  # the median
    assert any("median" in note for note in capture.description.source["notes"])


def test_the_default_camera_is_smplify_xs_and_says_so(azure, library):
    for path in (azure / "smplifyx").iterdir():
        fit = read_arrays(path)
        del fit["focal_length"], fit["camera_center"]
        write_fit(path, fit)
    capture = run(azure, library)
    expected = [[5000, 0, SIZE / 2], [0, 5000, SIZE / 2], [0, 0, 1]]
    np.testing.assert_allclose(capture.camera(0).K, expected)
    assert any("5000" in note for note in capture.description.source["notes"])


def test_a_fit_made_on_larger_images_is_scaled(azure, truth, library):
    for path in (azure / "smplifyx").iterdir():
        fit = read_arrays(path)
        del fit["focal_length"], fit["camera_center"]
        write_fit(path, fit)
    capture = run(azure, library, focal=truth.camera(0).K[0, 0] * 3, fit_size=(SIZE * 3, SIZE * 3))
    assert_same_views(capture, truth, library)


def test_a_fit_of_other_proportions_is_refused(azure, library):
    with pytest.raises(CaptureError, match="other proportions"):
        run(azure, library, fit_size=(SIZE * 2, SIZE))


def spoil(folder, **changes):
    path = folder / "smplifyx" / "00001.pkl"
    fit = {**read_arrays(path), **changes}
    write_fit(path, {name: value for name, value in fit.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"body_pose": None}, "body_pose is missing"),
        ({"global_orient": None}, "global_orient is missing"),
        ({"body_pose": np.zeros((1, 60))}, "body_pose has the shape"),
        ({"body_pose": np.full((1, 63), np.nan)}, "body_pose holds numbers that are not finite"),
        ({"jaw_pose": np.zeros(4)}, "jaw_pose has the shape"),
        ({"left_hand_pose": np.zeros(90)}, "left_hand_pose has 90 numbers"),
        ({"camera_translation": np.full(3, np.inf)}, "camera_translation holds numbers"),
        ({"camera_translation": None}, "camera_translation is missing"),
        ({"camera_rotation": 2 * np.eye(3)}, "camera_rotation holds matrices"),
        ({"focal_length": np.array(-1.0)}, "focal_length is not above 0"),
        ({"betas": np.zeros((2, 5))}, "betas has the shape"),
    ],
)
def test_a_wrong_field_of_a_fit_is_named_and_leaves_no_capture(azure, library, changes, words):
    spoil(azure, **changes)
    with pytest.raises(CaptureError, match=words) as caught:
        run(azure, library)
    assert "00001.pkl" in caught.value.cause
    assert caught.value.next_step
    assert not (azure.parent / "capture" / "capture.json").exists()
    # The other frames can be had on request.
    capture = run(azure, library, on_bad_frame="skip")
    assert [f.name for f in capture.description.frames] == ["00000", "00002", "00003", "00004"]
    assert any(words in note for note in capture.description.source["notes"])


def test_a_vposer_code_names_its_fix(azure, library):
    spoil(azure, body_pose=np.zeros((1, 32)))
    with pytest.raises(VPoserPose, match=r"00001\.pkl.*32") as caught:
        run(azure, library, on_bad_frame="skip")
    assert "63" in caught.value.next_step


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("name", ["smplifyx/00001.pkl", "camera.pkl"])
def test_a_pickle_that_wants_to_run_something_is_refused(truth, library, tmp_path, name):
    make = write_smplify_x if name.startswith("smplifyx") else write_people_snapshot
    folder = make(truth, library, tmp_path / "f")
    marker = tmp_path / "ran"
    (folder / name).write_bytes(pickle.dumps({"body_pose": Evil(marker)}))
    with pytest.raises(CaptureError, match=r"\.pkl cannot be read: the pickle asks to run"):
        run(folder, library)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pkl", ".npz", ".json"])
def test_a_damaged_fit_names_its_file(truth, library, tmp_path, suffix):
    folder = write_smplify_x(truth, library, tmp_path / "a", suffix=suffix)
    path = folder / "smplifyx" / f"00003{suffix}"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CaptureError, match=f"00003{suffix} cannot be read"):
        run(folder, library)


def test_a_fit_of_several_people_is_refused(truth, library, tmp_path):
    folder = write_smplify_x(truth, library, tmp_path / "a", nested=True)
    inner = folder / "smplifyx" / "00002"
    (inner / "001.pkl").write_bytes((inner / "000.pkl").read_bytes())
    with pytest.raises(CaptureError, match="00002 holds fits of 2 people"):
        run(folder, library)


@pytest.mark.parametrize("part", ["frames", "masks"])
def test_a_picture_of_the_wrong_size_or_damaged_names_its_file(azure, library, part):
    path = azure / part / "00002.png"
    good = path.read_bytes()
    Image.new("RGB", (SIZE, SIZE + 1), (255, 200, 100)).save(path)
    with pytest.raises(CaptureError, match=r"00002\.png is 48 × 49 pixels"):
        run(azure, library)
    path.write_bytes(good[:60])
    with pytest.raises(CaptureError, match=r"00002\.png cannot be read as an image"):
        run(azure, library)
    assert not (azure.parent / "capture" / "capture.json").exists()
    assert len(run(azure, library, on_bad_frame="skip")) == FRAMES - 1


def test_missing_and_empty_masks_name_their_frame(azure, library):
    path = azure / "masks" / "00002.png"
    Image.new("L", (SIZE, SIZE)).save(path)
    with pytest.raises(CaptureError, match="'00002': its mask is empty"):
        run(azure, library)
    path.unlink()
    with pytest.raises(CaptureError, match="no mask of frame '00002'"):
        run(azure, library)


def test_masks_of_mixed_channels_are_refused(azure, truth, library):
    Image.fromarray(truth.masks(2)[..., 0]).save(azure / "masks" / "00002.png")
    with pytest.raises(CaptureError, match="'00002': its mask has other channels"):
        run(azure, library)


def rewrite(path, **changes):
    arrays = {**read_arrays(path), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("reconstructed_poses.npz", {"pose": None}, "pose is missing"),
        ("reconstructed_poses.npz", {"pose": np.zeros((FRAMES, 66))}, r"pose has the shape"),
        ("reconstructed_poses.npz", {"trans": np.zeros((3, 3))}, "trans has 3 rows"),
        ("reconstructed_poses.npz", {"trans": np.full((FRAMES, 3), np.nan)}, r"trans \[0\]"),
        ("masks.npz", {"masks": None}, "masks is missing"),
        ("masks.npz", {"masks": np.ones((FRAMES, 9, 9))}, r"masks\[0\] has the shape \(9, 9\)"),
        ("masks.npz", {"masks": np.ones((2, SIZE, SIZE))}, "masks has 2 rows, none for frame"),
    ],
)
def test_a_wrong_array_of_people_snapshot_is_named(snapshot, library, file, changes, words):
    rewrite(snapshot / file, **changes)
    with pytest.raises(CaptureError, match=words) as caught:
        run(snapshot, library)
    assert file in caught.value.cause
    assert not (snapshot.parent / "capture" / "capture.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": SIZE + 1}, "width is 49, but the frames' is 48"),
        ({"camera_f": np.zeros(2)}, "camera_f is not above 0"),
        ({"camera_c": None}, "camera_c is missing"),
        ({"camera_k": np.zeros(4)}, "camera_k has the shape"),
        ({"camera_t": np.array([0, 0, np.nan])}, "camera_t holds numbers"),
    ],
)
def test_a_wrong_field_of_the_camera_is_named(snapshot, truth, library, changes, words):
    fields = {k: v for k, v in {**camera_fields(truth), **changes}.items() if v is not None}
    (snapshot / "camera.pkl").write_bytes(pickle.dumps(fields))
    with pytest.raises(CaptureError, match=words) as caught:
        run(snapshot, library)
    assert "camera.pkl" in caught.value.cause


def test_the_published_data_has_one_pose_more_than_frames(snapshot, truth, library):
    arrays = snapshot_arrays(truth, library)
    for name in ("pose", "trans"):
        arrays[name] = np.concatenate([arrays[name], arrays[name][-1:]])
    np.savez(snapshot / "reconstructed_poses.npz", **arrays)
    assert len(run(snapshot, library)) == FRAMES
    (snapshot.parent / "capture" / "capture.json").unlink()
    arrays["pose"] = np.concatenate([arrays["pose"]] * 2)
    arrays["trans"] = np.concatenate([arrays["trans"]] * 2)
    np.savez(snapshot / "reconstructed_poses.npz", **arrays)
    with pytest.raises(CaptureError, match="12 rows, but there are 5 frames"):
        run(snapshot, library)


class FakeFile(dict):
    """What h5py.File is to the reader: datasets by name, closed when left."""

    def __init__(self, path, mode):
        assert mode == "r"
        content = path.read_bytes()
        if content[:2] != b"PK":
            raise OSError("file signature not found")
        with np.load(io.BytesIO(content)) as archive:
            super().__init__(archive)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clear()


def test_hdf5_files_are_read_through_h5py(snapshot, truth, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=FakeFile))
    for stem in ("masks", "reconstructed_poses"):
        (snapshot / f"{stem}.npz").rename(snapshot / f"{stem}.hdf5")
    assert_same_views(
        run(snapshot, library, betas=truth.betas.tolist()), truth, library, masks=False
    )
    (snapshot / "masks.hdf5").write_bytes(b"no archive")
    (snapshot.parent / "capture" / "capture.json").unlink()
    with pytest.raises(CaptureError, match=r"masks\.hdf5 is not a readable HDF5 file"):
        run(snapshot, library)


def test_hdf5_files_without_h5py_name_the_extra(snapshot, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (snapshot / "reconstructed_poses.npz").rename(snapshot / "reconstructed_poses.hdf5")
    with pytest.raises(MissingExtra, match="h5py is not installed") as caught:
        run(snapshot, library)
    assert "[captures]" in caught.value.next_step


def test_a_lens_is_taken_out_of_frames_masks_and_points():
    K = np.array([[60.0, 0, 24], [0, 60, 24], [0, 0, 1]])
    lens = np.array([0.2, -0.05, 0.004, -0.003, 0.01])
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 48, (200, 2))
    np.testing.assert_allclose(
        undistorted_points(distorted(points, K, lens), K, lens), points, atol=1e-6
    )
    # A picture whose colour is its pixel's place in a pinhole, as the lens shows it.
    columns, rows = np.meshgrid(np.arange(48) + 0.5, np.arange(48) + 0.5)
    seen = undistorted_points(np.stack([columns, rows], -1), K, lens) * 4
    straight = Undistortion(K, lens, (48, 48))(np.clip(seen, 0, 255).astype(np.uint8))
    inner = np.s_[8:40, 8:40]
    expected = np.stack([columns, rows], -1) * 4
    assert np.abs(straight[inner] - expected[inner]).max() < 1.6


def test_a_lens_in_the_camera_file_is_taken_out_on_import(snapshot, truth, library):
    plain = run(snapshot, library)
    images = [plain.image(i) for i in range(FRAMES)]
    (snapshot.parent / "capture" / "capture.json").unlink()
    fields = {**camera_fields(truth), "camera_k": np.array([0.3, 0, 0, 0, 0])}
    (snapshot / "camera.pkl").write_bytes(pickle.dumps(fields))
    capture = run(snapshot, library)
    straighten = Undistortion(truth.camera(0).K, fields["camera_k"], (SIZE, SIZE))
    for index in range(FRAMES):
        np.testing.assert_array_equal(capture.image(index), straighten(images[index]))
    assert any("distortion" in note for note in capture.description.source["notes"])


def test_a_video_file_serves_as_frames(truth, library, tmp_path):
    import imageio_ffmpeg

    folder = write_smplify_x(truth, library, tmp_path / "a")
    film = folder / "take.mkv"
    writer = imageio_ffmpeg.write_frames(
        str(film), (SIZE, SIZE), codec="ffv1", pix_fmt_out="bgr0", macro_block_size=1
    )
    writer.send(None)
    for index in range(FRAMES):
        writer.send(np.ascontiguousarray(truth.image(index)))
    writer.close()
    for path in (folder / "frames").iterdir():
        path.unlink()
    (folder / "frames").rmdir()
    capture = run(folder, library, step=2, held_out=0)
    assert [frame.name for frame in capture.description.frames] == ["000000", "000002", "000004"]
    for k, index in enumerate((0, 2, 4)):
        np.testing.assert_array_equal(capture.image(k), truth.image(index))
        np.testing.assert_array_equal(capture.masks(k), truth.masks(index))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no frames and no video"),
        ({"frames": "nowhere"}, "neither a folder of frames nor a video"),
    ],
)
def test_a_folder_without_frames_is_refused(tmp_path, library, given, words):
    folder = tmp_path / "empty"
    folder.mkdir()
    options = {name: tmp_path / value for name, value in given.items()}
    with pytest.raises(CaptureError, match=words):
        run(folder, library, **options)


def test_a_folder_without_fits_names_the_option(azure, library):
    (azure / "smplifyx").rename(azure / "elsewhere")
    with pytest.raises(CaptureError, match="neither reconstructed_poses nor a folder of fits"):
        run(azure, library)
    assert len(run(azure, library, fits=azure / "elsewhere")) == FRAMES


def test_a_capture_is_not_overwritten(azure, library):
    run(azure, library)
    with pytest.raises(CaptureError, match="already holds a capture"):
        run(azure, library)


def test_the_command_line_imports_and_prints_the_table(azure, library, tmp_path, capsys):
    words = ["dataset", "import", azure, "--out", tmp_path / "c", "--body", BODY_ID]
    words += ["--library", library, "--held-out", "0.4", "--betas", "[0.5, -0.5]", "--size", "32"]
    assert main([str(word) for word in words]) == 0
    assert "3 frames to train on, 2 held out" in capsys.readouterr().out
    assert Capture.open(tmp_path / "c").betas.tolist() == [0.5, -0.5]
