"""Frames through the extension's engine, from a real server."""

from __future__ import annotations

import time

import numpy as np
import pytest

from blender_addon.capture.exr import read_exr


def _save(blender, scene, path, kind="PNG"):
    """Render and return the image: (H, W, 4) floats, or an EXR's channels."""
    settings = scene.render.image_settings
    if kind == "PNG":
        settings.file_format, settings.color_mode = "PNG", "RGBA"
    else:
        if hasattr(settings, "media_type"):
            settings.media_type = "MULTI_LAYER_IMAGE"
        settings.file_format = "OPEN_EXR_MULTILAYER"
        settings.color_depth, settings.exr_codec = "32", "NONE"
    scene.render.filepath = str(path)
    blender.ops.render.render(write_still=True)
    if kind != "PNG":
        return read_exr(path.read_bytes())
    return _pixels(blender, path)


def _pixels(blender, path):
    """A picture file as (H, W, 4) floats."""
    image = blender.data.images.load(str(path))
    width, height = image.size
    values = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(values)
    blender.data.images.remove(image)
    return values.reshape(height, width, 4)[::-1]


def _combined(channels):
    return np.stack([channels[f"ViewLayer.Combined.{c}"] for c in "RGBA"], axis=-1)


def _asked(parts, blender, server, masks=False):
    """The server's own answer for the scene's only person, and the request."""
    depsgraph = blender.context.evaluated_depsgraph_get()
    people = parts.people.visible_people(depsgraph)
    passes = ("rgba", "depth", "masks") if masks else ("rgba", "depth")
    requests = parts.compose.requests_of(people, parts.cameras.scene_camera(depsgraph), passes)
    with parts.client.Client(server.endpoint()) as client:
        return [server.render(client, request) for request in requests]


def test_f12_shows_the_networks_own_colours(blender, parts, server, stage, tmp_path):
    image = _save(blender, stage.scene, tmp_path / "a.png")
    (reply,) = _asked(parts, blender, server)
    assert image.shape == (96, 96, 4)
    rgba = reply.arrays["rgba"].astype(np.float64) / 255
    assert rgba[..., 3].max() > 0.3, "the test's avatar must be seen"
    # A PNG holds straight colour; what the server sent is premultiplied.
    solid = rgba[..., 3] > 0.2
    straight = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-9)
    np.testing.assert_allclose(image[..., 3], rgba[..., 3], atol=1.1 / 255)
    assert np.abs(image[..., :3] - straight)[solid].max() < 6 / 255  # 8 bits at alpha 0.2


def test_depth_and_masks_reach_their_passes(blender, parts, server, stage, tmp_path):
    layer = stage.scene.view_layers[0]
    layer.use_pass_z, layer.dressform.use_masks = True, True
    stage.rig.scale = (2.0, 2.0, 2.0)
    stage.camera.location = [2 * part for part in stage.camera.location]
    blender.context.view_layer.update()
    channels = _save(blender, stage.scene, tmp_path / "a.exr", "EXR")
    (reply,) = _asked(parts, blender, server, masks=True)
    depth = reply.arrays["depth"]
    seen = np.isfinite(depth)
    assert seen.any()
    # The person is twice as large and twice as far: depth comes back in the scene's metres.
    np.testing.assert_allclose(channels["ViewLayer.Depth.Z"][seen], 2 * depth[seen], rtol=1e-6)
    assert (channels["ViewLayer.Depth.Z"][~seen] == np.float32(1e10)).all()
    for index, name in enumerate(parts.final.MASK_PASSES):
        expected = reply.arrays["masks"][..., index] / np.float32(255)
        np.testing.assert_allclose(channels[f"ViewLayer.{name}.X"], expected, atol=1e-6)


def test_border_is_a_part_of_the_whole_frame(blender, stage, tmp_path):
    render = stage.scene.render
    whole = _save(blender, stage.scene, tmp_path / "whole.png")
    render.use_border = True
    render.border_min_x, render.border_max_x = 0.3, 0.71
    render.border_min_y, render.border_max_y = 0.21, 0.93
    inside = _save(blender, stage.scene, tmp_path / "inside.png")
    assert inside.shape == whole.shape
    rows, columns = slice(96 - 89, 96 - 20), slice(28, 68)
    np.testing.assert_array_equal(inside[rows, columns], whole[rows, columns])
    outside = np.ones((96, 96), bool)
    outside[rows, columns] = False
    assert not inside[outside].any()
    render.use_crop_to_border = True
    cropped = _save(blender, stage.scene, tmp_path / "cropped.png")
    np.testing.assert_array_equal(cropped, whole[rows, columns])


def test_resolution_percentage_aspect_and_shift(blender, parts, server, stage, tmp_path):
    render = stage.scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 151, 97, 67
    render.pixel_aspect_x, render.pixel_aspect_y = 1.0, 1.3
    stage.camera.data.shift_x, stage.camera.data.sensor_fit = 0.1, "VERTICAL"
    image = _save(blender, stage.scene, tmp_path / "a.png")
    assert image.shape == (64, 101, 4)
    (reply,) = _asked(parts, blender, server)
    np.testing.assert_allclose(image[..., 3], reply.arrays["rgba"][..., 3] / 255, atol=1.1 / 255)


def test_the_nearer_person_covers_the_farther(blender, parts, server, stage, tmp_path):
    ada = stage.rig
    blender.ops.dressform.add_person(avatar="ben")
    ben = blender.context.object
    layer = stage.scene.view_layers[0]
    layer.use_pass_z = True
    ada.location, ben.location = (0, 0, 0), (0.25, 0.8, 0)
    front = _save(blender, stage.scene, tmp_path / "a.exr", "EXR")
    replies = _asked(parts, blender, server)
    layers = [
        parts.pixels.layer_from_reply(r.arrays["rgba"], r.arrays["depth"], None, 1.0)
        for r in replies
    ]
    expected = parts.pixels.composite(layers, 96, 96)
    np.testing.assert_allclose(_combined(front), expected.rgba, atol=1e-6)
    assert not np.allclose(_combined(front), layers[0].rgba)
    # Who is in front decides, not who was added first.
    ada.location, ben.location = (0.25, 0.8, 0), (0, 0, 0)
    behind = _save(blender, stage.scene, tmp_path / "b.exr", "EXR")
    both = np.isfinite(layers[0].depth) & np.isfinite(layers[1].depth)
    assert both.any()
    assert np.nanmin(behind["ViewLayer.Depth.Z"]) == pytest.approx(
        float(np.nanmin(front["ViewLayer.Depth.Z"])), abs=0.2
    )


def test_an_empty_scene_renders_empty(blender, stage, tmp_path):
    stage.rig.hide_render = True
    assert not _save(blender, stage.scene, tmp_path / "a.png").any()


def test_two_view_layers_get_their_own_people(blender, parts, server, stage, tmp_path):
    blender.ops.dressform.add_person(avatar="ben")
    ben = blender.context.object
    collection = blender.data.collections.new("Ben")
    stage.scene.collection.children.link(collection)
    for ob in (ben, *ben.children):
        collection.objects.link(ob)
        for other in [c for c in ob.users_collection if c != collection]:
            other.objects.unlink(ob)
    second = stage.scene.view_layers.new("Without Ben")
    second.layer_collection.children["Ben"].exclude = True
    channels = _save(blender, stage.scene, tmp_path / "a.exr", "EXR")
    first = channels["ViewLayer.Combined.A"]
    alone = channels["Without Ben.Combined.A"]
    assert first.sum() > alone.sum() > 0


def test_animated_frames_are_the_frames_rendered_one_by_one(blender, stage, tmp_path):
    blender.ops.dressform.apply_motion(motion="wave")
    scene = stage.scene
    scene.frame_start, scene.frame_end = 40, 42
    scene.render.use_file_extension = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(tmp_path / "f_")
    blender.ops.render.render(animation=True)
    scene.frame_set(41)
    scene.render.use_file_extension = False
    single = _save(blender, scene, tmp_path / "single.png")
    image = blender.data.images.load(str(tmp_path / "f_0041.png"))
    values = np.empty(96 * 96 * 4, np.float32)
    image.pixels.foreach_get(values)
    np.testing.assert_array_equal(values.reshape(96, 96, 4)[::-1], single)


def test_the_packages_digest_is_stamped_into_the_image(blender, parts, stage, tmp_path):
    _save(blender, stage.scene, tmp_path / "a.png")
    digest = parts.library.known.avatar("ada").digest
    assert digest
    assert digest.encode() in (tmp_path / "a.png").read_bytes()


def test_esc_ends_a_render_within_200_ms(blender, parts, server, stage, monkeypatch):
    """A server that never answers, and an Esc after 0.3 s."""
    import zmq

    context = zmq.Context()
    mute = context.socket(zmq.ROUTER)
    port = mute.bind_to_random_port("tcp://127.0.0.1")
    monkeypatch.setenv("DRESSFORM_ENDPOINT", f"tcp://127.0.0.1:{port}")
    pressed = time.monotonic() + 0.3
    # Without a window nobody can press Esc: stand in for Blender's own test_break().
    engine = parts.final.DressformRenderEngine
    monkeypatch.setattr(engine, "should_stop", lambda _self: time.monotonic() > pressed)
    try:
        blender.ops.render.render()
    finally:
        late = time.monotonic() - pressed
        context.destroy(linger=0)
    assert 0.0 <= late < 0.2


def test_a_new_scene_gets_the_standard_view_and_others_are_warned_of(
    blender, scene, server, capfd, tmp_path
):
    scene.view_settings.view_transform = "AgX"
    blender.ops.dressform.add_person(avatar="ada")
    assert scene.view_settings.view_transform == "Standard"
    assert scene.render.engine == "DRESSFORM"
    scene.view_settings.view_transform = "AgX"
    blender.ops.dressform.add_person(avatar="ada")
    assert scene.view_settings.view_transform == "AgX", "a choice made since is respected"
    scene.camera = blender.data.objects.new("c", blender.data.cameras.new("c"))
    scene.render.resolution_x = scene.render.resolution_y = 32
    capfd.readouterr()
    blender.ops.render.render()
    assert "view transform AgX" in "".join(capfd.readouterr())
