"""What a rig remembers of its person: property names and the registered group."""

from __future__ import annotations

import bpy

BETA_PREFIX = "Shape "
EXPRESSION_PREFIX = "Expression "
PELVIS_TABLE = "dressform_pelvis"
"""Property of the armature data: (3, 1 + n) numbers, row by row (`stand_in.pelvis_position`)."""


def beta_name(index: int) -> str:
    """Return the custom property that holds a shape coefficient."""
    return f"{BETA_PREFIX}{index + 1:02d}"


def expression_name(index: int) -> str:
    """Return the custom property that holds an expression coefficient."""
    return f"{EXPRESSION_PREFIX}{index + 1:02d}"


class DressformPerson(bpy.types.PropertyGroup):
    """Who an armature is: `object.dressform`."""

    avatar: bpy.props.StringProperty(  # pyright: ignore[reportInvalidTypeForm]
        name="Avatar", description="The avatar that this rig wears", default=""
    )
    body: bpy.props.StringProperty(  # pyright: ignore[reportInvalidTypeForm]
        name="Body", description="The body that this rig was made from", default=""
    )
    betas: bpy.props.IntProperty(name="Shape Sliders", default=0)  # pyright: ignore[reportInvalidTypeForm]
    expressions: bpy.props.IntProperty(name="Expression Sliders", default=0)  # pyright: ignore[reportInvalidTypeForm]


CLASSES = (DressformPerson,)


def register() -> None:
    """Register the group and attach it to objects."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Object.dressform = bpy.props.PointerProperty(type=DressformPerson)  # pyright: ignore[reportAttributeAccessIssue]


def unregister() -> None:
    """Undo `register`."""
    del bpy.types.Object.dressform  # pyright: ignore[reportAttributeAccessIssue]
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
