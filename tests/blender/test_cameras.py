"""Our projection against Blender's own matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest


def _random_camera(blender, scene, rng):
    data = blender.data.cameras.new("c")
    camera = blender.data.objects.new("c", data)
    scene.collection.objects.link(camera)
    data.lens = rng.uniform(12, 200)
    data.sensor_width, data.sensor_height = rng.uniform(8, 60, 2)
    data.sensor_fit = rng.choice(["AUTO", "HORIZONTAL", "VERTICAL"])
    data.shift_x, data.shift_y = rng.uniform(-0.5, 0.5, 2)
    camera.location = rng.uniform(-3, 3, 3)
    camera.rotation_euler = rng.uniform(-math.pi, math.pi, 3)
    camera.scale = rng.uniform(0.3, 3, 3)
    render = scene.render
    render.resolution_x, render.resolution_y = (int(side) for side in rng.integers(33, 3001, 2))
    render.resolution_percentage = int(rng.integers(10, 161))
    render.pixel_aspect_x, render.pixel_aspect_y = rng.uniform(1.0, 2.0, 2)
    scene.camera = camera
    return camera


def _blenders_own(blender, scene, camera, points):
    """Pixels (corner origin, y down) by Blender's projection and view matrices."""
    render = scene.render
    width = int(render.resolution_x * render.resolution_percentage / 100)
    height = int(render.resolution_y * render.resolution_percentage / 100)
    depsgraph = blender.context.evaluated_depsgraph_get()
    projection = camera.calc_matrix_camera(
        depsgraph,
        x=width,
        y=height,
        scale_x=render.pixel_aspect_x,
        scale_y=render.pixel_aspect_y,
    )
    # The camera's matrix without its scale, as Blender renders.
    place, turn, _scale = camera.evaluated_get(depsgraph).matrix_world.decompose()
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = np.array(turn.to_matrix()), np.array(place)
    clip = np.array(projection) @ np.linalg.inv(world)
    seen = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ clip.T
    ndc = seen[:, :2] / seen[:, 3:]
    return np.stack([(ndc[:, 0] + 1) / 2 * width, (1 - ndc[:, 1]) / 2 * height], axis=1)


def test_projection_agrees_with_blenders_matrices(blender, scene, parts):
    rng = np.random.default_rng(11)
    worst = 0.0
    for _ in range(90):
        camera = _random_camera(blender, scene, rng)
        blender.context.view_layer.update()
        depsgraph = blender.context.evaluated_depsgraph_get()
        ours = parts.cameras.scene_camera(depsgraph)
        # Ten points inside the view, 1 to 20 metres away.
        pixels = rng.uniform([0, 0], [ours.width, ours.height], (10, 2))
        depth = rng.uniform(1, 20, (10, 1))
        rays = np.concatenate([pixels, np.ones((10, 1))], axis=1) @ np.linalg.inv(ours.K).T
        smplx = (rays * depth - ours.t) @ ours.R
        points = smplx @ parts.pose.Y_UP_TO_Z_UP.T
        theirs = _blenders_own(blender, scene, camera, points)
        worst = max(worst, float(np.abs(ours.project(smplx)[:, :2] - theirs).max()))
    print(f"largest difference: {worst:.5f} px")
    assert worst < 0.01


def test_camera_follows_parents_constraints_and_drivers(blender, scene, parts):
    rng = np.random.default_rng(12)
    camera = _random_camera(blender, scene, rng)
    parent = blender.data.objects.new("p", None)
    target = blender.data.objects.new("t", None)
    for ob in (parent, target):
        scene.collection.objects.link(ob)
    parent.location, parent.rotation_euler = (1, 2, 0.5), (0.2, 0.4, 0.1)
    target.location = (0, 0, 1)
    camera.parent = parent
    track = camera.constraints.new("TRACK_TO")
    track.target, track.track_axis, track.up_axis = target, "TRACK_NEGATIVE_Z", "UP_Y"
    driver = parent.driver_add("location", 2).driver
    driver.expression = "3.25"
    blender.context.view_layer.update()
    depsgraph = blender.context.evaluated_depsgraph_get()
    ours = parts.cameras.scene_camera(depsgraph)
    points = np.array([[0.0, 0.0, 1.0], [0.3, 0.1, 1.2]])
    theirs = _blenders_own(blender, scene, camera, points)
    mine = ours.project(points @ parts.pose.Y_UP_TO_Z_UP)[:, :2]
    assert np.abs(mine - theirs).max() < 0.01
    eye = np.array(camera.evaluated_get(depsgraph).matrix_world)[:3, 3]
    np.testing.assert_allclose(parts.pose.Y_UP_TO_Z_UP @ ours.center, eye, atol=1e-5)


@pytest.mark.parametrize("kind", ["ORTHO", "PANO"])
def test_cameras_without_a_pinhole_are_refused_with_the_reason(blender, scene, parts, kind):
    camera = _random_camera(blender, scene, np.random.default_rng(1))
    camera.data.type = kind
    with pytest.raises(parts.errors.UnsupportedCamera, match=kind):
        parts.cameras.scene_camera(blender.context.evaluated_depsgraph_get())


def test_a_scene_without_a_camera_says_so(blender, scene, parts):
    with pytest.raises(parts.errors.UnsupportedCamera, match="no camera"):
        parts.cameras.scene_camera(blender.context.evaluated_depsgraph_get())
