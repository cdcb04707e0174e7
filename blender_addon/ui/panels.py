"""The Dressform tab of the 3D view's sidebar, and the render properties of the engine."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy

from .. import connection, error_log, library
from ..scene.people import is_person, person_of
from ..scene.properties import beta_name, expression_name
from .sidebar import Sidebar, how_to_see, paragraph

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATES = {
    "stopped": ("Stopped", "PAUSE"),
    "starting": ("Starting…", "SORTTIME"),
    "running": ("Running", "CHECKMARK"),
    "remote": ("Remote", "URL"),
    "failed": ("Could not start", "ERROR"),
}
_FIRST_SLIDERS = 10


class DRESSFORM_PT_people(Sidebar):
    """Avatars to choose from, and the server they come from."""

    bl_idname = "DRESSFORM_PT_people"
    bl_label = "People"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        _draw_server(layout)  # pyright: ignore[reportArgumentType]
        if not library.known.avatars:
            layout.label(text=how_to_see("avatars"), icon="INFO")
        else:
            settings = context.scene.dressform
            layout.template_icon_view(settings, "avatar", show_labels=True, scale=7.0)
            layout.prop(settings, "avatar", text="")
        row = layout.row()
        row.scale_y = 1.4
        chosen = row.operator("dressform.add_person", icon="OUTLINER_OB_ARMATURE")
        chosen.avatar = context.scene.dressform.avatar if library.known.avatars else ""


def _draw_server(layout: bpy.types.UILayout) -> None:
    link = connection.current()
    text, icon = _STATES[link.state]
    row = layout.row(align=True)
    row.label(text=f"Server: {text}", icon=icon)  # pyright: ignore[reportArgumentType]
    if link.state == "running":
        row.operator("dressform.refresh", text="", icon="FILE_REFRESH")
        row.operator("dressform.stop_server", text="", icon="X")
    elif link.state == "remote":
        row.operator("dressform.refresh", text="", icon="FILE_REFRESH")
    elif link.state != "starting":
        row.operator("dressform.start_server", text="Start", icon="PLAY")
    if link.error is not None:
        paragraph(layout, error_log.sentence(link.error))


class DRESSFORM_PT_person(Sidebar):
    """The active person's shape and expression."""

    bl_idname = "DRESSFORM_PT_person"
    bl_label = "Person"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return is_person(person_of(context.object))

    def draw(self, context: bpy.types.Context) -> None:
        rig = person_of(context.object)
        if rig is None:
            return
        layout = self.layout
        layout.label(text=rig.name, icon="OUTLINER_OB_ARMATURE")
        layout.prop(rig.dressform, "avatar", icon="MOD_CLOTH")
        row = layout.row(align=True)
        row.operator_menu_enum(
            "dressform.apply_motion", "motion", text="Motion", icon="ARMATURE_DATA"
        )
        row.operator("dressform.import_motion", text="Import…", icon="IMPORT")


class DRESSFORM_PT_shape(Sidebar):
    """Shape sliders."""

    bl_idname = "DRESSFORM_PT_shape"
    bl_parent_id = "DRESSFORM_PT_person"
    bl_label = "Shape"

    def draw(self, context: bpy.types.Context) -> None:
        rig = person_of(context.object)
        if rig is not None:
            _draw_sliders(self.layout, rig, [beta_name(i) for i in range(rig.dressform.betas)])  # pyright: ignore[reportArgumentType]
            self.layout.operator("dressform.reset_sliders", icon="LOOP_BACK")


class DRESSFORM_PT_expression(Sidebar):
    """Expression sliders."""

    bl_idname = "DRESSFORM_PT_expression"
    bl_parent_id = "DRESSFORM_PT_person"
    bl_label = "Expression"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        rig = person_of(context.object)
        if rig is not None:
            names = [expression_name(i) for i in range(rig.dressform.expressions)]
            _draw_sliders(self.layout, rig, names)  # pyright: ignore[reportArgumentType]


def _draw_sliders(layout: bpy.types.UILayout, rig: bpy.types.Object, names: list[str]) -> None:
    column = layout.column(align=True)
    for name in names[:_FIRST_SLIDERS]:
        column.prop(rig, f'["{name}"]', text=name, slider=True)
    if len(names) > _FIRST_SLIDERS:
        column.label(text=f"{len(names) - _FIRST_SLIDERS} more under Custom Properties")


class DRESSFORM_PT_render(Sidebar):
    """Render people and portraits."""

    bl_idname = "DRESSFORM_PT_render"
    bl_label = "Render"

    def draw(self, context: bpy.types.Context) -> None:
        layout, scene = self.layout, context.scene
        if scene.dressform_merge.people is not None:
            layout.label(text=f"Merged with {scene.render.engine.title()}", icon="CHECKMARK")
            _draw_render_buttons(layout)  # pyright: ignore[reportArgumentType]
            return
        if scene.render.engine != "DRESSFORM":
            layout.label(text="This scene uses another engine", icon="INFO")
            layout.operator("dressform.use_engine", icon="SHADING_RENDERED")
            return
        if scene.view_settings.view_transform != "Standard":
            layout.label(text="The view transform changes colours", icon="ERROR")
            layout.operator("dressform.use_engine", text="Use Standard")
        if scene.camera is None:
            layout.label(text="The scene has no camera", icon="ERROR")
        layout.prop(context.view_layer, "use_pass_z", text="Depth Pass")
        layout.prop(context.view_layer.dressform, "use_masks", text="Mask Passes")
        layout.prop(context.view_layer.dressform, "use_labels", text="Labels Pass")
        _draw_render_buttons(layout)  # pyright: ignore[reportArgumentType]


def _draw_render_buttons(layout: bpy.types.UILayout) -> None:
    row = layout.row(align=True)
    row.operator("render.render", text="Image", icon="RENDER_STILL").use_viewport = True
    movie = row.operator("render.render", text="Animation", icon="RENDER_ANIMATION")
    movie.animation, movie.use_viewport = True, True


class DRESSFORM_PT_errors(Sidebar):
    """What went wrong lately."""

    bl_idname = "DRESSFORM_PT_errors"
    bl_label = "Errors"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return bool(error_log.entries())

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        for entry in error_log.entries()[:5]:
            box = layout.box().column(align=True)
            times = f"  ×{entry.count}" if entry.count > 1 else ""
            box.label(text=f"{entry.place}{times}", icon="ERROR")
            paragraph(box, entry.cause)
            paragraph(box, f"→ {entry.next_step}")
        row = layout.row(align=True)
        row.operator("dressform.copy_report", icon="COPYDOWN")
        row.operator("dressform.clear_errors", icon="TRASH")


class DRESSFORM_PT_view_layer_passes(bpy.types.Panel):
    """Passes of the engine, in the view layer's properties."""

    bl_idname = "DRESSFORM_PT_view_layer_passes"
    bl_label = "Passes"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "view_layer"
    COMPAT_ENGINES = {"DRESSFORM"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.engine in cls.COMPAT_ENGINES

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(context.view_layer, "use_pass_z", text="Depth")
        layout.prop(context.view_layer.dressform, "use_masks")
        layout.prop(context.view_layer.dressform, "use_labels")


_BEFORE = (
    DRESSFORM_PT_people,
    DRESSFORM_PT_person,
    DRESSFORM_PT_shape,
    DRESSFORM_PT_expression,
)
_AFTER = (DRESSFORM_PT_render, DRESSFORM_PT_errors, DRESSFORM_PT_view_layer_passes)

_FOREIGN_PANELS = ("VIEWLAYER_PT_layer_passes",)


def _shared_panels() -> list[type[bpy.types.Panel]]:
    """Return Blender's own panels that make sense for every engine (camera, output, …)."""
    return [
        panel
        for panel in bpy.types.Panel.__subclasses__()
        if "BLENDER_RENDER" in getattr(panel, "COMPAT_ENGINES", ())
        and panel.__name__ not in _FOREIGN_PANELS
    ]


def register(between: Sequence[type[bpy.types.Panel]]) -> None:
    """Register the panels and join Blender's shared ones.

    Args:
        between: panels that stand after those of people and before Render.
    """
    for kind in (*_BEFORE, *between, *_AFTER):
        bpy.utils.register_class(kind)
    for panel in _shared_panels():
        panel.COMPAT_ENGINES.add("DRESSFORM")


def unregister(between: Sequence[type[bpy.types.Panel]]) -> None:
    """Undo `register`."""
    for panel in _shared_panels():
        panel.COMPAT_ENGINES.discard("DRESSFORM")
    for kind in reversed((*_BEFORE, *between, *_AFTER)):
        bpy.utils.unregister_class(kind)
