"""Settings that are stored with scenes, view layers and windows."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import bpy

from ..contract.avatar_look import PARTS
from . import gallery
from .photo_options import PhotoOptions

PART_ITEMS = [("ALL", "Whole Person", "")] + [(part, part.capitalize(), "") for part in PARTS]


class DressformPhotoOptions(PhotoOptions, bpy.types.PropertyGroup):
    """`scene.dressform.photo_options`: what "From Photo" begins with."""


class DressformScene(bpy.types.PropertyGroup):
    """`scene.dressform`: what the panel has chosen."""

    avatar: bpy.props.EnumProperty(
        name="Avatar",
        description="Who to add to the scene",
        items=gallery.items,  # pyright: ignore[reportArgumentType]
    )
    portrait: bpy.props.EnumProperty(
        name="Portrait",
        description="Which portrait to add to the scene",
        items=gallery.portrait_items,  # pyright: ignore[reportArgumentType]
    )
    wardrobe: bpy.props.EnumProperty(
        name="Wardrobe",
        description="Which wardrobe draws people and fits photographs",
        items=gallery.wardrobe_items,  # pyright: ignore[reportArgumentType]
    )
    draw_part: bpy.props.EnumProperty(
        name="Draw",
        description="Draw whole people, or only this part of them",
        items=PART_ITEMS,
    )
    photo: bpy.props.PointerProperty(
        name="Photograph", description="An open image of a person", type=bpy.types.Image
    )
    photo_options: bpy.props.PointerProperty(type=DressformPhotoOptions)


class DressformViewLayer(bpy.types.PropertyGroup):
    """`view_layer.dressform`: passes of our own."""

    use_masks: bpy.props.BoolProperty(
        name="Masks",
        description="Deliver passes that select the person, the hands and the face",
        default=False,
        update=lambda _self, context: context.view_layer.update_render_passes(),
    )
    use_labels: bpy.props.BoolProperty(
        name="Labels",
        description="Deliver a pass with the label of each pixel of the portraits, 0 to 16",
        default=False,
        update=lambda _self, context: context.view_layer.update_render_passes(),
    )


CLASSES = (DressformPhotoOptions, DressformScene, DressformViewLayer)


def register() -> None:
    """Register the groups and attach them."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Scene.dressform = bpy.props.PointerProperty(type=DressformScene)
    bpy.types.ViewLayer.dressform = bpy.props.PointerProperty(type=DressformViewLayer)


def unregister() -> None:
    """Undo `register`."""
    del bpy.types.ViewLayer.dressform
    del bpy.types.Scene.dressform
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
