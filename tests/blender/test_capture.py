"""The sweep: pictures that agree with their parameters, and a scene left as it was."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.blender import doll
from tests.blender.conftest import EXTENSION, ROOT

SIZE = (96, 96)
MODULES = ("character", "command", "generate", "masks", "plan", "poses", "solids", "sweep", "views")


@pytest.fixture(scope="session")
def capture(parts) -> SimpleNamespace:
    found = {name: importlib.import_module(f"{EXTENSION}.capture.{name}") for name in MODULES}
    found["errors"], found["operations"] = parts.errors, parts.operations
    return SimpleNamespace(**found)


@pytest.fixture
def eve(blender, scene, parts, capture):
    """A character whose mesh is the body itself, in a material of its own."""
    rig = parts.rig.add_person(blender.context, doll.template(parts.stand_in), "eve")
    mesh = blender.data.objects["eve Stand-in"]
    material = blender.data.materials.new("Skin")
    if material.node_tree is None:
        material.use_nodes = True
    mesh.material_slots[0].material = material
    return SimpleNamespace(rig=rig, mesh=mesh, material=material)


def planned(parts, capture, name, *, seed=0, view="whole", split="train", azimuth=0.4, turn=0.0):
    """A frame of a random walker."""
    pose = capture.poses.sample_pose(np.random.default_rng(seed), "walk")
    pose[0] = parts.pose.rotation_from_axis_angle(np.array([0.0, turn, 0.0]))
    transl = np.array([0.1, -0.05, 0.2])
    rest = doll.joints()
    placed = parts.pose_math.posed_joints(pose[None], rest, (rest[0] + transl)[None])[0]
    camera = capture.views.camera_at(
        placed, pose[0], SIZE, azimuth=azimuth, elevation=0.1, distance=3.0, view=view
    )
    return capture.plan.PlannedFrame(
        name=name, split=split, tags=("walk",), camera=camera,
        body=parts.operations.PosedBody(
            pose=pose.astype(np.float32), transl=transl.astype(np.float32),
            betas=np.zeros(doll.BETAS, np.float32), expression=np.zeros(2, np.float32),
        ),
    )  # fmt: skip


def run(capture, scene, frames, out, **settings):
    character = capture.character.find_character(scene)
    chosen = capture.sweep.SweepSettings(
        **{"samples": 32, "held_out_samples": 32, "denoise": "none", "threads": 1} | settings
    )
    return list(
        capture.sweep.sweep(
            character, frames, out, chosen, id="eve", licence="CC0-1.0", character_digest="",
            user_scene=scene,
        )
    )  # fmt: skip


def in_blocks(image, side=4):
    """Average blocks of pixels: light stays, most of the path tracer's noise goes."""
    height, width, channels = image.shape
    blocks = image.reshape(height // side, side, width // side, side, channels)
    return blocks.mean(axis=(1, 3))


def read_png(path):
    """(H, W, channels) as Blender reads the file, top row first, 0…1."""
    import bpy

    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    values = np.empty(image.size[0] * image.size[1] * image.channels, np.float32)
    image.pixels.foreach_get(values)
    # The image stays: Blender 4.5 now and then crashes when one is removed right after a render.
    shape = (image.size[1], image.size[0], image.channels)
    return values.reshape(shape)[::-1]


def test_pictures_agree_with_the_parameters_beside_them(scene, parts, capture, eve, tmp_path):
    frames = [
        planned(parts, capture, "t0", view="upper"),
        planned(parts, capture, "t1", seed=5, view="legs", azimuth=2.2, turn=1.0),
    ]
    run(capture, scene, frames, tmp_path / "c", samples=64)
    described = json.loads((tmp_path / "c" / "capture.json").read_text("utf-8"))
    assert [frame["name"] for frame in described["frames"]] == ["t0", "t1"]
    assert not (tmp_path / "c" / "shots").exists()
    values = np.load(tmp_path / "c" / "parameters.npz")
    faces = doll.arrays()["faces"]
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(values["pose"][index], frame.body.pose, atol=2e-5)
        np.testing.assert_allclose(values["transl"][index], frame.body.transl, atol=2e-5)
        np.testing.assert_allclose(values["K"][index], frame.camera.K, rtol=2e-5, atol=2e-3)
        np.testing.assert_allclose(values["t"][index], frame.camera.t, atol=2e-5)
        body = replace(frame.body, pose=values["pose"][index], transl=values["transl"][index])
        camera = parts.camera.Camera(
            K=values["K"][index], R=values["R"][index], t=values["t"][index], width=96, height=96
        )
        covered, near = doll.coverage(doll.posed(body), faces, camera)
        masks = read_png(tmp_path / "c" / "masks" / f"{frame.name}.png")
        seen = masks[..., 0] > 0.5
        both, either = (seen & (covered > 0.5)).sum(), (seen | (covered > 0.5)).sum()
        assert both / either >= 0.99
        depth = read_png(tmp_path / "c" / "depth" / f"{frame.name}.png")[..., 0] * 65.535
        inside = (covered == 1) & (masks[..., 0] > 0.999)
        assert (depth[~seen] == 0).all()
        assert np.median(np.abs(depth - near)[inside]) < 0.006  # across a pixel's own slope
        image = read_png(tmp_path / "c" / "images" / f"{frame.name}.png")[..., :3]
        assert image[inside].mean() > 0.2
        assert image[masks[..., 0] == 0].max() == 0


def test_hands_and_face_are_found_and_sleeves_and_hair_are_not(blender, scene, parts, capture, eve):
    blender.context.view_layer.update()
    given = doll.arrays()
    owner, points = given["weight_joints"][:, 0], given["vertices"]
    hand = [i for i, name in enumerate(parts.joints.JOINT_NAMES) if "wrist" in name
            or name in (*parts.joints.LEFT_HAND, *parts.joints.RIGHT_HAND)]  # fmt: skip
    head = points[owner == 15]
    sleeve = bound(blender, eve, "sleeve", points[owner == 20] + 0.002, "left_wrist")
    hair = bound(blender, eve, "hair", head[head[:, 1] > 1.66] * (1, 1, 1.03), "head")
    character = capture.character.find_character(scene)
    assert [ob.name for ob in character.objects] == ["eve Stand-in", "hair", "sleeve"]
    attributes = capture.masks.MaskAttributes(character)
    hands, face = (read_attribute(eve.mesh, name) for name in ("dressform_hands", "dressform_face"))
    np.testing.assert_array_equal(hands, np.isin(owner, hand))
    eye_height = given["joints"][23, 1]
    front = (owner == 15) & (points[:, 2] > 0.06) & (np.abs(points[:, 1] - eye_height) < 0.06)
    assert front.any()
    assert face[front].min() > 0.9
    on_head = np.isin(owner, parts.joints.HEAD_JOINTS)
    assert face[~on_head | (points[:, 2] < 0.0)].max() < 0.5
    for ob in (sleeve, hair):
        assert not read_attribute(ob, "dressform_hands").any()
        assert not read_attribute(ob, "dressform_face").any()
    attributes.restore()
    assert "dressform_hands" not in eve.mesh.data.attributes


def bound(blender, eve, name, points, joint):
    """A mesh that one bone carries."""
    mesh = blender.data.meshes.new(name)
    faces = [(i, i + 1, i + 2) for i in range(len(points) - 2)]
    up = np.array(eve.mesh.data.vertices[0].co) - to_blender(doll.arrays()["vertices"][0])
    mesh.from_pydata((to_blender(points) + up).tolist(), [], faces)
    ob = blender.data.objects.new(name, mesh)
    blender.context.collection.objects.link(ob)
    ob.vertex_groups.new(name=joint).add(range(len(points)), 1.0, "REPLACE")
    ob.modifiers.new("Armature", "ARMATURE").object = eve.rig
    return ob


def to_blender(points):
    return np.asarray(points) @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def read_attribute(ob, name):
    values = np.zeros(len(ob.data.vertices), np.float32)
    ob.data.attributes[name].data.foreach_get("value", values)
    return values


def test_masks_show_what_the_attributes_say(scene, parts, capture, eve, tmp_path):
    owner = doll.arrays()["weight_joints"][:, 0]
    for name, part in (("dressform_hands", owner == 9), ("dressform_face", owner == 3)):
        eve.mesh.data.attributes.new(name, "FLOAT", "POINT").data.foreach_set(
            "value", part.astype(np.float32)
        )
    frame = planned(parts, capture, "t0", view="upper")
    run(capture, scene, [frame], tmp_path / "c")
    masks = read_png(tmp_path / "c" / "masks" / "t0.png")
    faces = doll.arrays()["faces"]
    points = doll.posed(frame.body)
    whole, _ = doll.coverage(points, faces, frame.camera, 2)
    for channel, joint in ((1, 9), (2, 3)):
        mine = faces[(owner[faces] == joint).all(axis=1)]
        covered, _ = doll.coverage(points, mine, frame.camera, 2)
        shown = masks[..., channel] > 0.5
        assert shown.any()
        assert (covered[shown] > 0).mean() > 0.9
        assert (masks[..., channel] <= masks[..., 0] + 1e-6).all()
    assert (masks[..., 0][whole == 1] > 0.5).all()
    assert "dressform_hands" in eve.mesh.data.attributes  # the user's own stays


def state(blender) -> dict:
    """All that a sweep could leave changed."""
    data = blender.data
    kinds = ("objects", "meshes", "materials", "scenes", "cameras", "lights", "worlds")
    found = {kind: sorted(block.name for block in getattr(data, kind)) for kind in kinds}
    for material in data.materials:
        tree = material.node_tree
        found[f"nodes of {material.name}"] = tree and sorted(node.name for node in tree.nodes)
    for ob in data.objects:
        found[f"ob {ob.name}"] = (ob.hide_viewport, ob.hide_render, [s.name for s in ob.material_slots],
                                  [c.name for c in ob.users_collection])  # fmt: skip
        found[f"matrix {ob.name}"] = [list(row) for row in ob.matrix_world]
        if ob.type == "ARMATURE":
            found["bones"] = {
                b.name: (b.rotation_mode, list(b.location), list(b.rotation_quaternion))
                for b in ob.pose.bones
            }
            found["action"] = ob.animation_data.action and ob.animation_data.action.name
            found["muted"] = [d.mute for d in ob.animation_data.drivers]
            found["constraints"] = [c.mute for b in ob.pose.bones for c in b.constraints]
            found["sliders"] = {k: ob[k] for k in ob.keys() if isinstance(ob[k], float)}  # noqa: SIM118
    for mesh in data.meshes:
        found[f"attributes of {mesh.name}"] = sorted(a.name for a in mesh.attributes)
    scene = blender.context.scene
    found["engine"] = (scene.name, scene.render.engine, scene.render.resolution_x,
                       scene.camera and scene.camera.name)  # fmt: skip
    return found


def test_a_keyed_and_constrained_scene_is_left_as_it_was(
    blender, scene, parts, capture, eve, tmp_path
):
    bone = eve.rig.pose.bones["left_elbow"]
    bone.rotation_quaternion = (0.9, 0.1, 0.3, 0.2)
    bone.keyframe_insert("rotation_quaternion", frame=1)
    eve.rig.pose.bones["head"].constraints.new("COPY_ROTATION").target = eve.mesh
    eve.rig.pose.bones["right_knee"].rotation_mode = "XYZ"
    bare = blender.data.objects.new("bare", blender.data.meshes.new("bare"))
    scene.collection.objects.link(bare)
    bare.parent, bare.parent_type, bare.parent_bone = eve.rig, "BONE", "head"
    bare.data.from_pydata([(0, 0, 0), (0.1, 0, 0), (0, 0.1, 0)], [], [(0, 1, 2)])
    blender.context.view_layer.update()
    before = state(blender)
    frames = [planned(parts, capture, "t0"), planned(parts, capture, "t1", seed=3)]
    run(capture, scene, frames, tmp_path / "c", samples=1)
    blender.context.view_layer.update()
    assert state(blender) == before
    values = np.load(tmp_path / "c" / "parameters.npz")
    np.testing.assert_allclose(values["pose"][1], frames[1].body.pose, atol=2e-5)
    # One that is closed half-way leaves no more behind.
    character = capture.character.find_character(scene)
    progress = capture.sweep.sweep(
        character, frames, tmp_path / "d", capture.sweep.SweepSettings(samples=1), id="x",
        licence="x", character_digest="", user_scene=scene,
    )  # fmt: skip
    next(progress)
    progress.close()
    blender.context.view_layer.update()
    assert state(blender) == before
    assert not (tmp_path / "d" / "capture.json").exists()


def test_the_studio_turns_with_the_person(scene, parts, capture, eve, tmp_path):
    frames = [
        planned(parts, capture, "t0", view="upper", turn=0.0),
        planned(parts, capture, "t1", view="upper", turn=2.0),
    ]
    run(capture, scene, frames, tmp_path / "c", samples=24)
    one, other = (
        in_blocks(read_png(tmp_path / "c" / "images" / f"t{i}.png")[..., :3]) for i in (0, 1)
    )
    shown = one.max(axis=-1) > 0.1
    assert np.abs(one - other)[shown].mean() < 0.02
    assert np.ptp(one[shown].mean(axis=-1)) > 0.1  # and it is light with a direction


def test_killed_and_started_again_it_ends_with_the_same_bytes(
    blender, scene, parts, capture, eve, tmp_path
):
    blend, plan = tmp_path / "eve.blend", tmp_path / "plan.npz"
    frames = [planned(parts, capture, f"t{i}", seed=i) for i in range(3)]
    rows = {
        "pose": [f.body.pose for f in frames], "transl": [f.body.transl for f in frames],
        "expression": [f.body.expression for f in frames], "K": [f.camera.K for f in frames],
        "R": [f.camera.R for f in frames], "t": [f.camera.t for f in frames],
        "name": [f.name for f in frames], "split": ["train", "train", "held-out"],
    }  # fmt: skip
    np.savez(plan, **rows, betas=np.zeros(doll.BETAS), image_size=np.array(SIZE))
    blender.ops.wm.save_as_mainfile(filepath=str(blend))
    command = [
        *(sys.executable, str(ROOT / "scripts" / "capture_character.py"), str(blend)),
        *("--plan", str(plan), "--samples", "4", "--held-out-samples", "4", "--denoise", "none"),
        *("--threads", "1", "--id", "eve"),
    ]
    own = {k: v for k, v in os.environ.items() if not k.startswith("DRESSFORM")}
    broken = [*command, "--out", str(tmp_path / "a")]
    process = subprocess.Popen(broken, stdout=subprocess.PIPE, text=True, env=own)
    for line in process.stdout:
        if line.startswith('{"frame": 1'):
            process.kill()
            break
    process.communicate(timeout=60)
    assert not (tmp_path / "a" / "capture.json").exists()
    assert (tmp_path / "a" / "shots" / "t0.npz").is_file()
    again = subprocess.run(broken, capture_output=True, text=True, env=own, timeout=120)
    assert again.returncode == 0, again.stderr
    lines = [json.loads(line) for line in again.stdout.splitlines() if line.startswith("{")]
    assert lines[0]["kept"] is True
    assert lines[-1] == {"capture": str(tmp_path / "a"), "frames": 3}
    assert capture.command.main([*command[2:], "--out", str(tmp_path / "b")]) == 0
    files = sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*.*"))
    assert len(files) == 2 + 3 * 3
    assert files == sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_own_plan_keeps_limbs_apart_and_splits_too(blender, scene, parts, capture, eve, tmp_path):
    options = capture.command.parse_options(
        ["--out", str(tmp_path), "--frames", "12", "--held-out", "3", "--orbit", "4",
         "--sequence", "walk:3", "--size", "96"]
    )  # fmt: skip
    character = capture.character.find_character(scene)
    frames = capture.command.plan_frames(character, options)
    assert [f.split for f in frames] == ["train"] * 12 + ["held-out"] * 3 + ["train"] * 4 + [
        "held-out"
    ] * 3
    assert frames[-1].tags == ("sequence:walk",)
    assert frames[15].tags == ("orbit",)
    assert len({f.digest() for f in frames}) == len(frames)
    for frame in frames[:15]:
        seen = frame.camera.project(doll.posed(frame.body))
        assert (seen[:, 2] > 0.1).all()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda eve: setattr(eve.rig, "scale", (1.2,) * 3), "scaled"),
        (lambda eve: setattr(eve.mesh, "hide_render", True), "nothing that renders"),
        (lambda eve: eve.rig.__setitem__("Shape 01", 1.0), "another shape"),
        (lambda eve: setattr(eve.rig.data.bones["jaw"], "name", "chin"), "no SMPL-X rig"),
    ],
)
def test_a_character_that_cannot_be_captured_says_why(
    blender, scene, parts, capture, eve, tmp_path, spoil, words
):
    spoil(eve)
    blender.context.view_layer.update()
    with pytest.raises(capture.errors.BadCharacter, match=words):
        run(capture, scene, [planned(parts, capture, "t0")], tmp_path / "c")
    assert not (tmp_path / "c" / "capture.json").exists()


def test_a_folder_with_another_capture_is_left_alone(scene, parts, capture, eve, tmp_path):
    run(capture, scene, [planned(parts, capture, "t0")], tmp_path / "c", samples=1)
    kept = (tmp_path / "c" / "capture.json").read_bytes()
    same = run(capture, scene, [planned(parts, capture, "t0")], tmp_path / "c", samples=1)
    assert [p.kept for p in same] == [True]
    with pytest.raises(capture.errors.CaptureError, match="another capture"):
        run(capture, scene, [planned(parts, capture, "t1")], tmp_path / "c", samples=1)
    assert (tmp_path / "c" / "capture.json").read_bytes() == kept
