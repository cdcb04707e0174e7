"""The crop: on whole pixels, around the visible body, as large as the frame needs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.contract.camera import Camera
from models.crop import MAX_SIZE, MIN_SIZE, MULTIPLE, body_crop


def points_of_box(left, top, right, bottom, depth=3.0):
    corners = [(x, y, depth) for x in (left, right) for y in (top, bottom)]
    return np.array(corners, np.float64)


boxes = st.tuples(
    st.floats(-3000, 3000), st.floats(-3000, 3000), st.floats(1, 4000), st.floats(1, 4000)
)
sides = st.integers(16, 4096)


@given(boxes, sides, sides)
def test_crop_covers_every_visible_part_of_the_box(box, width, height):
    left, top, wide, high = box
    crop = body_crop(points_of_box(left, top, left + wide, top + high), width, height)
    visible = (max(left, 0), max(top, 0), min(left + wide, width), min(top + high, height))
    if visible[0] >= visible[2] or visible[1] >= visible[3]:
        return
    assert crop is not None
    assert crop.x <= visible[0] + 1
    assert crop.y <= visible[1] + 1
    assert crop.x + crop.side >= visible[2] - 1
    assert crop.y + crop.side >= visible[3] - 1


@given(boxes, sides, sides)
def test_crop_has_a_size_that_the_network_takes(box, width, height):
    left, top, wide, high = box
    crop = body_crop(points_of_box(left, top, left + wide, top + high), width, height)
    if crop is None:
        return
    assert crop.size % MULTIPLE == 0
    assert MIN_SIZE <= crop.size <= MAX_SIZE
    if MIN_SIZE < crop.size < MAX_SIZE:
        assert crop.side == crop.size, "between the limits nothing is resampled"


def test_nothing_to_see_gives_no_crop():
    assert body_crop(points_of_box(0, 0, 10, 10, depth=-1.0), 512, 512) is None
    assert body_crop(points_of_box(900, 0, 990, 10), 512, 512) is None


def test_body_that_reaches_behind_the_camera_gets_the_whole_frame():
    points = points_of_box(100, 100, 200, 200)
    points[0, 2] = -0.5
    crop = body_crop(points, 512, 384)
    assert crop is not None
    assert crop.side >= 512


def test_crop_does_not_jump_when_the_body_moves_by_whole_pixels():
    crop = body_crop(points_of_box(100, 100, 400, 400), 1000, 1000)
    moved = body_crop(points_of_box(107, 103, 407, 403), 1000, 1000)
    assert crop is not None
    assert moved is not None
    assert (moved.x - crop.x, moved.y - crop.y, moved.size) == (7, 3, crop.size)


def test_camera_of_a_crop_sees_the_same_points():
    frame = Camera(
        K=np.array([[700.0, 0, 256], [0, 700.0, 256], [0, 0, 1]]),
        R=np.eye(3),
        t=np.array([0.1, 0.2, 3.0]),
        width=512,
        height=512,
    )
    point = np.array([[0.3, -0.2, 0.5]])
    crop = body_crop(points_of_box(10, 10, 60, 60), 512, 512)
    assert crop is not None
    seen, inside = frame.project(point)[0], crop.camera(frame).project(point)[0]
    expected = (seen[:2] - (crop.x, crop.y)) * crop.size / crop.side
    np.testing.assert_allclose(inside[:2], expected, atol=1e-9)
