"""The square that a portrait is painted in: what it covers, and what of a frame it sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.portrait_square import LEAST_HALF, choose_square, looked_up, paste
from tests.models.toy_portraits import RADIUS, SIZE, a_camera

cameras = st.builds(
    lambda angle, height, distance, target, focal, roll: a_camera(
        (distance * np.sin(angle), height, distance * np.cos(angle)), target, focal=focal, roll=roll
    ),
    st.floats(-3.1, 3.1), st.floats(-0.8, 0.8), st.floats(0.1, 4.0),
    st.tuples(st.floats(0.05, 0.09), st.floats(-0.3, 0.3), st.floats(-0.01, 0.01)), st.floats(20.0, 900.0), st.floats(-3.0, 3.0),
)  # fmt: skip


@given(cameras)
@settings(max_examples=40)
def test_the_square_covers_what_the_frame_sees_of_the_sphere(camera):
    square = choose_square(camera, RADIUS, SIZE)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(600, 3))
    points *= RADIUS * rng.random((600, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1)[:, None]
    seen = camera.project(points)
    shown = (seen[:, 2] > 0.02) & (seen[:, 0] > 0) & (seen[:, 0] < camera.width)
    shown &= (seen[:, 1] > 0) & (seen[:, 1] < camera.height)
    outside = np.linalg.norm(camera.center) > 1.05 * RADIUS
    if square is None:
        assert not (outside and shown.any())
        return
    within = square.camera.project(points[shown])
    # Of a camera within the sphere, what lies beside it is left out.
    if outside:
        assert (within[:, :2] > -0.01).all()
        assert (within[:, :2] < SIZE + 0.01).all()
    again = square.to_square @ np.c_[seen[shown, :2], np.ones(shown.sum())].T
    near = (np.abs(within[:, :2]) < 2 * SIZE).all(axis=1)
    np.testing.assert_allclose((again[:2] / again[2]).T[near], within[near, :2], atol=0.05)


def test_the_square_is_upright_and_neither_narrower_nor_wider_than_in_training():
    for roll in (0.0, 1.0, 3.1):
        wide = choose_square(a_camera(roll=roll, focal=20.0), RADIUS, SIZE)
        np.testing.assert_allclose(wide.camera.R, a_camera().R, atol=1e-4)
        top = wide.camera.project(np.array([0.0, 0.1, 0.0]))
        middle = wide.camera.project(np.zeros(3))
        assert top[1] < middle[1] == pytest.approx(SIZE / 2)
    distance = np.linalg.norm(a_camera().center)
    half = 0.5 * SIZE * distance / wide.camera.K[0, 0]
    assert half == pytest.approx(RADIUS / np.sqrt(1 - (RADIUS / distance) ** 2), rel=1e-3)
    close = choose_square(a_camera(focal=3000.0), RADIUS, SIZE)
    assert 0.5 * SIZE * distance / close.camera.K[0, 0] == pytest.approx(LEAST_HALF, rel=1e-3)


def test_heads_out_of_sight_give_no_square():
    for camera in (
        a_camera(target=(0.6, 0.4, 2.4)), a_camera(target=(3.0, 0.0, 0.0), focal=900.0),
        a_camera(eye=(0.0, 0.0, 1e-6)),
    ):  # fmt: skip
        assert choose_square(camera, RADIUS, SIZE) is None


def test_a_frames_image_is_looked_up_where_the_square_sees_it():
    camera = a_camera(roll=0.4, focal=60.0)
    fine = choose_square(camera, RADIUS, SIZE).scaled(2 * SIZE)
    stripes = np.tile(np.arange(camera.width) // 8, (camera.height, 1)).astype(np.uint8)
    found = looked_up(fine, stripes, np.full((64, 64), 99, np.uint8))
    inside = found != 99
    assert 0.2 < inside.float().mean() < 1.0
    (band,) = paste(fine, found[None, None].float() + 1.0, nearest=True)
    seen = band.seen[0, 0].numpy() - 1.0  # −1 beside the square
    edges = np.abs(np.diff(stripes.astype(int), axis=1, prepend=0)) > 0
    calm = ~(edges | np.roll(edges, -1, 1) | np.roll(edges, 1, 1))
    beside = (band.rows, band.columns)
    known = calm[beside] & (seen >= 0) & (seen != 99)
    assert known.mean() > 0.2
    np.testing.assert_array_equal(seen[known], stripes[beside][known])
