"""Captures: what is written comes back, and what is wrong is refused by file and field."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import CaptureError
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import rotation_from_axis_angle
from training.captures import Capture, CaptureFrame, CaptureWriter, find_captures

BETAS = np.array([0.5, -1.0], np.float32)


def make_frame(index, *, split="train", size=(12, 8)):
    rng = np.random.default_rng(index)
    width, height = size
    eye = np.array([0.1 * index, 0.2, 3.0])
    return CaptureFrame(
        name=f"{index:04d}",
        split=split,
        tags=("back view",),
        image=rng.integers(0, 256, (height, width, 3), np.uint8),
        masks=rng.integers(0, 256, (height, width, 3), np.uint8),
        body=PosedBody(
            pose=rotation_from_axis_angle(rng.normal(0, 0.5, (55, 3))).astype(np.float32),
            transl=rng.normal(size=3).astype(np.float32),
            betas=BETAS,
            expression=rng.normal(size=4).astype(np.float32),
        ),
        camera=look_at(
            eye, np.zeros(3), np.array([0.0, 1, 0]), focal=20.0, width=width, height=height
        ),
    )


def make_writer(folder, **changes):
    options = {
        "id": "ann",
        "body": "body-cc0",
        "licence": "CC0-1.0",
        "background": "black",
        "image_size": (12, 8),
        "betas": BETAS,
        "source": {"seed": 3},
    }
    return CaptureWriter(folder, **{**options, **changes})


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "capture"
    with make_writer(target) as writer:
        for index in range(3):
            writer.add(make_frame(index, split="held-out" if index == 1 else "train"))
    return target


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_what_is_written_comes_back_exactly(tmp_path, suffix):
    with make_writer(tmp_path / "c", image_suffix=suffix) as writer:
        frames = [make_frame(index) for index in range(3)]
        for frame in frames:
            writer.add(frame)
    capture = Capture.open(tmp_path / "c")
    assert len(capture) == 3
    assert capture.description.source == {"seed": 3}
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(capture.image(index), frame.image)
        np.testing.assert_array_equal(capture.masks(index), frame.masks)
        for field in ("pose", "transl", "betas", "expression"):
            np.testing.assert_array_equal(
                getattr(capture.posed_body(index), field), getattr(frame.body, field)
            )
        for field in ("K", "R", "t", "width", "height"):
            np.testing.assert_array_equal(
                getattr(capture.camera(index), field), getattr(frame.camera, field)
            )
        assert capture.description.frames[index].tags == ("back view",)


def test_splits_and_their_digests(folder):
    capture = Capture.open(folder)
    assert capture.frames("train") == [0, 2]
    assert capture.frames("held-out") == [1]
    assert not set(capture.digests("train")) & set(capture.digests("held-out"))


def test_same_frames_give_the_same_bytes(folder, tmp_path):
    with make_writer(tmp_path / "again") as writer:
        for index in range(3):
            writer.add(make_frame(index, split="held-out" if index == 1 else "train"))
    again = Capture.open(tmp_path / "again")
    assert again.digest == Capture.open(folder).digest
    for one, other in zip(Capture.open(folder).files(), again.files(), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_one_changed_pixel_changes_the_digest(folder):
    before = Capture.open(folder).digest
    path = folder / "images" / "0001.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert Capture.open(folder).digest != before


def test_an_aborted_writer_leaves_no_capture(tmp_path):
    def write_and_fail():
        with make_writer(tmp_path / "c") as writer:
            writer.add(make_frame(0))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_and_fail()
    with pytest.raises(CaptureError, match=r"capture\.json is missing"):
        Capture.open(tmp_path / "c")


def test_a_capture_is_not_overwritten(folder):
    with pytest.raises(CaptureError, match="already holds a capture"):
        make_writer(folder)


def test_duplicate_names_are_refused(tmp_path):
    writer = make_writer(tmp_path / "c")
    writer.add(make_frame(0))
    with pytest.raises(CaptureError, match="already added"):
        writer.add(make_frame(0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": np.zeros((8, 13, 3), np.uint8)}, "image must be uint8"),
        ({"masks": np.zeros((8, 12, 3), np.float32)}, "masks must be uint8"),
        ({"camera": make_frame(0, size=(13, 8)).camera}, "camera is not of the image's size"),
    ],
)
def test_frames_of_the_wrong_kind_are_refused(tmp_path, changes, words):
    with pytest.raises(CaptureError, match=words):
        make_writer(tmp_path / "c").add(replace(make_frame(0), **changes))


def test_other_betas_are_refused(tmp_path):
    frame = make_frame(0)
    other = replace(frame, body=replace(frame.body, betas=BETAS + 1))
    with pytest.raises(CaptureError, match="betas differ"):
        make_writer(tmp_path / "c").add(other)


def test_a_frame_name_that_is_a_path_is_refused(tmp_path):
    with pytest.raises(CaptureError, match="not a plain file name"):
        make_writer(tmp_path / "c").add(replace(make_frame(0), name="../b"))
    assert not list(tmp_path.glob("**/b*"))


def test_a_capture_without_frames_is_refused(tmp_path):
    with pytest.raises(CaptureError, match="at least one frame"):
        make_writer(tmp_path / "c").close()


def test_a_truncated_image_names_its_file(folder):
    path = folder / "images" / "0002.png"
    path.write_bytes(path.read_bytes()[:60])
    capture = Capture.open(folder)
    with pytest.raises(CaptureError, match=r"0002\.png cannot be read"):
        capture.image(2)


def test_an_image_of_another_size_names_its_file(folder):
    Image.new("RGB", (5, 5)).save(folder / "masks" / "0000.png")
    with pytest.raises(CaptureError, match=r"0000\.png: RGB of size \(5, 5\)"):
        Capture.open(folder).masks(0)


def test_a_missing_image_names_file_and_frame(folder):
    (folder / "masks" / "0001.png").unlink()
    with pytest.raises(CaptureError, match=r"0001\.png is missing") as caught:
        Capture.open(folder)
    assert caught.value.details["field"] == "frames[1].name"


@pytest.mark.parametrize("field", ["id", "body", "licence", "background", "frames", "image_size"])
def test_a_missing_field_is_named(folder, field):
    path = folder / "capture.json"
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    with pytest.raises(CaptureError, match=field):
        Capture.open(folder)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_broken_json_names_its_file(folder, content):
    (folder / "capture.json").write_text(content)
    with pytest.raises(CaptureError, match=r"capture\.json"):
        Capture.open(folder)


def rewrite(folder, **changes):
    path = folder / "parameters.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays.update(changes)
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"K": None}, "K is missing"),
        ({"pose": np.zeros((2, 55, 3, 3), np.float32)}, "pose has the shape"),
        ({"transl": np.full((3, 3), np.nan, np.float32)}, "transl holds numbers"),
        ({"t": np.zeros((3, 3))}, r"frames\[0\]\.digest"),
    ],
)
def test_wrong_parameters_are_named(folder, changes, words):
    rewrite(folder, **changes)
    with pytest.raises(CaptureError, match=words):
        Capture.open(folder)


def test_a_truncated_parameter_file_is_named(folder):
    path = folder / "parameters.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CaptureError, match=r"parameters\.npz is not a readable"):
        Capture.open(folder)


def test_folder_of_captures_stands_for_all_of_them_by_name(tmp_path):
    for name in ("rosa", "anna"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "capture.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    assert find_captures(tmp_path) == [tmp_path / "anna", tmp_path / "rosa"]
    assert find_captures(tmp_path / "anna") == [tmp_path / "anna"]
    assert find_captures([tmp_path / "rosa"]) == [tmp_path / "rosa"]
    with pytest.raises(CaptureError, match="holds no capture"):
        find_captures(tmp_path / "notes")
