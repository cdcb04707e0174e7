"""Label maps painted by hand: which cameras they fit, and colours that are of no label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.labels import PALETTE, labels_to_colors
from blender_addon.contract.pose import rotation_from_axis_angle
from blender_addon.scene.painted_labels import PaintedLabels, nearest_labels


def front(width=64, height=48, focal=120.0) -> Camera:
    return look_at(
        np.array([0.1, 0.05, 1.3]),
        np.zeros(3),
        np.array([0.0, 1.0, 0.0]),
        focal=focal,
        width=width,
        height=height,
    )


def painted(camera: Camera, seed=0) -> PaintedLabels:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 17, (camera.height // 8, camera.width // 8))
    labels = np.kron(blocks, np.ones((8, 8), int)).astype(np.uint8)
    return PaintedLabels(labels=labels, camera=camera)


def test_the_same_camera_gets_the_very_map():
    camera = front()
    known = painted(camera)
    moved = replace(camera, K=camera.K + 1e-6 * np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]]))
    assert known.seen_by(moved) is known.labels


def test_a_camera_elsewhere_gets_none():
    camera = front()
    known = painted(camera)
    step = replace(camera, t=camera.t + np.array([0.01, 0, 0]))
    assert not known.fits(step)
    assert known.seen_by(step) is None


def test_twice_the_pixels_show_the_same_map():
    camera = front()
    known = painted(camera)
    large = known.seen_by(camera.cropped(0, 0, 128, 96, 2.0))
    np.testing.assert_array_equal(large, np.kron(known.labels, np.ones((2, 2), np.uint8)))
    part = known.seen_by(camera.cropped(16, 8, 20, 30))
    np.testing.assert_array_equal(part, known.labels[8:38, 16:36])
    outside = known.seen_by(camera.cropped(-10, 0, 20, 48))
    assert not outside[:, :10].any()
    np.testing.assert_array_equal(outside[:, 10:], known.labels[:, :10])


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(-1.0, 1.0), st.floats(0.7, 2.0))
def test_a_turned_camera_sees_what_lies_in_the_same_direction(pitch, yaw, roll, zoom):
    camera = front()
    known = painted(camera)
    turn = rotation_from_axis_angle(np.array([pitch, yaw, roll]))
    K = camera.K.copy()
    K[:2, :2] *= zoom
    turned = replace(camera, R=turn @ camera.R, t=turn @ camera.t, K=K)
    seen = known.seen_by(turned)
    assert seen.shape == (48, 64)
    rng = np.random.default_rng(5)
    for row, column in rng.integers(0, (48, 64), (40, 2)):
        ray = turned.R.T @ np.linalg.inv(turned.K) @ np.array([column + 0.5, row + 0.5, 1.0])
        at = camera.K @ camera.R @ ray
        x, y = at[:2] / at[2]
        if at[2] <= 0 or not (0 <= x < 64 and 0 <= y < 48):
            assert seen[row, column] == 0
        elif min(x % 1, 1 - x % 1, y % 1, 1 - y % 1) > 1e-6:
            assert seen[row, column] == known.labels[int(y), int(x)]


@pytest.mark.parametrize("channels", [3, 4])
def test_palette_colours_are_read_back_exactly(channels):
    labels = np.arange(17, dtype=np.uint8).reshape(1, 17).repeat(3, axis=0)
    colors = np.full((3, 17, channels), 255, np.uint8)
    colors[..., :3] = labels_to_colors(labels)
    found, unknown = nearest_labels(colors)
    np.testing.assert_array_equal(found, labels)
    assert unknown == 0


def test_other_colours_count_as_the_nearest_and_are_counted():
    colors = np.zeros((2, 3, 4), np.uint8)
    colors[..., 3] = 255
    colors[0, 0, :3] = PALETTE[15] + np.array([3, 2, 4], np.uint8)
    colors[0, 1, :3] = PALETTE[8]
    colors[1, 2] = (250, 250, 250, 10)  # erased
    found, unknown = nearest_labels(colors)
    assert unknown == 1
    np.testing.assert_array_equal(found, [[15, 8, 0], [0, 0, 0]])
