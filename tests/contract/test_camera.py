"""Cameras: projection against formulas written in another way; crops; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blender_addon.contract.camera import BlenderLens, Camera, from_blender, look_at
from blender_addon.contract.errors import BadParameter, UnsupportedCamera
from blender_addon.contract.pose import rotation_from_axis_angle

COORDINATE = st.floats(-3, 3)
POINT = st.tuples(COORDINATE, COORDINATE, COORDINATE).map(np.array)


@st.composite
def cameras(draw) -> Camera:
    eye, target = draw(POINT), draw(POINT)
    forward = target - eye
    assume(np.linalg.norm(forward) > 0.1)
    assume(np.linalg.norm(np.cross(forward / np.linalg.norm(forward), [0, 1, 0])) > 0.05)
    size = draw(st.integers(1, 2000)), draw(st.integers(1, 2000))
    return look_at(
        eye, target, np.array([0.0, 1.0, 0.0]),
        focal=draw(st.floats(50, 3000)), width=size[0], height=size[1],
    )  # fmt: skip


@given(cameras())
def test_look_at_puts_its_target_in_the_middle_and_up_above(camera):
    target = camera.center + camera.R[2] * 2.0
    middle = camera.project(target)
    assert np.allclose(middle, [camera.width / 2, camera.height / 2, 2.0], atol=1e-6)
    above = camera.project(target + np.array([0.0, 0.01, 0.0]))
    assert above[1] < middle[1]
    right = camera.project(target + camera.R[0] * 0.01)
    assert right[0] > middle[0]


@given(cameras(), POINT, st.floats(-500, 500), st.floats(-500, 500), st.floats(0.1, 4))
def test_a_crop_sees_the_same_world(camera, point, x, y, scale):
    seen = camera.project(point)
    assume(seen[2] > 0.05)
    cropped = camera.cropped(x, y, 100, 200, scale).project(point)
    expected = (seen[0] - x) * scale, (seen[1] - y) * scale, seen[2]
    assert np.allclose(cropped, expected, rtol=1e-9, atol=1e-6)


def ndc_of_blender(lens: BlenderLens, point: np.ndarray) -> np.ndarray:
    """Where Blender's frustum puts a point of camera space (x right, y up, z back), in pixels.

    By the frame's edges on the plane at distance 1, as BKE_camera_params_compute_viewplane has it.
    """
    width = int(lens.resolution_x * lens.resolution_percentage / 100)
    height = int(lens.resolution_y * lens.resolution_percentage / 100)
    across, up = width * lens.pixel_aspect_x, height * lens.pixel_aspect_y
    fit_x = lens.sensor_fit == "HORIZONTAL" or (lens.sensor_fit == "AUTO" and across >= up)
    sensor = lens.sensor_height if lens.sensor_fit == "VERTICAL" else lens.sensor_width
    pixel = sensor / lens.lens / (across if fit_x else up)  # metres per unit of aspect, at 1 m
    extent = across if fit_x else up
    shift_x, shift_y = lens.shift_x * extent * pixel, lens.shift_y * extent * pixel
    left, right = -across / 2 * pixel + shift_x, across / 2 * pixel + shift_x
    bottom, top = -up / 2 * pixel + shift_y, up / 2 * pixel + shift_y
    x, y = point[0] / -point[2], point[1] / -point[2]
    return np.array([(x - left) / (right - left) * width, (top - y) / (top - bottom) * height])


LENSES = st.builds(
    BlenderLens,
    lens=st.floats(10, 200),
    sensor_width=st.floats(10, 60),
    sensor_height=st.floats(10, 60),
    sensor_fit=st.sampled_from(["AUTO", "HORIZONTAL", "VERTICAL"]),
    shift_x=st.floats(-1, 1),
    shift_y=st.floats(-1, 1),
    resolution_x=st.integers(16, 4000),
    resolution_y=st.integers(16, 4000),
    resolution_percentage=st.integers(10, 150),
    pixel_aspect_x=st.floats(1, 3),
    pixel_aspect_y=st.floats(1, 3),
)


@given(LENSES, st.tuples(COORDINATE, COORDINATE, st.floats(-9, -0.5)).map(np.array), POINT, POINT)
def test_blenders_lens_gives_blenders_pixels(lens, seen, turn, place):
    width = int(lens.resolution_x * lens.resolution_percentage / 100)
    height = int(lens.resolution_y * lens.resolution_percentage / 100)
    assume(1 <= width <= 8192 and 1 <= height <= 8192)
    world = np.eye(4)
    world[:3, :3] = rotation_from_axis_angle(turn) * 2.5  # a camera's scale does not count
    world[:3, 3] = place
    point = rotation_from_axis_angle(turn) @ seen + place
    got = from_blender(lens, world).project(point)
    assert np.allclose(got[:2], ndc_of_blender(lens, seen), rtol=1e-6, atol=1e-4)
    assert got[2] == pytest.approx(-seen[2], abs=1e-9)


def test_other_projections_are_refused_with_the_reason():
    lens = BlenderLens(
        lens=50, sensor_width=36, sensor_height=24, sensor_fit="AUTO", shift_x=0, shift_y=0,
        resolution_x=64, resolution_y=64, resolution_percentage=100,
        pixel_aspect_x=1, pixel_aspect_y=1, type="ORTHO",
    )  # fmt: skip
    with pytest.raises(UnsupportedCamera, match="ORTHO"):
        from_blender(lens, np.eye(4))


GOOD = {
    "K": np.diag([500.0, 500.0, 1.0]),
    "R": np.eye(3),
    "t": np.zeros(3),
    "width": 8,
    "height": 8,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("K", np.eye(2)),
        ("K", np.diag([np.nan, 1.0, 1.0])),
        ("K", np.diag([-5.0, 5.0, 1.0])),
        ("K", np.diag([5.0, 5.0, 2.0])),
        ("K", np.array([[5.0, 0.1, 0], [0, 5.0, 0], [0, 0, 1]])),
        ("R", np.eye(3) * 1.1),
        ("R", np.diag([1.0, 1.0, -1.0])),
        ("R", np.full((3, 3), np.inf)),
        ("t", np.zeros(4)),
        ("width", 0),
        ("height", 8193),
    ],
)
def test_impossible_cameras_are_refused(field, value):
    with pytest.raises(BadParameter):
        Camera(**GOOD | {field: value})
