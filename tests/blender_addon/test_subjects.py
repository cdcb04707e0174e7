"""Where portraits stand: cameras of the world and of head space see the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import BadMessage, UnsupportedTransform
from blender_addon.contract.labels import Label
from blender_addon.contract.portraits import PortraitLook
from blender_addon.contract.pose import Y_UP_TO_Z_UP, rotation_from_axis_angle
from blender_addon.scene.head_meshes import parse_mesh, placeholder
from blender_addon.scene.projection import to_smplx
from blender_addon.scene.subjects import HeadPlace, Portrait

angles = st.tuples(*[st.floats(-3.0, 3.0)] * 3)


@settings(deadline=None, max_examples=60)
@given(angles, st.tuples(*[st.floats(-5.0, 5.0)] * 3), st.floats(0.05, 20.0))
def test_the_camera_in_head_space_sees_what_the_worlds_camera_sees(turn, place, scale):
    world = np.eye(4)
    world[:3, :3] = scale * rotation_from_axis_angle(np.array(turn))
    world[:3, 3] = place
    eye = np.array(place) + scale * np.array([0.3, -2.0, 0.4])
    blender = look_at(
        eye, np.array(place), np.array([0.0, 0.0, 1.0]), focal=300.0, width=200, height=150
    )
    head = np.random.default_rng(3).uniform(-0.2, 0.2, (20, 3))
    placed = head @ Y_UP_TO_Z_UP.T @ world[:3, :3].T + world[:3, 3]
    # Blender stores matrices in float32.
    where = HeadPlace.of_object(world.astype(np.float32), "Egg")
    seen = where.camera_in_head(to_smplx(blender)).project(head)
    expected = blender.project(placed)
    np.testing.assert_allclose(seen[:, :2], expected[:, :2], atol=2e-2)
    np.testing.assert_allclose(seen[:, 2] * where.scale, expected[:, 2], rtol=1e-4)


def test_uneven_scales_are_refused_by_name():
    with pytest.raises(UnsupportedTransform, match="Egg is sheared"):
        HeadPlace.of_object(np.diag([1.0, 2.0, 1.0, 1.0]), "Egg")


def test_streams_and_geometry_follow_the_priority():
    camera = look_at(
        np.array([0, 0, 1.3]), np.zeros(3), np.array([0, 1.0, 0]), focal=100, width=32, height=32
    )
    portrait = Portrait(
        name="Egg",
        look=PortraitLook(portrait="portrait-egg"),
        place=HeadPlace.of_object(np.eye(4), "Egg"),
    )
    final = portrait.request(camera, ("rgba", "labels"), "final", "")
    assert (final.geometry, final.stream, final.passes) == ("marched", "", ("rgba", "labels"))
    live = portrait.request(camera, ("rgba",), "interactive", "viewport-1")
    assert (live.geometry, live.stream) == ("baked", "viewport-1/Egg")


def test_the_placeholder_is_closed_and_as_large_as_a_head():
    head = placeholder()
    size = np.ptp(head.vertices, axis=0)
    assert (size > 0.13).all()
    assert (size < 0.26).all()
    assert set(head.labels) == {Label.SKIN, Label.HAIR}
    edges = np.sort(head.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    points = {tuple(point): index for index, point in enumerate(head.vertices.round(6).tolist())}
    merged = np.array([points[tuple(p)] for p in head.vertices.round(6).tolist()])[edges]
    _, counts = np.unique(np.sort(merged, axis=1), axis=0, return_counts=True)
    assert (counts == 2).all()
    corners = head.vertices[head.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = (normals * corners.mean(axis=1)).sum(axis=1)
    assert (outward > 0).mean() > 0.98  # but for the sides of the nose


@pytest.mark.parametrize(
    "change",
    [
        {"vertices": np.zeros((3, 2), np.float32)},
        {"faces": np.array([[0, 1, 3]])},
        {"labels": np.array([17], np.uint8)},
        {"labels": np.zeros(2, np.uint8)},
        {"vertices": np.full((3, 3), np.nan, np.float32)},
    ],
)
def test_baked_heads_that_are_no_meshes_are_refused(change):
    arrays = {
        "vertices": np.eye(3, dtype=np.float32),
        "faces": np.array([[0, 1, 2]], np.int32),
        "labels": np.array([1], np.uint8),
    }
    assert len(parse_mesh(arrays).faces) == 1
    with pytest.raises(BadMessage):
        parse_mesh(arrays | change)
