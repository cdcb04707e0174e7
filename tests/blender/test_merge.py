"""Merge with Scene: the people of a real server in a real Cycles render, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from tests.blender.test_render import _asked, _save

RED, BLUE = (0.8, 0.05, 0.02), (0.02, 0.1, 0.7)
MARGIN = 0.03


def _cube(blender, at, half, colour, *, glow=True):
    blender.ops.mesh.primitive_cube_add(size=2, location=at)
    cube = blender.context.object
    cube.scale = half
    material = blender.data.materials.new("m")
    if blender.app.version < (5, 0):  # from 5.0 on every material has nodes
        material.use_nodes = True
    shader = next(n for n in material.node_tree.nodes if "Principled" in n.bl_idname)
    shader.inputs["Base Color"].default_value = (*colour, 1)
    if glow:  # its own light alone: the same in every sample
        shader.inputs["Base Color"].default_value = (0, 0, 0, 1)
        shader.inputs["Specular IOR Level"].default_value = 0
        shader.inputs["Emission Color"].default_value = (*colour, 1)
        shader.inputs["Emission Strength"].default_value = 1
    cube.data.materials.append(material)
    return cube


@pytest.fixture
def stage_with_props(blender, stage):
    """Ada on a floor under a sun, a red cube before her and a blue one behind."""
    scene = stage.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 4, False
    scene.cycles.max_bounces = 1
    _cube(blender, (0, 0, -0.05), (4, 4, 0.05), (0.6, 0.6, 0.6), glow=False)
    stage.front = _cube(blender, (0.12, -0.6, 0.55), (0.2, 0.1, 0.2), RED)
    stage.back = _cube(blender, (-0.1, 0.9, 1.1), (0.5, 0.1, 0.35), BLUE)
    blender.ops.object.light_add(type="SUN", location=(0, 0, 5))
    blender.context.object.data.energy = 3
    scene.world = blender.data.worlds.new("w")
    blender.context.view_layer.objects.active = stage.rig
    return stage


def _channel(channels, layer, name):
    found = [key for key in channels if key.startswith(layer) and key.endswith(name)]
    assert found, f"{layer} {name} is not among {sorted(channels)}"
    return channels[found[0]]


def _picture(channels, layer):
    return np.stack([_channel(channels, layer, f"Combined.{c}") for c in "RGBA"], axis=-1)


def _merged(blender, scene, path):
    """Render; return the merged picture, the scene's own, and its depth."""
    channels = _save(blender, scene, path, "EXR")
    layer = "ViewLayer"
    return (
        _picture(channels, "Composite"),
        _picture(channels, layer),
        _channel(channels, layer, "Depth.Z"),
    )


def _people(blender, parts, server):
    """The server's own picture of the scene's people, linear, and its depth."""
    (reply,) = _asked(parts, blender, server)
    layer = parts.pixels.layer_from_reply(reply.arrays["rgba"], reply.arrays["depth"], None, 1.0)
    return layer.rgba, np.where(np.isfinite(layer.depth), layer.depth, 1e10)


def _over(above, below):
    return above + (1 - above[..., 3:]) * below


def _away_from_edges(mask, pixels=3):
    """Where a mask has one value all around."""
    padded = np.pad(mask, pixels, mode="edge")
    size = 2 * pixels + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return windows.all(axis=(2, 3)) | ~windows.any(axis=(2, 3))


def test_front_covers_and_behind_is_covered(blender, parts, server, stage_with_props, tmp_path):
    scene = stage_with_props.scene
    scene.dressform_merge.shadows = False
    assert blender.ops.dressform.merge() == {"FINISHED"}
    image, own, depth = _merged(blender, scene, tmp_path / "a.exr")
    people, people_depth = _people(blender, parts, server)
    person = people[..., 3] > 0.3
    in_front = depth < people_depth - MARGIN
    far = _away_from_edges(in_front)

    red = np.abs(own[..., :3] - RED).max(axis=-1) < 0.01
    covered = person & red & in_front & far
    assert covered.sum() > 30, "the red cube must stand before the person"
    np.testing.assert_allclose(image[covered][:, :3], np.tile(RED, (covered.sum(), 1)), atol=2e-3)

    blue = np.abs(own[..., :3] - BLUE).max(axis=-1) < 0.01
    seen = person & blue & ~in_front & far
    assert seen.sum() > 30, "the person must stand before the blue cube"
    np.testing.assert_allclose(image[seen], _over(people, own)[seen], atol=2e-3)
    assert np.abs(image - own)[seen].max() > 0.05, "and be seen"

    nobody = people[..., 3] == 0
    np.testing.assert_allclose(image[nobody], own[nobody], atol=1e-4)
    # Nothing in between: every pixel is the person's, the scene's, or a mixture of both.
    expected = np.where(in_front[..., None], own, _over(people, own))
    np.testing.assert_allclose(image[far], expected[far], atol=2e-3)


def test_edges_of_what_stands_in_front_are_soft_and_without_fringe(
    blender, parts, server, stage_with_props, tmp_path
):
    """A red slab before the person, at a slant: no blue of the cube behind her round its edge."""
    stage = stage_with_props
    stage.front.rotation_euler, stage.front.location = (0, 0.3, 0), (0.1, -0.6, 1.0)
    stage.back.scale = (2, 0.1, 2)
    stage.scene.cycles.samples = 16
    stage.scene.dressform_merge.shadows = False
    blender.ops.dressform.merge()
    image, own, depth = _merged(blender, stage.scene, tmp_path / "a.exr")
    people, people_depth = _people(blender, parts, server)
    in_front = depth < people_depth - MARGIN
    edge = ~_away_from_edges(in_front, 1) & (people[..., 3] > 0.6)
    # How much of a pixel is red, where it is a mixture of the slab and the cube behind her.
    share = (own[..., 0] - BLUE[0]) / (RED[0] - BLUE[0])
    between = share[..., None] * np.array(RED) + (1 - share[..., None]) * np.array(BLUE)
    mixture = np.abs(own[..., :3] - between).max(axis=-1) < 0.02
    mixed = edge & mixture & (share > 0.15) & (share < 0.85)
    assert mixed.sum() > 5, "the scene's edge must be anti-aliased for this to be a test"
    # What the edge would be, were the person there for Cycles to see.
    behind = _over(people, np.broadcast_to(np.array([*BLUE, 1.0], np.float32), own.shape))
    slab = np.array([*RED, 1.0])
    ideal = share[..., None] * slab + (1 - share[..., None]) * behind
    either = np.where(in_front[..., None], own, _over(people, own))
    ours, hard = (float(np.abs(p - ideal)[mixed].mean()) for p in (image, either))
    print(f"edge: mean error {ours:.3f} over {mixed.sum()} px, a hard choice {hard:.3f}")
    assert ours < 0.75 * hard


def test_the_person_casts_a_shadow_but_the_stand_in_is_not_seen(
    blender, parts, server, stage_with_props, tmp_path
):
    stage = stage_with_props
    stage.camera.location.z, stage.camera.rotation_euler.x = 2.2, 1.2
    stage.front.hide_render = stage.back.hide_render = True
    scene = stage.scene
    scene.dressform_merge.shadows = False
    blender.ops.dressform.merge()
    _, bare, _ = _merged(blender, scene, tmp_path / "a.exr")
    scene.dressform_merge.shadows = True
    blender.ops.dressform.merge()
    image, grounded, depth = _merged(blender, scene, tmp_path / "b.exr")
    dark = grounded[..., 1] < 0.5 * bare[..., 1]
    assert 20 < dark.sum() < 1500, "the sun stands above: a small shadow round the feet"
    rows, columns = np.nonzero(dark)
    assert rows.mean() > 60
    assert 30 < columns.mean() < 66
    assert (depth[dark] > 3).all(), "what is dark is the floor, not a body"
    people, people_depth = _people(blender, parts, server)
    in_front = depth < people_depth - MARGIN
    expected = np.where(in_front[..., None], grounded, _over(people, grounded))
    shadow_seen = dark & _away_from_edges(in_front)
    assert shadow_seen.any()
    np.testing.assert_allclose(image[shadow_seen], expected[shadow_seen], atol=2e-3)
    # Above the horizon of the shadow nothing changed: nobody is in the scene's own picture.
    np.testing.assert_allclose(grounded[:40], bare[:40], atol=1e-2)


def test_both_depths_mean_the_same(blender, parts, server, stage_with_props, tmp_path):
    """Cycles' depth of the stand-in and ours of the same body: a wide, shifted, turned camera."""
    stage = stage_with_props
    for ob in stage.scene.objects:
        ob.hide_render = ob.type == "MESH" and ob.parent is None
    camera = stage.camera
    camera.data.lens, camera.data.shift_x, camera.data.shift_y = 18.0, 0.2, -0.1
    camera.location, camera.rotation_euler = (0.4, -1.2, 1.3), (1.4, 0.05, 0.3)
    stage.scene.view_layers[0].use_pass_z = True
    channels = _save(blender, stage.scene, tmp_path / "a.exr", "EXR")
    depth = _channel(channels, "ViewLayer", "Depth.Z")
    _, ours = _people(blender, parts, server)
    both = (depth < 5) & _away_from_edges(depth < 5, 2)
    difference = np.abs(depth - ours)[both]
    print(f"depth: median difference {np.median(difference) * 1000:.1f} mm over {both.sum()} px")
    assert both.sum() > 150
    assert np.median(difference) < 0.01


def test_a_transparent_film_keeps_its_alpha_and_its_soft_edges(
    blender, parts, server, stage_with_props, tmp_path
):
    stage = stage_with_props
    scene = stage.scene
    for ob in scene.objects:
        if ob.type == "MESH" and ob not in (stage.front, stage.back):
            ob.hide_render = True
    scene.render.film_transparent = True
    stage.front.rotation_euler = (0, 0.3, 0)
    scene.cycles.samples = 16
    stage.back.hide_render = True
    scene.dressform_merge.shadows = False
    blender.ops.dressform.merge()
    image, own, _ = _merged(blender, scene, tmp_path / "a.exr")
    people, _ = _people(blender, parts, server)
    assert (own[..., 3] == 0).any()
    soft = (own[..., 3] > 0.1) & (own[..., 3] < 0.9)
    assert (soft & (people[..., 3] > 0.3)).sum() > 5
    # The cube is before everything: its own alpha is all that counts, at its edges too, but for
    # a trace of smoothing in pixels that it fills just so.
    np.testing.assert_allclose(image, _over(own, people), atol=0.02)
    assert np.abs(image - _over(own, people))[soft].max() < 3e-3


def test_people_only_leave_holes_for_what_stands_in_front(
    blender, parts, server, stage_with_props, tmp_path
):
    scene = stage_with_props.scene
    scene.dressform_merge.output = "People"
    blender.ops.dressform.merge()
    image, _, depth = _merged(blender, scene, tmp_path / "a.exr")
    people, people_depth = _people(blender, parts, server)
    in_front = depth < people_depth - MARGIN
    far = _away_from_edges(in_front)
    assert (in_front & far & (people[..., 3] > 0.3)).any()
    np.testing.assert_allclose(image[far], np.where(in_front[..., None], 0, people)[far], atol=1e-4)


@pytest.mark.parametrize("transform", ["AgX", "Filmic"])
def test_colours_are_kept_under_another_view_transform(
    blender, parts, server, stage_with_props, tmp_path, transform
):
    scene = stage_with_props.scene
    for ob in scene.objects:
        if ob.type == "MESH":
            ob.hide_render = True
    scene.view_settings.view_transform, scene.view_settings.look = transform, "None"
    scene.cycles.samples = 1
    scene.render.film_transparent = True
    scene.dressform_merge.shadows = False
    blender.ops.dressform.merge()
    kept = _save(blender, scene, tmp_path / "a.png")
    scene.dressform_merge.colours = "LINEAR"
    blender.ops.dressform.merge()
    left = _save(blender, scene, tmp_path / "b.png")
    (reply,) = _asked(parts, blender, server)
    rgba = reply.arrays["rgba"].astype(np.float64) / 255
    solid = rgba[..., 3] > 0.5
    straight = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-9)
    assert solid.sum() > 20
    mistakes = [float(np.abs(p[..., :3] - straight)[solid].mean()) for p in (kept, left)]
    print(f"{transform}: mean difference kept {mistakes[0]:.4f}, left alone {mistakes[1]:.4f}")
    assert mistakes[0] < 0.003
    assert mistakes[1] > 2 * mistakes[0]


def _wires(tree):
    return sorted(
        (link.from_node.name, link.from_socket.name, link.to_node.name, link.to_socket.name)
        for link in tree.links
    )


def _artists_tree(blender, parts, scene):
    """Render layers → blur → output."""
    tree, _ = parts.merge_nodes._switched_on(scene)
    target = parts.merge_nodes._output_image(tree)
    layers = parts.merge_nodes._layers_node(tree, scene, "ViewLayer")
    blur = tree.nodes.new("CompositorNodeBlur")
    tree.links.new(layers.outputs["Image"], blur.inputs["Image"])
    tree.links.new(blur.outputs["Image"], target)
    return tree, layers, blur


def _state(blender, scene):
    meshes = [(o.name, o.hide_render, o.visible_camera) for o in scene.objects if o.type == "MESH"]
    layers = [(layer.name, layer.use_pass_z) for layer in scene.view_layers]
    groups, scenes = len(blender.data.node_groups), len(blender.data.scenes)
    return meshes, layers, scene.render.engine, scene.render.use_compositing, groups, scenes


@pytest.mark.parametrize("place", ["END", "START"])
def test_the_artists_nodes_stay_and_a_second_press_adds_nothing(
    blender, parts, stage_with_props, place
):
    scene = stage_with_props.scene
    tree, layers, blur = _artists_tree(blender, parts, scene)
    before, wires = _state(blender, scene), _wires(tree)
    scene.dressform_merge.place = place
    blender.ops.dressform.merge()
    node = parts.merge_nodes.group_of(tree, scene.dressform_merge.group)
    source = node.inputs["Scene"].links[0].from_node
    assert source == (blur if place == "END" else layers)
    goes_to = [link.to_node for link in node.outputs["Image"].links]
    assert (blur in goes_to) == (place == "START")
    assert node.inputs["People"].links[0].from_node.scene == scene.dressform_merge.people
    first, count = _wires(tree), len(tree.nodes)
    blender.ops.dressform.merge()
    assert _wires(tree) == first
    assert len(tree.nodes) == count
    assert len(blender.data.scenes) == 2
    blender.data.scenes.remove(scene.dressform_merge.people)  # by hand, in the outliner
    blender.ops.dressform.merge()
    assert _wires(tree) == first
    assert node.inputs["People"].links[0].from_node.scene == scene.dressform_merge.people
    blender.ops.dressform.unmerge()
    assert _wires(tree) == wires
    assert _state(blender, scene) == before


def test_unmerge_removes_the_nodes_of_a_scene_that_had_none(blender, parts, stage_with_props):
    scene = stage_with_props.scene
    before = _state(blender, scene)
    blender.ops.dressform.merge()
    assert parts.merge_nodes.in_use(scene)
    blender.ops.dressform.unmerge()
    assert _state(blender, scene) == before
    assert not parts.merge_nodes.in_use(scene)
    assert not blender.ops.dressform.unmerge.poll()


def test_nodes_that_were_switched_off_stay_out_of_the_picture(blender, parts, stage_with_props):
    scene = stage_with_props.scene
    tree, layers, blur = _artists_tree(blender, parts, scene)
    wires = _wires(tree)
    scene.render.use_compositing = False
    blender.ops.dressform.merge()
    node = parts.merge_nodes.group_of(tree, scene.dressform_merge.group)
    assert node.inputs["Scene"].links[0].from_node == layers
    assert not blur.outputs["Image"].is_linked
    blender.ops.dressform.unmerge()
    assert _wires(tree) == wires
    assert not scene.render.use_compositing


def test_two_view_layers_several_people_and_a_saved_file(
    blender, parts, server, stage_with_props, tmp_path
):
    """The layer that the window shows is merged; later frames and another session agree."""
    stage = stage_with_props
    scene = stage.scene
    scene.view_layers.new("Other")
    blender.ops.dressform.add_person(avatar="ben")
    ben = blender.context.object
    ben.location = (0.4, 0.5, 0)
    blender.ops.dressform.apply_motion(motion="wave")
    blender.ops.dressform.merge()
    state = scene.dressform_merge
    assert state.layer == blender.context.view_layer.name == "ViewLayer"
    assert not scene.view_layers["Other"].use_pass_z
    people = {ob.name for ob in state.people.objects if ob.type == "ARMATURE"}
    assert people == {stage.rig.name, ben.name}
    scene.view_layers["Other"].use = False
    scene.cycles.samples = 1
    scene.frame_start, scene.frame_end = 40, 41
    scene.render.use_file_extension = True
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode = "PNG", "RGBA"
    scene.render.filepath = str(tmp_path / "f_")
    blend = str(tmp_path / "a.blend")
    blender.ops.wm.save_as_mainfile(filepath=blend)
    blender.ops.render.render(animation=True)
    blender.ops.wm.open_mainfile(filepath=blend)
    scene = blender.context.scene
    assert parts.merge.is_merged(scene)
    scene.frame_set(41)
    scene.render.use_file_extension = False
    single = _save(blender, scene, tmp_path / "single.png")
    image = blender.data.images.load(str(tmp_path / "f_0041.png"))
    values = np.empty(96 * 96 * 4, np.float32)
    image.pixels.foreach_get(values)
    np.testing.assert_array_equal(values.reshape(96, 96, 4)[::-1], single)


def test_border_camera_and_size_follow_the_shown_scene(
    blender, parts, server, stage_with_props, tmp_path
):
    scene = stage_with_props.scene
    scene.dressform_merge.shadows = False
    blender.ops.dressform.merge()
    whole = _save(blender, scene, tmp_path / "a.png")
    render = scene.render
    render.use_border, render.use_crop_to_border = True, True
    render.border_min_x, render.border_max_x = 0.3, 0.71
    render.border_min_y, render.border_max_y = 0.21, 0.93
    part = _save(blender, scene, tmp_path / "b.png")
    rows, columns = slice(96 - 89, 96 - 20), slice(28, 68)
    assert part.shape == whole[rows, columns].shape
    people, _ = _people(blender, parts, server)
    seen = people[rows, columns, 3] > 0.3
    # Cycles' own noise differs with the border; the people must not be displaced.
    assert np.abs(part - whole[rows, columns])[seen].mean() < 0.01
    render.use_border = False
    render.resolution_x, render.resolution_percentage = 120, 50
    assert _save(blender, scene, tmp_path / "c.png").shape == (48, 60, 4)


def test_what_is_skinned_is_the_person_and_what_hangs_on_a_bone_is_a_prop(
    blender, parts, stage_with_props
):
    stage = stage_with_props
    (stand_in,) = parts.merge.skinned_meshes(stage.rig)
    coat, hat = _cube(blender, (0, 0, 1), (0.2, 0.2, 0.2), RED), stage.front
    coat.modifiers.new("Armature", "ARMATURE").object = stage.rig
    hat.parent, hat.parent_type, hat.parent_bone = stage.rig, "BONE", "head"
    blender.ops.dressform.merge()
    assert (coat.hide_render, coat.visible_camera) == (False, False), "it casts the shadow"
    assert stand_in.hide_render, "the bare body does not, where there are clothes"
    assert (hat.hide_render, hat.visible_camera) == (False, True)
    blender.ops.dressform.unmerge()
    assert (stand_in.hide_render, coat.visible_camera) == (False, True)


def test_someone_new_or_deleted_is_noticed(blender, parts, server, stage_with_props, tmp_path):
    stage = stage_with_props
    scene = stage.scene
    blender.ops.dressform.merge()
    layer = blender.context.view_layer
    assert parts.merge.not_merged_yet(scene, layer) == []
    blender.ops.dressform.add_person(avatar="ben")
    ben = blender.context.object
    assert parts.merge.not_merged_yet(scene, layer) == [ben.name]
    blender.ops.dressform.merge()
    assert parts.merge.not_merged_yet(scene, layer) == []
    # Deleting from the shown scene leaves the object in the people's: it must not be rendered.
    for ob in (stage.rig, *stage.rig.children, ben, *ben.children):
        for collection in ob.users_collection:
            if collection in (scene.collection, *scene.collection.children_recursive):
                collection.objects.unlink(ob)
    assert ben.name in scene.dressform_merge.people.objects
    scene.cycles.samples = 1
    image, own, _ = _merged(blender, scene, tmp_path / "a.exr")
    np.testing.assert_allclose(image, own, atol=1e-6)


def test_eevee_gets_the_same_tree(blender, parts, stage_with_props):
    scene = stage_with_props.scene
    newer = blender.app.version >= (5, 0, 0)
    scene.render.engine = "BLENDER_EEVEE" if newer else "BLENDER_EEVEE_NEXT"
    assert blender.ops.dressform.merge() == {"FINISHED"}
    tree = parts.merge_nodes.compositor(scene)
    node = parts.merge_nodes.group_of(tree, scene.dressform_merge.group)
    assert [(socket.name, len(socket.links)) for socket in node.inputs] == [
        ("Scene", 1),
        ("Scene Depth", 1),
        ("People", 1),
        ("People Depth", 1),
    ]
    assert not blender.ops.dressform.add_shadow_catcher.poll()


def test_what_is_missing_is_said(blender, parts, stage_with_props):
    scene = stage_with_props.scene
    camera = scene.camera
    scene.camera = None
    assert "camera" in str(parts.merge.why_not(scene))
    assert not blender.ops.dressform.merge.poll()
    scene.camera = camera
    scene.render.engine = "BLENDER_WORKBENCH"
    assert "Cycles or EEVEE" in str(parts.merge.why_not(scene))
    scene.render.engine = "DRESSFORM"
    stage_with_props.rig.users_collection[0].hide_render = True
    layer = blender.context.view_layer
    if layer.layer_collection.collection != stage_with_props.rig.users_collection[0]:
        with pytest.raises(RuntimeError, match=r"no person or portrait is visible.*scene\.merge"):
            blender.ops.dressform.merge()
    stage_with_props.rig.users_collection[0].hide_render = False
    # A scene of people alone renders with Dressform; merging makes it a Cycles scene.
    assert blender.ops.dressform.merge() == {"FINISHED"}
    assert scene.render.engine == "CYCLES"
    blender.ops.dressform.unmerge()
    assert scene.render.engine == "DRESSFORM"


def test_a_shadow_catcher_shows_only_the_shadow(blender, parts, server, stage_with_props, tmp_path):
    stage = stage_with_props
    scene = stage.scene
    for ob in scene.objects:
        if ob.type == "MESH" and ob.parent is None:
            ob.hide_render = True
    stage.camera.location.z, stage.camera.rotation_euler.x = 2.2, 1.2
    blender.ops.dressform.add_shadow_catcher()
    blender.context.view_layer.objects.active = stage.rig
    assert scene.render.film_transparent
    blender.ops.dressform.merge()
    image, own, _ = _merged(blender, scene, tmp_path / "a.exr")
    shadow = own[..., 3] > 0.3
    assert 5 < shadow.sum() < 1500
    assert own[shadow][:, :3].max() < 0.1, "a shadow is black with alpha"
    assert (image[shadow][:, 3] >= own[shadow][:, 3] - 1e-4).all()
    assert (image[..., 3] == 0).any(), "the filmed background shows elsewhere"
