"""Rigs: what is posed in Blender is what is read."""

from __future__ import annotations

import math

import numpy as np
import pytest

MAX_ANGLE = 1e-5


@pytest.fixture
def person(blender, scene, parts, made):
    return parts.rig.add_person(blender.context, made, "ada")


def _random_pose(parts, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return parts.pose.rotation_from_axis_angle(rng.normal(0, 0.7, (55, 3)))


def _apply(parts, rig, pose) -> None:
    basis = parts.pose_math.basis_rotations(parts.rig.rest_matrices(rig), pose)
    for name, turn in zip(
        parts.joints.JOINT_NAMES, parts.pose_math.quaternions(basis[None])[0], strict=True
    ):
        rig.pose.bones[name].rotation_quaternion = turn


def _read(blender, parts, rig):
    blender.context.view_layer.update()
    return parts.people.read_person(rig.evaluated_get(blender.context.evaluated_depsgraph_get()))


def _largest_angle(parts, a, b) -> float:
    between = np.swapaxes(np.asarray(a, np.float64), -1, -2) @ np.asarray(b, np.float64)
    return float(np.linalg.norm(parts.pose.axis_angle_from_rotation(between), axis=-1).max())


@pytest.mark.parametrize("seed", range(5))
def test_pose_round_trip(blender, parts, person, seed):
    pose = _random_pose(parts, seed)
    _apply(parts, person, pose)
    assert _largest_angle(parts, pose, _read(blender, parts, person).body.pose) < MAX_ANGLE


def test_object_transforms_and_parents_compose_into_the_root(blender, scene, parts, person):
    pose = _random_pose(parts, 21)
    _apply(parts, person, pose)
    plain = _read(blender, parts, person)
    outer, inner = (blender.data.objects.new(name, None) for name in ("outer", "inner"))
    for ob in (outer, inner):
        scene.collection.objects.link(ob)
    outer.location, outer.rotation_euler, outer.scale = (1, -2, 0.3), (0.3, -0.2, 1.1), (1.5,) * 3
    inner.parent, inner.location = outer, (0.2, 0.4, -0.1)
    person.parent = inner
    person.location, person.rotation_euler, person.scale = (0.5, 0, 0), (0.1, 0.7, -0.4), (0.5,) * 3
    moved = _read(blender, parts, person)
    assert moved.scale == pytest.approx(0.75, abs=1e-6)
    # Everything below the root is untouched, and the root is what a rigid motion makes of it.
    assert _largest_angle(parts, plain.body.pose[1:], moved.body.pose[1:]) < MAX_ANGLE
    world = np.array(person.evaluated_get(blender.context.evaluated_depsgraph_get()).matrix_world)
    turn = world[:3, :3] / 0.75
    z_up = parts.pose.Y_UP_TO_Z_UP
    expected = z_up.T @ turn @ z_up @ plain.body.pose[0]
    assert _largest_angle(parts, expected, moved.body.pose[0]) < MAX_ANGLE
    joint = parts.people.joint_table_of(person)[0, :, 0]
    pelvis = world[:3, :3] @ (z_up @ (plain.body.transl + joint)) + world[:3, 3]
    np.testing.assert_allclose(z_up @ (moved.body.transl + joint) * moved.scale, pelvis, atol=2e-5)


def test_constraints_drivers_and_ik_are_resolved(blender, scene, parts, person):
    target = blender.data.objects.new("t", None)
    scene.collection.objects.link(target)
    target.rotation_euler, target.location = (0.4, 0.8, -0.3), (0.6, -0.4, 1.1)
    copy = person.pose.bones["head"].constraints.new("COPY_ROTATION")
    copy.target = target
    ik = person.pose.bones["left_elbow"].constraints.new("IK")
    ik.target, ik.chain_count = target, 3
    bone = person.pose.bones["right_knee"]
    bone.rotation_mode = "XYZ"
    bone.driver_add("rotation_euler", 0).driver.expression = "0.6"
    body = _read(blender, parts, person).body
    posed = person.evaluated_get(blender.context.evaluated_depsgraph_get()).pose
    # Forward kinematics of what is sent must give the bones that Blender shows.
    joints = parts.stand_in.joint_positions(parts.people.joint_table_of(person), body.betas)
    pelvis = joints[0] + body.transl
    placed = parts.pose_math.posed_joints(body.pose[None], joints, pelvis[None])[0]
    shown = np.array([posed.bones[name].head for name in parts.joints.JOINT_NAMES])
    np.testing.assert_allclose(placed @ parts.pose.Y_UP_TO_Z_UP.T, shown, atol=2e-5)
    rest = parts.rig.rest_matrices(person)[:, :3, :3]
    turned = np.eye(3)[None].repeat(55, axis=0)
    for joint, parent in enumerate(parts.joints.PARENTS):
        own = np.asarray(body.pose[joint], np.float64)
        turned[joint] = own if parent < 0 else turned[parent] @ own
    z_up = parts.pose.Y_UP_TO_Z_UP
    shown = np.array([np.array(posed.bones[n].matrix)[:3, :3] for n in parts.joints.JOINT_NAMES])
    assert (
        _largest_angle(parts, z_up @ turned @ z_up.T @ rest, shown) < 4e-5
    )  # rest axes' own error
    assert _largest_angle(parts, body.pose[parts.joints.JOINT_INDEX["head"]], np.eye(3)) > 0.1
    assert _largest_angle(parts, body.pose[5], np.eye(3)) == pytest.approx(0.6, abs=MAX_ANGLE)


def test_constrained_and_driven_pose_survives_the_way_to_a_free_rig_and_back(
    blender, scene, parts, made, person
):
    """What constraints, IK and drivers make of a rig, keyed onto a free rig, reads the same."""
    _apply(parts, person, _random_pose(parts, 4))
    target = blender.data.objects.new("t", None)
    scene.collection.objects.link(target)
    target.rotation_euler, target.location = (0.4, 0.8, -0.3), (0.6, -0.4, 1.1)
    copy = person.pose.bones["head"].constraints.new("COPY_ROTATION")
    copy.target = target
    ik = person.pose.bones["left_elbow"].constraints.new("IK")
    ik.target, ik.chain_count = target, 3
    limit = person.pose.bones["right_elbow"].constraints.new("LIMIT_ROTATION")
    limit.use_limit_x, limit.min_x, limit.max_x, limit.owner_space = True, -0.1, 0.2, "LOCAL"
    bone = person.pose.bones["right_knee"]
    bone.rotation_mode = "XYZ"
    bone.driver_add("rotation_euler", 0).driver.expression = "0.6"
    person.location, person.rotation_euler = (0.3, -1.0, 0.2), (0.1, -0.2, 0.9)
    resolved = _read(blender, parts, person).body.pose
    free = parts.rig.add_person(blender.context, made, "ada", name="free")
    _apply(parts, free, resolved)
    assert _largest_angle(parts, resolved, _read(blender, parts, free).body.pose) < MAX_ANGLE


def test_extra_bones_and_other_rotation_modes_do_not_matter(blender, parts, person):
    blender.ops.object.mode_set(mode="EDIT")
    extra = person.data.edit_bones.new("a_control")
    extra.head, extra.tail = (0, 0, 0), (0, 0, 1)
    blender.ops.object.mode_set(mode="OBJECT")
    pose = _random_pose(parts, 4)
    _apply(parts, person, pose)
    for name in ("left_hip", "jaw"):
        bone = person.pose.bones[name]
        matrix = bone.matrix_basis.copy()
        bone.rotation_mode = "YZX"
        bone.matrix_basis = matrix
    assert _largest_angle(parts, pose, _read(blender, parts, person).body.pose) < MAX_ANGLE


@pytest.mark.parametrize(
    ("scale", "words"),
    [((1, 1, 1.2), "unevenly"), ((-1, 1, 1), "mirrored"), ((0, 0, 0), "nothing")],
)
def test_uneven_scales_are_refused(blender, parts, person, scale, words):
    person.scale = scale
    with pytest.raises(parts.errors.UnsupportedTransform, match=words):
        _read(blender, parts, person)


def test_a_scaled_or_missing_bone_is_named(blender, parts, person):
    person.pose.bones["neck"].scale = (1.1, 1.1, 1.1)
    with pytest.raises(parts.errors.UnsupportedTransform, match="neck"):
        _read(blender, parts, person)
    person.pose.bones["neck"].scale = (1, 1, 1)
    person.data.bones["left_wrist"].name = "hand.L"
    with pytest.raises(parts.errors.BadPose, match="left_wrist"):
        _read(blender, parts, person)


def test_animated_sliders_move_stand_in_and_bones_as_the_body_does(
    blender, scene, parts, made, person
):
    pose = _random_pose(parts, 9)
    _apply(parts, person, pose)
    for frame, value in ((1, 0.0), (11, 2.0)):
        person["Shape 01"], person["Shape 03"] = value, -value
        person["Expression 02"] = value / 2
        for name in ("Shape 01", "Shape 03", "Expression 02"):
            person.keyframe_insert(f'["{name}"]', frame=frame)
    scene.frame_set(11)
    body = parts.people.visible_people(blender.context.evaluated_depsgraph_get())[0].body
    np.testing.assert_allclose(body.betas, [2, 0, -2, 0])
    np.testing.assert_allclose(body.expression, [0, 1, 0])
    # Linear blend skinning, by hand: in this body every vertex follows one joint.
    joints = made.joints + made.joint_shape_dirs @ body.betas
    shaped = made.vertices + made.shape_dirs @ body.betas + made.expression_dirs @ body.expression
    pelvis = joints[0] + body.transl
    placed = parts.pose_math.posed_joints(body.pose[None], joints, pelvis[None])[0]
    owner = made.weight_joints[:, 0]
    turned = np.array(body.pose, np.float64)
    for joint, parent in enumerate(parts.joints.PARENTS[1:], start=1):
        turned[joint] = turned[parent] @ turned[joint]
    expected = placed[owner] + np.einsum("vab,vb->va", turned[owner], shaped - joints[owner])
    stand_in = next(ob for ob in scene.objects if ob.type == "MESH")
    mesh = stand_in.evaluated_get(blender.context.evaluated_depsgraph_get()).to_mesh()
    shown = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", shown)
    difference = np.abs(parts.stand_in.to_blender(expected) - shown.reshape(-1, 3)).max()
    assert difference < 5e-5


def test_sliders_are_clamped_and_the_person_stands_on_its_origin(blender, parts, made, scene):
    person = parts.rig.add_person(blender.context, made, "ben", betas=[1.0, -0.5])
    assert person["Shape 01"] == 1.0
    limits = person.id_properties_ui("Shape 01").as_dict()
    assert (limits["min"], limits["max"]) == (-5.0, 5.0)
    stand_in = next(ob for ob in scene.objects if ob.type == "MESH" and ob.parent == person)
    blender.context.view_layer.update()
    mesh = stand_in.evaluated_get(blender.context.evaluated_depsgraph_get()).to_mesh()
    shown = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", shown)
    assert shown.reshape(-1, 3)[:, 2].min() == pytest.approx(0.0, abs=1e-5)
    person["Shape 01"] = 3.0
    parts.rig.reset_sliders(person)
    assert person["Shape 01"] == 1.0


def test_hidden_people_and_instances(blender, scene, parts, person):
    depsgraph = blender.context.evaluated_depsgraph_get()
    assert [p.name for p in parts.people.visible_people(depsgraph)] == ["ada"]
    empty = blender.data.objects.new("i", None)
    empty.instance_type = "COLLECTION"
    collection = blender.data.collections.new("people")
    twin = parts.rig.add_person(blender.context, _template_of(parts), "ben")
    for ob in (twin, *twin.children):
        collection.objects.link(ob)
        scene.collection.objects.unlink(ob)
    empty.instance_collection = collection
    empty.location, empty.rotation_euler = (2, 0, 0), (0, 0, math.pi / 2)
    scene.collection.objects.link(empty)
    person.hide_viewport = True
    blender.context.view_layer.update()
    seen = parts.people.visible_people(blender.context.evaluated_depsgraph_get())
    assert [p.avatar for p in seen] == ["ben"]
    assert seen[0].body.transl[0] == pytest.approx(2.0, abs=0.1)


def _template_of(parts):
    from tests.blender import made_body

    return made_body.template(parts.stand_in)
