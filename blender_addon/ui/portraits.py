"""Operators that add portraits, bake their stand-ins and key their looks: thin."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy

from .. import portrait_service
from ..contract.errors import DressformError
from ..scene import portrait_keys, portraits, staging
from . import gallery, watching
from .waiting import Outcome, Waiting, redraw, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..library import PortraitEntry, PortraitFacts
    from ..scene.head_meshes import LabelledMesh


def portrait_of(context: bpy.types.Context) -> bpy.types.Object:
    """Return the active portrait; operators' polls have made sure of it."""
    return context.object  # pyright: ignore[reportReturnType]


class OnPortrait:
    """What operators on the active portrait share; the poll's message says what is missing."""

    @classmethod
    def poll(cls: Any, context: bpy.types.Context) -> bool:
        if portraits.is_portrait(context.object):
            return True
        cls.poll_message_set("Select a portrait first (Add Portrait makes one)")
        return False


class DRESSFORM_OT_add_portrait(Waiting):
    """Add a portrait to look at from anywhere, to restyle and to animate."""

    bl_idname = "dressform.add_portrait"
    bl_label = "Add Portrait"
    bl_options = {"REGISTER", "UNDO"}

    portrait: bpy.props.StringProperty(
        name="Portrait", description="Id of the portrait; empty for the first of the library"
    )
    stand_in: bpy.props.BoolProperty(
        name="Bake Stand-in",
        description="Show the head itself in solid views, too; until then, a simple one",
        default=True,
    )

    def work(self) -> Callable[[Callable[[], bool]], Any]:
        wanted = self.portrait
        return lambda stop: portrait_service.find(watching.server(stop), wanted)

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        entry: PortraitEntry
        facts: PortraitFacts
        entry, facts = result
        gallery.refresh()
        first = not any(portraits.is_portrait(ob) for ob in context.scene.objects)
        ob = portraits.add_portrait(context, entry.id, name=entry.name, directions=facts.directions)
        portraits.show_label_colors(context)
        if first and staging.prepare_scene(context.scene):  # pyright: ignore[reportArgumentType]
            self.report({"INFO"}, "Scene set to the Dressform engine and the Standard view")
        if self.stand_in:
            bake_stand_in(ob)


class DRESSFORM_OT_bake_portrait(OnPortrait, bpy.types.Operator):
    """Bake the head as it is at this frame into the stand-in that solid views show."""

    bl_idname = "dressform.bake_portrait"
    bl_label = "Update Stand-in"
    bl_options = {"REGISTER"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            bake_stand_in(portrait_of(context))
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


def bake_key(ob: bpy.types.Object) -> str:
    """Return the key of the job that bakes a portrait's stand-in (`watching`)."""
    return f"bake {ob.session_uid}"


def bake_stand_in(ob: bpy.types.Object) -> None:
    """Bake a portrait's head in a job; the stand-in changes when it is there.

    Raises:
        DressformError: in background mode, where this waits.
    """
    uid, look = ob.session_uid, portraits.read_look(ob)

    def show(result: tuple[LabelledMesh, str]) -> None:
        current = watching.object_of(uid)
        if portraits.is_portrait(current):
            portraits.show_mesh(current, *result)  # pyright: ignore[reportArgumentType]

    def work(stop: Callable[[], bool]) -> tuple[LabelledMesh, str]:
        return portrait_service.bake(watching.server(stop), look)

    watching.watch("Bake Head", bake_key(ob), work, show)


class DRESSFORM_OT_key_look(OnPortrait, bpy.types.Operator):
    """Key everything that this portrait's look depends on, at this frame; seeds hold."""

    bl_idname = "dressform.key_look"
    bl_label = "Key Look"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        count = portrait_keys.key_look(portrait_of(context), context.scene.frame_current)
        self.report({"INFO"}, f"{count} properties keyed at frame {context.scene.frame_current}")
        redraw(context)
        return {"FINISHED"}


CLASSES = (DRESSFORM_OT_add_portrait, DRESSFORM_OT_bake_portrait, DRESSFORM_OT_key_look)
