"""capture.json: read as written; what is wrong is named by file and field."""

from __future__ import annotations

import json

import numpy as np
import pytest

from blender_addon.contract.capture import (
    CaptureDescription,
    FrameEntry,
    check_parameters,
    frame_digest,
    overlapping_frames,
    parameter_shapes,
    parse_description,
)
from blender_addon.contract.errors import CaptureError

FILE = "takes/anna/capture.json"


def a_description() -> CaptureDescription:
    return CaptureDescription(
        id="anna", body="body-cc0", licence="CC0-1.0", background="black", image_size=(512, 256),
        image_suffix=".png", source={"seed": 3},
        frames=(
            FrameEntry(name="0001", split="train", digest="0" * 16),
            FrameEntry(name="0002", split="held-out", digest="1" * 16, tags=("back view",)),
        ),
    )  # fmt: skip


def test_a_description_is_read_as_it_was_written():
    description = a_description()
    assert parse_description(json.loads(json.dumps(description.to_json())), FILE) == description


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2), ("format", None), ("id", ""), ("id", None), ("body", 5), ("licence", None),
        ("background", "green"), ("image_size", [512]), ("image_size", "512"),
        ("image_size", [0, 5]), ("image_size", [1.5, 5]), ("image_suffix", ".gif"), ("frames", []),
        ("frames", None), ("frames", [3]), ("source", []),
    ],
)  # fmt: skip
def test_wrong_fields_are_named_with_their_file(field, value):
    fields = a_description().to_json() | {field: value}
    with pytest.raises(CaptureError) as caught:
        parse_description(fields, FILE)
    assert FILE in caught.value.cause
    assert field.split("_")[0] in caught.value.cause


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("name", "../x"), ("split", "test"), ("digest", None), ("tags", "back")],
)
def test_wrong_frames_are_refused(field, value):
    fields = a_description().to_json()
    fields["frames"][1][field] = value
    with pytest.raises(CaptureError, match=r"capture\.json"):
        parse_description(fields, FILE)


def test_two_frames_of_one_name_are_refused():
    fields = a_description().to_json()
    fields["frames"][1]["name"] = "0001"
    with pytest.raises(CaptureError, match="twice"):
        parse_description(fields, FILE)


def frame_arrays(seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(55, 3, 3)),
        rng.normal(size=(3, 3)),
        rng.normal(size=(3, 3)),
        rng.normal(size=3),
    )


def test_a_frames_digest_survives_storage_as_float32():
    stored = tuple(array.astype(np.float32) for array in frame_arrays())
    assert frame_digest(*frame_arrays()) == frame_digest(*stored)
    negative_zero = tuple(np.where(np.abs(array) < 0, array, array) * 1.0 for array in stored)
    assert frame_digest(*stored) == frame_digest(*negative_zero)


@pytest.mark.parametrize("which", range(4))
def test_a_frames_digest_sees_pose_and_camera(which):
    changed = [array.copy() for array in frame_arrays()]
    changed[which].flat[0] += 0.01
    assert frame_digest(*frame_arrays()) != frame_digest(*changed)


def test_zero_and_minus_zero_have_one_digest():
    zeros = np.zeros((55, 3, 3)), np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(3)
    assert frame_digest(*zeros) == frame_digest(*(-array for array in zeros))


def good_parameters(frames: int) -> dict[str, np.ndarray]:
    return {
        name: np.zeros([10 if side == -1 else side for side in shape], np.float32)
        for name, shape in parameter_shapes(frames).items()
    }


def test_good_parameters_pass():
    check_parameters(good_parameters(3), 3, "parameters.npz")


@pytest.mark.parametrize("name", sorted(parameter_shapes(1)))
def test_wrong_parameters_are_named(name):
    for damage in ("missing", "shape", "nan"):
        parameters = good_parameters(3)
        if damage == "missing":
            del parameters[name]
        elif damage == "shape":
            parameters[name] = parameters[name][None]
        else:
            parameters[name].flat[0] = np.nan
        with pytest.raises(CaptureError, match=rf"parameters\.npz: {name}"):
            check_parameters(parameters, 3, "parameters.npz")


def test_overlapping_frames_are_found():
    assert overlapping_frames(["a", "b", "c"], ["c", "d", "a"]) == ["a", "c"]
