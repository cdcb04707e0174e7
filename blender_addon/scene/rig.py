"""Make an SMPL-X rig from a body template: armature, stand-in mesh, sliders, drivers."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy
import numpy as np

from ..contract.joints import (
    HEAD_JOINTS,
    JOINT_NAMES,
    LEFT_HAND,
    PARENTS,
    RIGHT_HAND,
)
from .properties import JOINT_TABLE, beta_name, expression_name
from .stand_in import (
    SLIDER_RANGE,
    BodyTemplate,
    bone_offset_gains,
    bone_tails,
    driver_expression,
    expression_key_offsets,
    joint_table,
    lift,
    shape_key_offsets,
    to_blender,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def add_person(
    context: bpy.types.Context,
    template: BodyTemplate,
    avatar: str,
    *,
    name: str = "",
    betas: Sequence[float] = (),
) -> bpy.types.Object:
    """Add a person to the scene and return its armature object, active and selected.

    Args:
        template: the body.
        avatar: id of the avatar that the person wears.
        name: of the objects; the avatar's id when empty.
        betas: first values of the shape sliders.
    """
    title = name or avatar
    if context.object is not None and context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    up = np.array([0.0, 0.0, lift(template, np.array(betas, np.float64))])
    rig = _armature(context, to_blender(template.joints) + up, title)
    rig.data[JOINT_TABLE] = joint_table(template).ravel().tolist()  # pyright: ignore[reportOptionalSubscript]
    body = _stand_in(context, template, to_blender(template.vertices) + up, title)
    _bind(body, rig)
    _sliders(rig, template, betas)
    _drive_shape_keys(rig, body, template)
    _drive_bones(rig, template)
    person = rig.dressform
    person.avatar, person.body = avatar, template.id
    person.betas = template.shape_dirs.shape[-1]
    person.expressions = template.expression_dirs.shape[-1]
    for ob in context.selected_objects:
        ob.select_set(False)
    rig.select_set(True)
    context.view_layer.objects.active = rig
    return rig


def _armature(
    context: bpy.types.Context, heads: NDArray[np.float64], title: str
) -> bpy.types.Object:
    data = bpy.data.armatures.new(title)
    rig = bpy.data.objects.new(title, data)
    context.collection.objects.link(rig)
    context.view_layer.objects.active = rig
    tails = bone_tails(heads)
    bpy.ops.object.mode_set(mode="EDIT")
    bones = data.edit_bones
    made = [bones.new(joint) for joint in JOINT_NAMES]
    for index, bone in enumerate(made):
        bone.head, bone.tail = heads[index].tolist(), tails[index].tolist()
        bone.align_roll((0.0, -1.0, 0.0) if abs(bone.vector.normalized().y) < 0.8 else (0, 0, 1))
        if PARENTS[index] >= 0:
            bone.parent = made[PARENTS[index]]
    bpy.ops.object.mode_set(mode="OBJECT")
    _collect_bones(data)
    data.display_type = "STICK"
    rig.show_in_front = True
    for bone in rig.pose.bones:
        bone.rotation_mode = "QUATERNION"
        bone.lock_scale = (True, True, True)
        if bone.name != JOINT_NAMES[0]:
            bone.lock_location = (True, True, True)
    return rig


def _collect_bones(data: bpy.types.Armature) -> None:
    face = {JOINT_NAMES[joint] for joint in HEAD_JOINTS if JOINT_NAMES[joint] != "head"}
    groups = {"Face": face, "Left Hand": set(LEFT_HAND), "Right Hand": set(RIGHT_HAND)}
    groups["Body"] = set(JOINT_NAMES) - set().union(*groups.values())
    for title in ("Body", "Face", "Left Hand", "Right Hand"):
        collection = data.collections.new(title)
        for name in groups[title]:
            collection.assign(data.bones[name])


def _stand_in(
    context: bpy.types.Context,
    template: BodyTemplate,
    vertices: NDArray[np.float64],
    title: str,
) -> bpy.types.Object:
    mesh = bpy.data.meshes.new(f"{title} Stand-in")
    mesh.from_pydata(vertices.tolist(), [], template.faces.tolist())
    layer = mesh.uv_layers.new(name="UVMap")
    layer.data.foreach_set("uv", template.uv[template.uv_faces.ravel()].astype(np.float32).ravel())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(template.faces), bool))
    mesh.update()
    body = bpy.data.objects.new(f"{title} Stand-in", mesh)
    context.collection.objects.link(body)
    _weigh(body, template)
    mesh.materials.append(_stand_in_material())
    return body


def _bind(body: bpy.types.Object, rig: bpy.types.Object) -> None:
    body.parent = rig
    modifier = body.modifiers.new("Armature", "ARMATURE")
    modifier.object = rig


def _weigh(body: bpy.types.Object, template: BodyTemplate) -> None:
    groups = [body.vertex_groups.new(name=name) for name in JOINT_NAMES]
    for column in range(template.weight_joints.shape[1]):
        joints = template.weight_joints[:, column].tolist()
        values = template.weight_values[:, column].tolist()
        for vertex, (joint, value) in enumerate(zip(joints, values, strict=True)):
            if value > 0.0:
                groups[joint].add((vertex,), value, "ADD")


def _stand_in_material() -> bpy.types.Material:
    name = "Dressform Stand-in"
    material = bpy.data.materials.get(name)
    if material is None:
        material = bpy.data.materials.new(name)
        material.diffuse_color = (0.45, 0.52, 0.6, 1.0)
        material.roughness = 0.7
    return material


def _sliders(rig: bpy.types.Object, template: BodyTemplate, betas: Sequence[float]) -> None:
    shapes, expressions = template.shape_dirs.shape[-1], template.expression_dirs.shape[-1]
    for index in range(shapes):
        value = float(betas[index]) if index < len(betas) else 0.0
        _slider(rig, beta_name(index), value, f"Body shape, component {index + 1}")
    for index in range(expressions):
        _slider(rig, expression_name(index), 0.0, f"Facial expression, component {index + 1}")


def _slider(rig: bpy.types.Object, name: str, value: float, description: str) -> None:
    rig[name] = value
    rig.id_properties_ui(name).update(
        min=-SLIDER_RANGE,
        max=SLIDER_RANGE,
        soft_min=-3.0,
        soft_max=3.0,
        default=value,
        description=description,
    )
    rig.property_overridable_library_set(f'["{name}"]', True)


def _drive_shape_keys(
    rig: bpy.types.Object, body: bpy.types.Object, template: BodyTemplate
) -> None:
    body.shape_key_add(name="Basis", from_mix=False)
    vertices = np.empty(len(template.vertices) * 3, np.float32)
    body.data.vertices.foreach_get("co", vertices)
    offsets = [
        *((beta_name(index), offset) for index, offset in enumerate(shape_key_offsets(template))),
        *(
            (expression_name(index), offset)
            for index, offset in enumerate(expression_key_offsets(template))
        ),
    ]
    for name, offset in offsets:
        key = body.shape_key_add(name=name, from_mix=False)
        key.data.foreach_set("co", vertices + offset.ravel().astype(np.float32))
        key.slider_min, key.slider_max = -SLIDER_RANGE, SLIDER_RANGE
        driver = key.driver_add("value").driver
        driver.type = "SUM"
        _variable(driver, "value", rig, name)  # pyright: ignore[reportArgumentType]


def _drive_bones(rig: bpy.types.Object, template: BodyTemplate) -> None:
    gains = bone_offset_gains(template, rest_matrices(rig)[:, :3, :3])
    names = [f"b{index}" for index in range(gains.shape[-1])]
    for joint, rows in enumerate(gains):
        for axis, row in enumerate(rows):
            expression, used = driver_expression(row, names)
            if not used:
                continue
            driver = rig.pose.bones[JOINT_NAMES[joint]].driver_add("location", axis).driver
            driver.type = "SCRIPTED"
            for name in used:
                _variable(driver, name, rig, beta_name(int(name[1:])))  # pyright: ignore[reportArgumentType]
            driver.expression = expression


def _variable(driver: bpy.types.Driver, name: str, rig: bpy.types.Object, prop: str) -> None:
    variable = driver.variables.new()
    variable.name = name
    variable.type = "SINGLE_PROP"
    variable.targets[0].id = rig
    variable.targets[0].data_path = f'["{prop}"]'


def rest_matrices(rig: bpy.types.Object) -> NDArray[np.float64]:
    """Return the (55, 4, 4) rest matrices of an armature object's bones, SMPL-X order.

    Raises:
        BadPose: a bone is missing; names it.
    """
    from .people import ordered_matrices

    return ordered_matrices(rig.data.bones, "matrix_local", rig.name)


def default_betas(rig: bpy.types.Object) -> NDArray[np.float64]:
    """Return the (n,) shape that a person was made with."""
    names = [beta_name(index) for index in range(rig.dressform.betas)]
    return np.array([rig.id_properties_ui(name).as_dict()["default"] for name in names])


def reset_sliders(rig: bpy.types.Object) -> None:
    """Set the sliders of a person to the values they were made with."""
    person = rig.dressform
    names = [beta_name(index) for index in range(person.betas)]
    names += [expression_name(index) for index in range(person.expressions)]
    for name in names:
        rig[name] = rig.id_properties_ui(name).as_dict()["default"]
    rig.update_tag()
