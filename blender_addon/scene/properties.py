"""What a rig remembers of its person: property names and the registered group."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import bpy

BETA_PREFIX = "Shape "
EXPRESSION_PREFIX = "Expression "
JOINT_TABLE = "dressform_joints"
"""Property of the armature data: (55, 3, 1 + n) numbers in C order (`stand_in.joint_positions`)."""


def beta_name(index: int) -> str:
    """Return the custom property that holds a shape coefficient."""
    return f"{BETA_PREFIX}{index + 1:02d}"


def expression_name(index: int) -> str:
    """Return the custom property that holds an expression coefficient."""
    return f"{EXPRESSION_PREFIX}{index + 1:02d}"


class DressformPerson(bpy.types.PropertyGroup):
    """Who an armature is: `object.dressform`."""

    avatar: bpy.props.StringProperty(
        name="Avatar", description="The avatar that this rig wears", default=""
    )
    body: bpy.props.StringProperty(
        name="Body", description="The body that this rig was made from", default=""
    )
    betas: bpy.props.IntProperty(name="Shape Sliders", default=0)
    expressions: bpy.props.IntProperty(name="Expression Sliders", default=0)


CLASSES = (DressformPerson,)


def register() -> None:
    """Register the group and attach it to objects."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Object.dressform = bpy.props.PointerProperty(type=DressformPerson)


def unregister() -> None:
    """Undo `register`."""
    del bpy.types.Object.dressform
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
