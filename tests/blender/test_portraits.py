"""Portraits in a real Blender, painted by a server whose heads are eggs (portrait_handlers.py)."""

from __future__ import annotations

import os
import subprocess
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.blender.test_render import _combined, _save

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE = 96
SKIN, HAIR, CLOTH = 1, 15, 14


@pytest.fixture(scope="module")
def eggs(parts, server_python, tmp_path_factory):
    """A server of eggs with two portraits and two toy avatars."""
    folder = tmp_path_factory.mktemp("eggs") / "library"
    command = [server_python, "-m", "tests.blender.make_library", str(folder), "--portraits"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    started = _serve(parts, server_python, folder, "tests.blender.portrait_handlers")
    yield SimpleNamespace(
        endpoint=started.endpoint, folder=folder, data=Path(os.environ["DRESSFORM_DATA"])
    )
    started.stop()


def _serve(parts, server_python, folder, handlers):
    local = import_module(parts.client.__name__.rpartition(".")[0] + ".local_server")
    os.environ["PYTHONPATH"] = str(ROOT)  # so that workers find the handlers
    return local.LocalServer.start(
        [server_python, "-m", "scripts.cli", "serve"],
        library=folder,
        log=folder.parent / "server.log",
        cwd=ROOT,
        options=("--handlers", handlers, "--device", "cpu"),
    )


@pytest.fixture
def stage(blender, scene, parts, eggs, monkeypatch):
    """A scene of 96² pixels with one portrait, Egg, and a camera in front of it."""
    monkeypatch.setenv("DRESSFORM_ENDPOINT", eggs.endpoint)
    parts.error_log.clear()
    blender.ops.dressform.add_portrait(portrait="portrait-egg")
    ob = blender.context.object
    parts.staging.settings_for_film(scene, (SIZE, SIZE), 24, (1, 4))
    camera = blender.data.objects.new("Camera", blender.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.data.lens = 85.0
    camera.location, camera.rotation_euler = (0.0, -1.2, 0.0), (np.pi / 2, 0.0, 0.0)
    blender.context.view_layer.update()
    return SimpleNamespace(scene=scene, ob=ob, camera=camera, state=ob.dressform_portrait)


def _request(blender, parts, passes=("rgba", "depth"), priority="final"):
    """What a frame asks for the scene's only portrait."""
    depsgraph = blender.context.evaluated_depsgraph_get()
    (subject,) = parts.portraits.visible_subjects(depsgraph)
    return subject.request(parts.cameras.scene_camera(depsgraph), passes, priority, "")


def _silhouette(blender, parts, ob, size=SIZE):
    """The pixels whose centres lie within the projection of the object's mesh: by its triangles."""
    depsgraph = blender.context.evaluated_depsgraph_get()
    camera = parts.cameras.scene_camera(depsgraph)
    shown = ob.evaluated_get(depsgraph)
    mesh = shown.data
    vertices = np.empty(len(mesh.vertices) * 3)
    mesh.vertices.foreach_get("co", vertices)
    world = np.array(shown.matrix_world)
    placed = vertices.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]
    up = placed @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])  # Z up to Y up
    pixels = camera.project(up)[:, :2]
    faces = np.empty(len(mesh.polygons) * 3, np.int32)
    mesh.polygons.foreach_get("vertices", faces)
    inside = np.zeros((size, size), bool)
    for triangle in pixels[faces.reshape(-1, 3)]:
        low = np.floor(triangle.min(0) - 1).astype(int).clip(0, size)
        high = np.ceil(triangle.max(0) + 1).astype(int).clip(0, size)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        signs = []
        for a, b in zip(triangle, np.roll(triangle, -1, 0), strict=True):
            signs.append((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) >= 0)
        within = np.all(signs, 0) | ~np.any(signs, 0)
        inside[low[1] : high[1], low[0] : high[0]] |= within
    return inside


def test_a_portrait_is_an_object_that_shows_its_labels(blender, parts, stage):
    ob, mesh = stage.ob, stage.ob.data
    assert parts.portraits.is_portrait(ob)
    assert stage.scene.render.engine == "DRESSFORM"
    assert stage.state.baked
    assert stage.state.direction_names == "wider\ntaller"
    labels = np.empty(len(mesh.polygons), np.int32)
    mesh.attributes["label"].data.foreach_get("value", labels)
    assert set(labels) == {SKIN, HAIR}
    colors = np.empty(len(mesh.loops) * 4, np.float32)
    attribute = mesh.color_attributes.active_color
    assert (attribute.name, attribute.domain) == ("Labels", "CORNER")
    attribute.data.foreach_get("color_srgb", colors)
    shown = np.round(colors.reshape(-1, 3, 4)[:, 0, :3] * 255).astype(np.uint8)
    np.testing.assert_array_equal(parts.labels.colors_to_labels(shown[None])[0], labels)
    # Head space looks along +Z, Blender's front is −Y: the skin is in front, up is up.
    middles = np.array([p.center for p in mesh.polygons])
    assert middles[labels == SKIN, 1].mean() < -0.02 < 0.02 < middles[labels == HAIR, 1].mean()
    assert abs(np.ptp(middles[:, 2]) - 0.24) < 0.01


def test_the_placeholder_is_a_head_that_looks_forward(blender, parts, stage):
    blender.ops.dressform.add_portrait(portrait="portrait-egg", stand_in=False)
    ob = blender.context.object
    assert not ob.dressform_portrait.baked
    assert len(ob.data.polygons) > 500
    points = np.array([v.co for v in ob.data.vertices])
    assert np.all(np.abs(points) < 0.15)
    nose = points[points[:, 1].argmin()]
    assert abs(nose[0]) < 0.01
    assert abs(nose[2]) < 0.05
    assert ob.data.validate(verbose=False) is False


def test_frame_and_stand_in_agree_wherever_the_object_is(blender, parts, stage, tmp_path):
    ob, scene = stage.ob, stage.scene
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.dressform.use_masks = layer.dressform.use_labels = True
    parent = blender.data.objects.new("Parent", None)
    scene.collection.objects.link(parent)
    parent.rotation_euler, parent.location = (0.2, -0.3, 2.1), (0.4, 0.1, 0.3)
    ob.parent = parent
    ob.location, ob.rotation_euler, ob.scale = (0.05, 0.02, -0.03), (0.5, 0.4, 0.9), (1.7,) * 3
    target = blender.data.objects.new("Target", None)
    scene.collection.objects.link(target)
    target.location = (0.42, 0.05, 0.28)
    track = stage.camera.constraints.new("TRACK_TO")
    track.target = target
    stage.camera.location = (1.2, -2.4, 0.9)
    stage.camera.data.lens, stage.camera.data.shift_x = 120.0, 0.07
    blender.context.view_layer.update()
    channels = _save(blender, scene, tmp_path / "a.exr", "EXR")
    seen = _combined(channels)[..., 3] > 0.5
    stands = _silhouette(blender, parts, ob)
    assert 200 < seen.sum() < SIZE * SIZE / 2
    both = (seen & stands).sum() / (seen | stands).sum()
    assert both > 0.97, both
    np.testing.assert_array_equal(channels["ViewLayer.Mask Foreground.X"] > 0.5, seen)
    labels = channels["ViewLayer.Labels.X"]
    np.testing.assert_array_equal(labels > 0, seen)
    assert set(np.unique(labels)) == {0.0, float(SKIN), float(HAIR)}
    # Depth is in the scene's metres: between the nearest and the farthest vertex.
    depth = channels["ViewLayer.Depth.Z"]
    camera = np.array(stage.camera.matrix_world)
    points = np.array([ob.matrix_world @ v.co for v in ob.data.vertices])
    along = (points - camera[:3, 3]) @ -camera[:3, 2]
    assert along.min() - 1e-3 < depth[seen].min() < depth[seen].max() < along.max()
    assert (depth[~seen] == np.float32(1e10)).all()


def test_looks_and_their_keys_reach_the_request(blender, parts, stage):
    ob, state, scene = stage.ob, stage.state, stage.scene
    assert _request(blender, parts).look == parts.portrait_contract.PortraitLook(
        portrait="portrait-egg"
    )
    edits, keys = parts.portrait_edits, parts.portrait_keys
    edits.add_seed_head(ob, 41)
    state.sources[0].weight = 1.0
    state.sources[1].weight = 0.25
    hair = state.regions[HAIR]
    hair.first.kind, hair.first.seed = "SEED", 5
    hair.second.kind, hair.second.seed = "SEED", 9
    state.directions = (1.5, 0, -0.5, 0, 0, 0, 0, 0)
    keyed = keys.key_look(ob, 1)
    assert keyed > 12
    state.sources[0].weight, state.sources[1].weight, state.sources[1].seed = 0.0, 1.0, 77
    hair.mix, hair.first.seed = 1.0, 6
    keys.key_look(ob, 5)
    scene.frame_set(1)
    first = _request(blender, parts).look
    assert [(s.seed, round(w, 6)) for s, w in first.shape.blend] == [(None, 0.8), (41, 0.2)]
    np.testing.assert_allclose(first.shape.directions, (1.5, 0.0, -0.5))
    assert {s.seed for s, _ in first.styles[HAIR].blend} == {5}
    scene.frame_set(3)
    middle = _request(blender, parts).look
    weights = dict(middle.styles[HAIR].blend)
    # Seeds hold until their next key; what may be between is between.
    assert [s.seed for s in weights] == [5, 9]
    assert 0.3 < weights[parts.portrait_contract.Source(seed=9)] < 0.7
    assert [s.seed for s, _ in middle.shape.blend] == [None, 41]
    assert sum(w for _, w in middle.shape.blend) == pytest.approx(1.0, abs=1e-6)
    scene.frame_set(5)
    last = _request(blender, parts).look
    assert [(s.seed, w) for s, w in last.shape.blend] == [(77, 1.0)]
    assert [s.seed for s, _ in last.styles[HAIR].blend] == [9]


def test_a_linked_group_changes_as_one_and_unlinked_regions_go_their_own_way(parts, stage):
    state, edits = stage.state, parts.portrait_edits
    complexion = parts.labels.LABEL_GROUPS["Complexion"]
    state.regions[SKIN].first.kind, state.regions[SKIN].first.seed = "SEED", 3
    look = parts.portraits.read_look(stage.ob)
    assert {int(label) for label in look.styles} == {int(label) for label in complexion}
    assert {look.styles[label].blend[0][0].seed for label in look.styles} == {3}
    state.groups["Complexion"].linked = False  # begins with what it showed
    assert parts.portraits.read_look(stage.ob) == look
    state.regions[9].first.seed = 8
    assert parts.portraits.read_look(stage.ob).styles[9].blend[0][0].seed == 8
    assert parts.portraits.read_look(stage.ob).styles[SKIN].blend[0][0].seed == 3
    # Locks keep regions from chance, one by one and as a group.
    state.regions[9].lock = state.regions[HAIR].lock = True
    before = parts.portraits.read_look(stage.ob).styles
    changed = edits.randomise_styles(stage.ob, range(17))
    after = parts.portraits.read_look(stage.ob).styles
    assert changed == 15
    assert after[9] == before[9]
    assert HAIR not in after
    assert after[CLOTH].blend[0][0].seed is not None


def test_animated_frames_are_those_of_split_ranges_and_change(blender, parts, stage, tmp_path):
    scene, state = stage.scene, stage.state
    parts.portrait_edits.add_seed_head(stage.ob, 11)
    parts.portrait_keys.key_blend(stage.ob, 0, 1, (1, 6))
    state.regions[SKIN].first.kind, state.regions[SKIN].first.seed = "SEED", 3
    state.regions[SKIN].second.kind, state.regions[SKIN].second.seed = "SEED", 4
    for frame, mix in ((1, 0.0), (6, 1.0)):
        state.regions[SKIN].mix = mix
        parts.portrait_keys.key(stage.ob, f"regions[{SKIN}].mix", frame)
    scene.render.use_file_extension = True
    for name, first, last in (("whole", 1, 6), ("late", 4, 6), ("early", 1, 3)):
        scene.frame_start, scene.frame_end = first, last
        scene.render.filepath = str(tmp_path / name / "f_")
        blender.ops.render.render(animation=True)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert len(whole) == 6
    assert len(set(whole.values())) == 6
    for name in ("late", "early"):
        for path in (tmp_path / name).iterdir():
            assert path.read_bytes() == whole[path.name], path.name


def test_portraits_and_people_cover_each_other_by_depth(blender, parts, stage, tmp_path):
    blender.ops.dressform.add_person(avatar="ada")
    rig = blender.context.object
    rig.location = (0.0, 0.6, -1.45)
    layer = stage.scene.view_layers[0]
    layer.dressform.use_labels = layer.use_pass_z = True
    stage.camera.data.lens = 60.0
    blender.context.view_layer.update()
    depsgraph = blender.context.evaluated_depsgraph_get()
    names = {subject.name for subject in parts.portraits.visible_subjects(depsgraph)}
    assert names == {"Egg", "Ada"}
    front = _save(blender, stage.scene, tmp_path / "a.exr", "EXR")
    rig.hide_render = True
    alone = _save(blender, stage.scene, tmp_path / "b.exr", "EXR")
    egg = _combined(alone)[..., 3] > 0.5
    np.testing.assert_allclose(_combined(front)[egg], _combined(alone)[egg], atol=1e-6)
    assert (_combined(front)[..., 3] > 0.2).sum() > egg.sum()
    rig.hide_render, rig.location = False, (0.0, -0.4, -1.45)
    behind = _save(blender, stage.scene, tmp_path / "c.exr", "EXR")
    covered = behind["ViewLayer.Depth.Z"] < front["ViewLayer.Depth.Z"] - 0.1
    assert (covered & egg).sum() > 10
    assert (behind["ViewLayer.Labels.X"][covered & egg] == 0).all()


def test_painted_labels_reach_the_pixels_from_where_they_were_painted(
    blender, parts, stage, tmp_path, capfd
):
    scene, state = stage.scene, stage.state
    own = _save(blender, scene, tmp_path / "own.png")
    assert blender.ops.dressform.paint_labels() == {"FINISHED"}
    image = state.painted
    assert tuple(image.size) == (SIZE, SIZE)
    np.testing.assert_array_equal(_save(blender, scene, tmp_path / "same.png"), own)
    # A hat of cloth, painted over the upper part of the picture.
    pixels = np.empty(SIZE * SIZE * 4, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(SIZE, SIZE, 4)
    pixels[70:80, 30:60, :3] = parts.labels.PALETTE[CLOTH] / np.float32(255)
    image.pixels.foreach_set(pixels.ravel())
    layer = scene.view_layers[0]
    layer.dressform.use_labels = True
    painted = _save(blender, scene, tmp_path / "painted.exr", "EXR")["ViewLayer.Labels.X"]
    assert (painted[SIZE - 80 : SIZE - 70, 30:60] == CLOTH).all()
    assert _request(blender, parts).labels is not None
    # The viewport's camera crops and zooms the same view; the map follows.
    scene.render.resolution_percentage = 50
    half = _request(blender, parts).labels
    assert half.shape == (SIZE // 2, SIZE // 2)
    assert (half[(SIZE - 78) // 2 : (SIZE - 72) // 2, 16:29] == CLOTH).all()
    scene.render.resolution_percentage = 100
    # From elsewhere the head's own labels show, and that is said.
    stage.camera.location.x = 0.3
    assert _request(blender, parts).labels is None
    capfd.readouterr()
    blender.ops.render.render()
    assert "painted for another view" in "".join(capfd.readouterr())
    stage.camera.location.x = 0.0
    # Soft edges count as the nearest label, and that is said.
    pixels[10, 10, :3] = (0.93, 0.7, 0.6)
    image.pixels.foreach_set(pixels.ravel())
    blender.ops.render.render()
    assert "1 painted pixels have colours of no label" in "".join(capfd.readouterr())
    assert _request(blender, parts).labels[SIZE - 11, 10] == SKIN
    assert blender.ops.dressform.clear_painted() == {"FINISHED"}
    assert _request(blender, parts).labels is None
    assert not blender.ops.dressform.clear_painted.poll()
    assert image.name in blender.data.images


def test_the_palette_holds_the_labels_colours_in_blenders_own_space(blender, parts, stage):
    blender.ops.dressform.paint_labels()
    palette = stage.scene.tool_settings.image_paint.palette
    linear = palette.colors[0].bl_rna.properties["color"].subtype == "COLOR"
    for entry, color in zip(palette.colors, parts.labels.PALETTE, strict=True):
        values = np.array(entry.color, np.float64)
        shown = parts.pixels.srgb_from_linear(values) if linear else values
        np.testing.assert_allclose(shown * 255, color, atol=0.1)


def test_a_saved_file_opens_with_its_looks(blender, parts, stage, tmp_path):
    ob, state = stage.ob, stage.state
    blender.ops.dressform.add_portrait(portrait="portrait-oval", stand_in=False)
    other = blender.context.object
    other.dressform_portrait.regions[HAIR].first.kind = "SEED"
    other.dressform_portrait.regions[HAIR].first.seed = 21
    other.dressform_portrait.directions[0] = 1.0
    blender.context.view_layer.objects.active = ob
    blender.ops.dressform.copy_styles(source=f"object:{other.name}", group="Hair")
    blender.ops.dressform.add_portrait_head(source=f"object:{other.name}")
    assert [source.kind for source in state.sources] == ["OWN", "STORED"]
    other.hide_render = other.hide_viewport = True
    state.sources[1].weight = 0.7
    parts.portrait_keys.key_look(ob, 2)
    blender.ops.dressform.paint_labels()
    # Unpacked changes would be lost: saving packs them.
    state.painted.pixels[0] = 0.0
    before = _request(blender, parts)
    params, arrays = before.to_wire()
    assert arrays["codes"].shape == (1, 3)
    assert arrays["styles"].shape == (1, 17, 4)
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "s.blend"))
    blender.ops.wm.open_mainfile(filepath=str(tmp_path / "s.blend"))
    again, more = _request(blender, parts).to_wire()
    assert again == params
    assert sorted(more) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(more[name], array, err_msg=name)
    # The copied style is the other portrait's, and this one no longer needs it.
    blender.data.objects.remove(blender.data.objects["Oval"])
    _save(blender, blender.context.scene, tmp_path / "a.png")


def test_more_like_this_offers_six_and_takes_one(blender, parts, stage):
    styles = import_module(
        parts.portraits.__name__.replace("scene.portraits", "ui.portrait_styles")
    )
    assert not blender.ops.dressform.take_choice.poll()
    stage.state.regions[2].lock = True  # leads "Eyes & mouth"
    blender.ops.dressform.more_like_this(what="")
    choices = styles.choices_for(stage.ob, head=False)
    assert choices.images.shape == (6, 128, 128, 3)
    assert len({image.tobytes() for image in choices.images}) == 6
    assert 2 not in choices.samples.labels
    blender.ops.dressform.take_choice(index=4)
    look = parts.portraits.read_look(stage.ob)
    np.testing.assert_allclose(look.style_rows[0][HAIR], choices.samples.samples.styles[4][HAIR])
    assert 2 not in look.styles
    blender.ops.dressform.more_like_this(what="Head")
    head = styles.choices_for(stage.ob, head=True)
    blender.ops.dressform.take_choice(index=1)
    look = parts.portraits.read_look(stage.ob)
    assert len(look.shape.blend) == 1
    np.testing.assert_allclose(look.codes[0], head.samples.samples.codes[1])
    blender.ops.dressform.reset_styles(group="")
    assert not parts.portraits.read_look(stage.ob).styles


def test_heads_are_added_drawn_and_removed(blender, parts, stage):
    ops, state = blender.ops.dressform, stage.state
    ops.add_seed_head(seed=7)
    ops.add_basis_head(head="h0001")
    assert [s.kind for s in state.sources] == ["OWN", "SEED", "HEAD"]
    look = parts.portraits.read_look(stage.ob)
    assert [s.head for s, _ in look.shape.blend] == ["", "", "h0001"]
    assert [w for _, w in look.shape.blend] == pytest.approx([0.5, 0.25, 0.25])
    for source in state.sources:
        source.weight = 0.0
    with pytest.raises(RuntimeError, match=r"weights of Egg's heads are all 0.*raise the weight"):
        blender.ops.render.render()
    ops.randomise_head()
    assert [s.weight for s in state.sources] == [0.0, 1.0, 0.0]
    ops.remove_head(index=1)
    ops.remove_head(index=1)
    assert not ops.remove_head.poll()
    assert [s.weight for s in state.sources] == [1.0]
    for _ in range(5):
        ops.add_seed_head()
    with pytest.raises(RuntimeError, match="at most 6 heads"):
        ops.add_seed_head()


def test_a_photograph_becomes_a_portrait_in_the_gallery(blender, parts, eggs, stage, tmp_path):
    photo = tmp_path / "jo_doe.png"
    image = blender.data.images.new("p", 48, 40)
    image.pixels.foreach_set(np.tile(np.array([1.0, 0.5, 0.25, 1.0], np.float32), 48 * 40))
    image.filepath_raw, image.file_format = str(photo), "PNG"
    image.save()
    assert blender.ops.dressform.portrait_from_photo(filepath=str(photo)) == {"FINISHED"}
    entry = parts.library.known.portrait("portrait-jo-doe")
    assert entry.name == "Jo Doe"
    assert blender.context.scene.dressform.portrait == "portrait-jo-doe"
    assert (eggs.data / "library" / "portrait-jo-doe" / "model.json").exists()
    blender.ops.dressform.add_portrait(portrait="portrait-jo-doe", stand_in=False)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(RuntimeError, match=r"text\.png (cannot be read as a|holds no) picture"):
        blender.ops.dressform.portrait_from_photo(filepath=str(tmp_path / "text.png"))
    image.pixels.foreach_set(np.zeros(48 * 40 * 4, np.float32))
    image.save()
    with pytest.raises(RuntimeError, match="no face was found"):
        blender.ops.dressform.portrait_from_photo(filepath=str(photo), name="Nobody")


def test_what_cannot_be_rendered_is_named(blender, parts, eggs, stage, monkeypatch, server_python):
    stage.ob.scale = (1, 2, 1)
    with pytest.raises(RuntimeError, match="Egg is sheared or scaled unevenly"):
        blender.ops.render.render()
    stage.ob.scale = (1, 1, 1)
    stage.state.portrait = "portrait-nobody"
    with pytest.raises(RuntimeError, match=r"Egg: .*model\.unknown"):
        blender.ops.render.render()
    assert parts.error_log.entries()[0].code == "model.unknown"
    with pytest.raises(RuntimeError, match="choose one of: portrait-egg"):
        blender.ops.dressform.add_portrait(portrait="portrait-nobody")
    stage.state.portrait = "portrait-egg"
    # A server that is older than portraits.
    older = _serve(parts, server_python, eggs.folder, "tests.server.handlers_for_tests")
    try:
        monkeypatch.setenv("DRESSFORM_ENDPOINT", older.endpoint)
        with pytest.raises(RuntimeError, match=r"Egg: .*request\.operation"):
            blender.ops.render.render()
    finally:
        older.stop()
    blender.context.view_layer.objects.active = None
    for name in ("key_look", "paint_labels", "more_like_this", "add_seed_head"):
        assert not getattr(blender.ops.dressform, name).poll()


def test_the_headless_script_makes_camera_style_and_head_change(
    blender, parts, headless, eggs, tmp_path
):
    def render(words):
        return headless("render_portrait.py", words, eggs.endpoint)

    job = ["--portrait", "portrait-egg", "--camera", "sway", "--size", "64", "--styles", "hair=3"]
    job += ["--second-styles", "hair=8,upper-lip=2", "--style-frames", "2-3"]
    job += ["--second-head", "seed:5", "--head-frames", "3-5"]
    whole = render([*job, "--frames", "1-6", "--out", str(tmp_path / "whole")])
    assert whole.returncode == 0, whole.stdout + whole.stderr
    frames = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert sorted(frames) == [f"frame_{index:04d}.png" for index in range(1, 7)]
    assert len(set(frames.values())) == 6
    part = [*job, "--frames", "4-5", "--shot", "1-6", "--out", str(tmp_path / "part")]
    for said in ("", "already there"):
        split = render(part)
        assert split.returncode == 0, split.stderr
        assert said in split.stdout
        for index in (4, 5):
            name = f"frame_{index:04d}.png"
            assert (tmp_path / "part" / name).read_bytes() == frames[name], name
    wrong = render([*part, "--styles", "elbow=3"])
    assert wrong.returncode == 1
    assert "'elbow' is no region" in wrong.stderr
    assert "choose of all, " in wrong.stderr
    unknown = render(["--portrait", "nobody", "--out", str(tmp_path / "o")])
    assert unknown.returncode == 1
    assert "choose one of: portrait-egg" in unknown.stderr


def test_the_packages_digest_is_stamped_into_the_image(blender, parts, stage, tmp_path):
    _save(blender, stage.scene, tmp_path / "a.png")
    digest = parts.library.known.portrait("portrait-egg").digest
    assert digest
    assert digest.encode() in (tmp_path / "a.png").read_bytes()


def test_viewports_ask_for_baked_heads_and_final_frames_for_marched_ones(blender, parts, stage):
    assert _request(blender, parts).geometry == "marched"
    assert _request(blender, parts, priority="interactive").geometry == "baked"
    stage.state.backdrop = True
    assert _request(blender, parts).background


def test_a_portrait_merges_with_cycles_and_unmerges(blender, parts, stage, tmp_path):
    scene, ob = stage.scene, stage.ob
    alone = _save(blender, scene, tmp_path / "alone.png")
    wall = blender.data.meshes.new("Wall")
    wall.from_pydata([(-9, 0, -9), (9, 0, -9), (9, 0, 9), (-9, 0, 9)], [], [(0, 1, 2, 3)])
    behind = blender.data.objects.new("Wall", wall)
    behind.location.y = 1.0
    scene.collection.objects.link(behind)
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.device = 1, "CPU"
    scene.cycles.use_denoising = False
    seen = [ob.visible_camera, ob.visible_shadow, ob.hide_render]
    assert blender.ops.dressform.merge() == {"FINISHED"}
    assert [ob.visible_camera, ob.visible_shadow, ob.hide_render] == [False, True, False]
    both = _save(blender, scene, tmp_path / "both.png")
    assert (both[..., 3] == 1.0).all()
    inside = alone[..., 3] == 1.0
    core = inside.copy()  # its edges are smoothed by the merge
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            core &= np.roll(inside, step, axis)
    assert core.sum() > 0.6 * inside.sum()
    # The egg in its own colours; round it the wall, unlit and black.
    np.testing.assert_allclose(both[core][:, :3], alone[core][:, :3], atol=2.5 / 255)
    assert both[~inside][:, :3].mean() < alone[core][:, :3].mean() / 4
    scene.dressform_merge.shadows = False
    blender.ops.dressform.merge()
    assert not ob.visible_shadow
    blender.ops.dressform.unmerge()
    assert [ob.visible_camera, ob.visible_shadow, ob.hide_render] == seen
