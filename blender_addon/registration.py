"""Registers the extension's parts with Blender, and takes them out again."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import atexit

import bpy

from . import connection
from .engine import final
from .scene import look_properties, merge_state, portrait_properties, properties
from .ui import (
    choices,
    gallery,
    make_neural,
    merge,
    operators,
    panels,
    portrait_heads,
    portrait_paint,
    portrait_panels,
    portrait_photo,
    portrait_pictures,
    portrait_styles,
    portraits,
    preferences,
    settings,
    wardrobe,
    wardrobe_mix,
    wardrobe_panels,
    wardrobe_photo,
    watching,
)

_OPERATORS = (
    *operators.CLASSES,
    *choices.CLASSES,
    *wardrobe.CLASSES,
    *wardrobe_mix.CLASSES,
    *wardrobe_photo.CLASSES,
    *portraits.CLASSES,
    *portrait_heads.CLASSES,
    *portrait_styles.CLASSES,
    *portrait_photo.CLASSES,
    *portrait_paint.CLASSES,
)
_PANELS = (*wardrobe_panels.CLASSES, *portrait_panels.CLASSES)

_registered = False


def register() -> None:
    """Register every class and property."""
    global _registered  # noqa: PLW0603 - Blender knows one extension of this name
    for kind in preferences.CLASSES:
        bpy.utils.register_class(kind)
    properties.register()
    look_properties.register()
    portrait_properties.register()
    gallery.register()
    settings.register()
    merge_state.register()
    for kind in (*_OPERATORS, *final.CLASSES):
        bpy.utils.register_class(kind)
    panels.register(_PANELS)
    portrait_paint.register()
    wardrobe_photo.register()
    make_neural.register()
    merge.register()
    _registered = True
    # A RenderEngine that is still registered when the interpreter ends hangs or crashes Blender.
    atexit.register(unregister)


def unregister() -> None:
    """Undo `register` and stop the server that we started; does nothing the second time."""
    global _registered  # noqa: PLW0603
    if not _registered:
        return
    _registered = False
    atexit.unregister(unregister)
    _leave_rendered_viewports()
    watching.stop_all()
    choices.forget_all()
    portrait_pictures.unregister()
    merge.unregister()
    make_neural.unregister()
    wardrobe_photo.unregister()
    portrait_paint.unregister()
    panels.unregister(_PANELS)
    for kind in (*final.CLASSES, *reversed(_OPERATORS)):
        bpy.utils.unregister_class(kind)
    merge_state.unregister()
    settings.unregister()
    gallery.unregister()
    portrait_properties.unregister()
    look_properties.unregister()
    properties.unregister()
    for kind in reversed(preferences.CLASSES):
        bpy.utils.unregister_class(kind)
    connection.current().stop()


def _leave_rendered_viewports() -> None:
    """Show solid shading where our engine draws: Blender hangs at exit on a class that it lost."""
    manager = getattr(bpy.context, "window_manager", None)
    for window in manager.windows if manager else ():
        if window.scene.render.engine != final.DressformRenderEngine.bl_idname:
            continue
        for area in window.screen.areas:
            for space in area.spaces:
                if space.type == "VIEW_3D" and space.shading.type == "RENDERED":
                    space.shading.type = "SOLID"
