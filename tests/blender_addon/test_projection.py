"""Viewport cameras, render borders, scaled rigs: without Blender."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.errors import UnsupportedCamera
from blender_addon.contract.pose import Y_UP_TO_Z_UP
from blender_addon.scene.projection import border_pixels, for_scaled_rig, from_view, to_smplx


def _camera() -> Camera:
    eye, target = np.array([1.0, -4.0, 1.5]), np.array([0.1, 0.0, 1.0])
    return look_at(eye, target, np.array([0.0, 0.0, 1.0]), focal=700.0, width=640, height=480)


def _clip_matrices(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """View and projection as Blender keeps them for a 3D viewport (OpenGL's conventions)."""
    view = np.eye(4)
    flip = np.diag([1.0, -1.0, -1.0])
    view[:3, :3], view[:3, 3] = flip @ camera.R, flip @ camera.t
    near, far = 0.1, 100.0
    projection = np.zeros((4, 4))
    projection[0, 0] = 2 * camera.K[0, 0] / camera.width
    projection[1, 1] = 2 * camera.K[1, 1] / camera.height
    projection[0, 2] = 1 - 2 * camera.K[0, 2] / camera.width
    projection[1, 2] = 2 * camera.K[1, 2] / camera.height - 1
    projection[2, 2], projection[2, 3] = (
        -(far + near) / (far - near),
        -2 * far * near / (far - near),
    )
    projection[3, 2] = -1.0
    return view, projection


def test_the_viewports_matrices_give_its_camera():
    wanted = _camera().cropped(13.0, -7.5, 600, 500)
    found = from_view(*_clip_matrices(wanted), wanted.width, wanted.height)
    np.testing.assert_allclose(found.K, wanted.K, atol=1e-9)
    np.testing.assert_allclose(found.R, wanted.R, atol=1e-12)
    np.testing.assert_allclose(found.t, wanted.t, atol=1e-12)


def test_clip_space_and_our_pixels_agree():
    camera = _camera().cropped(13.0, -7.5, 600, 500)
    view, projection = _clip_matrices(camera)
    points = np.random.default_rng(0).uniform([-1, -1, 0], [1, 1, 2], (20, 3))
    clip = np.concatenate([points, np.ones((20, 1))], 1) @ (projection @ view).T
    pixels = (clip[:, :2] / clip[:, 3:] * [1, -1] + 1) / 2 * [600, 500]
    np.testing.assert_allclose(camera.project(points)[:, :2], pixels, atol=1e-9)


def test_orthographic_views_are_refused_with_the_way_out():
    view, projection = _clip_matrices(_camera())
    projection[3] = [0, 0, 0, 1]
    with pytest.raises(UnsupportedCamera) as caught:
        from_view(view, projection, 640, 480)
    assert "Numpad 5" in caught.value.next_step


def test_a_camera_sees_the_same_in_smplx_axes():
    camera, points = _camera(), np.random.default_rng(1).normal(0, 0.3, (9, 3))
    np.testing.assert_allclose(
        to_smplx(camera).project(points @ Y_UP_TO_Z_UP), camera.project(points), atol=1e-9
    )


@given(st.floats(0.05, 20.0))
@settings(max_examples=30, deadline=None)
def test_a_scaled_person_is_seen_like_an_unscaled_one_from_nearer(scale):
    camera, points = _camera(), np.random.default_rng(1).normal(0, 0.3, (9, 3))
    scaled = camera.project(points * scale)
    found = for_scaled_rig(camera, scale).project(points)
    np.testing.assert_allclose(found[:, :2], scaled[:, :2], rtol=1e-7)
    np.testing.assert_allclose(found[:, 2] * scale, scaled[:, 2], rtol=1e-9)


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_a_border_lies_within_the_frame(width, height, x, y):
    border = border_pixels(width, height, tuple(x), tuple(y))
    assert border.left >= 0 and border.bottom >= 0  # noqa: PT018
    assert border.left + border.width <= width
    assert border.bottom + border.height <= height


def test_the_whole_frame_as_a_border_is_the_whole_frame():
    border = border_pixels(1921, 1081, (0.0, 1.0), (0.0, 1.0))
    assert (border.left, border.bottom, border.width, border.height) == (0, 0, 1921, 1081)
