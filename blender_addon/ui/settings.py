"""Settings that are stored with scenes, view layers and windows."""

from __future__ import annotations

import bpy

from . import gallery


class DressformScene(bpy.types.PropertyGroup):
    """`scene.dressform`: what the panel has chosen."""

    avatar: bpy.props.EnumProperty(  # pyright: ignore[reportInvalidTypeForm]
        name="Avatar",
        description="Who to add to the scene",
        items=gallery.items,
    )


class DressformViewLayer(bpy.types.PropertyGroup):
    """`view_layer.dressform`: passes of our own."""

    use_masks: bpy.props.BoolProperty(  # pyright: ignore[reportInvalidTypeForm]
        name="Masks",
        description="Deliver passes that select the person, the hands and the face",
        default=False,
        update=lambda _self, context: context.view_layer.update_render_passes(),
    )


CLASSES = (DressformScene, DressformViewLayer)


def register() -> None:
    """Register the groups and attach them."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Scene.dressform = bpy.props.PointerProperty(type=DressformScene)  # pyright: ignore[reportAttributeAccessIssue]
    bpy.types.ViewLayer.dressform = bpy.props.PointerProperty(type=DressformViewLayer)  # pyright: ignore[reportAttributeAccessIssue]


def unregister() -> None:
    """Undo `register`."""
    del bpy.types.ViewLayer.dressform  # pyright: ignore[reportAttributeAccessIssue]
    del bpy.types.Scene.dressform  # pyright: ignore[reportAttributeAccessIssue]
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
