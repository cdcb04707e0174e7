"""Merge with Scene: a panel under Render, and its operators."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import bpy

from ..contract.errors import DressformError
from ..scene import merge
from ..scene.merge_nodes import can_keep_colours
from ..scene.people import is_person
from .sidebar import Sidebar
from .waiting import Outcome, refuse


class DRESSFORM_OT_merge(bpy.types.Operator):
    """Show the people and everything else in one render: merged by depth, with shadows."""

    bl_idname = "dressform.merge"
    bl_label = "Merge with Scene"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        hindrance = merge.why_not(context.scene)  # pyright: ignore[reportArgumentType]
        if hindrance is not None:
            cls.poll_message_set(f"{hindrance.cause}: {hindrance.next_step}")
        return hindrance is None

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            notes = merge.merge(context.scene, context.view_layer)  # pyright: ignore[reportArgumentType]
        except DressformError as error:
            return refuse(self, error)
        for note in notes:
            self.report({"WARNING"}, note)
        return {"FINISHED"}


class DRESSFORM_OT_unmerge(bpy.types.Operator):
    """Put compositor, passes and stand-ins back as they were before Merge with Scene."""

    bl_idname = "dressform.unmerge"
    bl_label = "Unmerge"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if merge.can_unmerge(context.scene):  # pyright: ignore[reportArgumentType]
            return True
        cls.poll_message_set("This scene's people are not merged")
        return False

    def execute(self, context: bpy.types.Context) -> Outcome:
        merge.unmerge(context.scene)  # pyright: ignore[reportArgumentType]
        return {"FINISHED"}


class DRESSFORM_OT_add_shadow_catcher(bpy.types.Operator):
    """Add an invisible floor that catches shadows, to lay the render over a filmed background."""

    bl_idname = "dressform.add_shadow_catcher"
    bl_label = "Add Shadow Catcher"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.scene.render.engine == "CYCLES":
            return True
        cls.poll_message_set("Only Cycles has shadow catchers")
        return False

    def execute(self, context: bpy.types.Context) -> Outcome:
        rig = context.object if is_person(context.object) else None
        try:
            merge.add_shadow_catcher(context.scene, rig)  # pyright: ignore[reportArgumentType]
        except DressformError as error:
            return refuse(self, error)
        self.report({"INFO"}, "The film is now transparent")
        return {"FINISHED"}


class DRESSFORM_PT_merge(Sidebar):
    """The people and the scene's own render in one picture."""

    bl_idname = "DRESSFORM_PT_merge"
    bl_label = "Merge with Scene"
    bl_parent_id = "DRESSFORM_PT_render"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, scene = self.layout, context.scene
        state = scene.dressform_merge
        if state.shown is not None:
            layout.label(text=f"Renders the people of {state.shown.name}", icon="INFO")
            return
        layout.use_property_split = True
        layout.prop(state, "shadows")
        layout.prop(state, "place")
        layout.prop(state, "output")
        layout.prop(state, "margin")
        if scene.view_settings.view_transform != "Standard":
            layout.prop(state, "colours")
            if state.colours == "KEEP" and not can_keep_colours(scene.view_settings.view_transform):
                layout.label(text="This view transform changes the people", icon="ERROR")
        merged = merge.is_merged(scene)  # pyright: ignore[reportArgumentType]
        row = layout.row(align=True)
        row.scale_y = 1.3
        row.operator(
            "dressform.merge", text="Update" if merged else "Merge with Scene", icon="RENDERLAYERS"
        )
        if merged:
            row.operator("dressform.unmerge", icon="X")
            for name in merge.not_merged_yet(scene, context.view_layer)[:3]:  # pyright: ignore[reportArgumentType]
                layout.label(text=f"{name} is new: press Update", icon="ERROR")
        layout.operator("dressform.add_shadow_catcher", icon="MESH_PLANE")


CLASSES = (
    DRESSFORM_OT_merge,
    DRESSFORM_OT_unmerge,
    DRESSFORM_OT_add_shadow_catcher,
    DRESSFORM_PT_merge,
)


def register() -> None:
    """Register operators and panel."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)


def unregister() -> None:
    """Undo `register`."""
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
