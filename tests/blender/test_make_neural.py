"""From a character in a .blend to a posed avatar in the gallery, interrupted on the way."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from tests.blender.conftest import EXTENSION

TINY = {"frames": 6, "held_out": 2, "size": 64, "samples": 1, "steps": 4}
TRIAL = {"recipe": "make-neural-trial"}


@pytest.fixture(scope="session")
def neural(parts) -> SimpleNamespace:
    """The extension's modules that this is about."""
    names = ("make_neural", "neural_character", "ui.make_neural", "ui.gallery", "capture.launch")
    found = {
        name.replace(".", "_"): importlib.import_module(f"{EXTENSION}.{name}") for name in names[:4]
    }
    return SimpleNamespace(**found)


@pytest.fixture
def character(blender, parts, scene, server, tmp_path):
    """A .blend with a person in a red suit of her own, saved and opened again."""
    blender.ops.dressform.add_person(avatar="ada")
    rig = blender.context.object
    rig.name = "Nova"
    stand_in = next(ob for ob in rig.children if ob.type == "MESH")
    suit = stand_in.copy()
    suit.data = stand_in.data.copy()
    suit.name = "Suit"
    suit.data.materials.clear()
    red = blender.data.materials.new("Red")
    if red.node_tree is None:
        red.use_nodes = True
    red.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0.7, 0.05, 0.05, 1)
    suit.data.materials.append(red)
    scene.collection.objects.link(suit)
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "nova.blend"))
    blender.ops.wm.open_mainfile(filepath=str(tmp_path / "nova.blend"))
    scene = blender.context.scene
    rig = scene.objects["Nova"]
    blender.context.view_layer.objects.active = rig
    return SimpleNamespace(scene=scene, rig=rig, suit=scene.objects["Suit"])


def select(blender, ob) -> None:
    blender.context.view_layer.objects.active = ob


def test_a_character_becomes_a_posed_avatar_in_the_gallery(
    blender, parts, neural, server, character, tmp_path
):
    """Stopped after two frames, then continued by the operator: nothing is rendered twice."""
    nc, mn = neural.neural_character, neural.make_neural
    select(blender, character.suit)
    assert nc.rig_of(blender.context.object) == character.rig
    assert nc.why_not(character.scene, blender.context.object) is None
    order = mn.Order(name="Nova", avatar="avatar-nova", rig="Nova", **TINY, **TRIAL)
    folder = nc.work_folder(order.avatar)
    nc.begin(folder)
    told = []
    with pytest.raises(parts.errors.Cancelled):
        mn.make_neural(
            order,
            folder,
            nc.surroundings(),
            on_progress=told.append,
            should_stop=lambda: bool(told) and told[-1].detail.startswith("2 of"),
        )
    assert told[-1].stage == "Rendering"
    assert 0 < told[-1].share < mn.RENDERED
    kept = {path: path.stat().st_mtime_ns for path in (folder / "capture" / "images").glob("*.png")}
    assert len(kept) >= 2
    assert [begun.avatar for begun in nc.unfinished()] == ["avatar-nova"]
    seen = {}

    # What the folder holds goes when the avatar is made: look while it is sent.
    def look(capture: object, *_words, **_more) -> str:
        seen.update({path: path.stat().st_mtime_ns for path in kept})
        return send(capture, *_words, **_more)

    send, mn.send_capture = mn.send_capture, look
    try:
        character.scene.dressform_neural.wear = True
        assert blender.ops.dressform.make_neural(resume="avatar-nova") == {"FINISHED"}
    finally:
        mn.send_capture = send
    assert seen == kept
    assert nc.unfinished() == []
    assert not folder.exists()
    known = parts.library.known
    avatar = known.avatar("avatar-nova")
    assert avatar.name == "Nova"
    assert "avatar-nova" in [item[0] for item in neural.ui_gallery.items(None, None)]
    assert known.previews["avatar-nova"].shape == (512, 512, 4)
    assert character.scene.dressform.avatar == "avatar-nova"
    # Worn, posed, rendered.
    assert character.rig.dressform.avatar == "avatar-nova"
    blender.context.view_layer.objects.active = character.rig
    blender.ops.dressform.apply_motion(motion="wave")
    parts.staging.settings_for_film(character.scene, (96, 96), 24, (1, 4))
    parts.staging.add_camera(character.scene, character.rig, "static", (1, 4))
    character.scene.render.filepath = str(tmp_path / "posed.png")
    blender.ops.render.render(write_still=True)
    image = blender.data.images.load(str(tmp_path / "posed.png"))
    pixels = np.array(image.pixels).reshape(96, 96, -1)
    assert pixels[..., 3].max() > 0.5
    assert (pixels[..., 3] < 0.5).any()


def test_what_is_missing_is_said_before_anything_is_rendered(
    blender, parts, neural, server, character
):
    nc = neural.neural_character
    select(blender, None)
    hindrance = nc.why_not(character.scene, None)
    assert "no character is selected" in hindrance.cause
    with pytest.raises(RuntimeError, match="no character is selected"):
        blender.ops.dressform.make_neural(name="Nobody")
    blender.data.objects.remove(character.suit)
    select(blender, character.rig)
    with pytest.raises(RuntimeError, match="nothing that renders is bound"):
        blender.ops.dressform.make_neural(name="Nobody")
    with pytest.raises(RuntimeError, match="begun"):
        blender.ops.dressform.make_neural(resume="avatar-nobody")
    assert not nc.work_folder("avatar-nobody").exists()


def test_a_background_blender_that_fails_says_why(neural, parts, tmp_path):
    mn = neural.make_neural
    order = mn.Order(name="Nova", avatar="avatar-nova", rig="Nova", **TINY)
    around = mn.Surroundings(
        blender=neural.make_neural.blender_command(""),
        endpoint=lambda: pytest.fail("no server is needed"),
        revive=lambda: None,
    )
    (tmp_path / "character.blend").write_bytes(b"not a blend")
    with pytest.raises(parts.errors.BadCharacter, match="cannot be opened"):
        mn.make_neural(order, tmp_path, around)
    broken = mn.Surroundings(
        blender=["/nowhere/blender"], endpoint=around.endpoint, revive=around.revive
    )
    with pytest.raises(parts.errors.InternalError, match="cannot be started"):
        mn.make_neural(order, tmp_path, broken)
