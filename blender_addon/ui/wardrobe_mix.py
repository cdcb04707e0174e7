"""Operators that mix a person with others, key the look and keep it as an avatar: thin."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import bpy

from .. import library, wardrobe_service
from ..contract.avatar_look import AvatarLook, LookSource
from ..contract.errors import DressformError
from ..contract.fields import MAX_SEED
from ..contract.wardrobe import AvatarSave
from ..scene import worn_looks
from ..scene.people import betas_of
from ..scene.portrait_edits import SEEDS_SHOWN
from . import gallery, watching
from .portrait_heads import Items, keep_items
from .waiting import Outcome, Waiting, redraw, refuse
from .wardrobe import OnPerson, fitting_wardrobe, rig_of

if TYPE_CHECKING:
    from collections.abc import Callable

SOMEBODY_NEW = ":new"
"""No avatar can have this id; Blender would take an empty one for a heading."""


def others(_self: Any, context: bpy.types.Context | None) -> Items:
    """Return somebody new, then the avatars that the active person can be mixed with."""
    found: Items = []
    if context is not None and context.object is not None:
        rig = rig_of(context)
        if fitting_wardrobe(rig):
            found.append((SOMEBODY_NEW, "Somebody New", "A person whom the wardrobe draws"))
        found += [(each.id, each.name, "") for each in library.known.like(rig.dressform.avatar)]
    return keep_items(found or [(SOMEBODY_NEW, "Nobody", "")])


class DRESSFORM_OT_mix_person(OnPerson, bpy.types.Operator):
    """Let the active person go towards somebody: an avatar, or a person drawn by chance."""

    bl_idname = "dressform.mix_person"
    bl_label = "Mix With"
    bl_options = {"REGISTER", "UNDO"}

    other: bpy.props.EnumProperty(name="Who", items=others, options={"SKIP_SAVE"})
    seed: bpy.props.IntProperty(
        name="Seed", description="−1: by chance", default=-1, min=-1, max=MAX_SEED,
        options={"SKIP_SAVE"},
    )  # fmt: skip

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        rig = rig_of(context)
        if fitting_wardrobe(rig) or library.known.like(rig.dressform.avatar):
            return True
        cls.poll_message_set("No other avatar of the library shares this one's dresser and body")
        return False

    def execute(self, context: bpy.types.Context) -> Outcome:
        rig = rig_of(context)
        seed = random.randint(0, SEEDS_SHOWN) if self.seed < 0 else self.seed
        new = self.other in ("", SOMEBODY_NEW)
        other = LookSource(seed=seed) if new else LookSource(avatar=self.other)
        try:
            worn_looks.add_source(rig, other)
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_unmix_person(OnPerson, bpy.types.Operator):
    """Take somebody out of the mix."""

    bl_idname = "dressform.unmix_person"
    bl_label = "Remove"
    bl_options = {"REGISTER", "UNDO"}

    index: bpy.props.IntProperty()

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            worn_looks.remove_source(rig_of(context), self.index)
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_reset_person_look(OnPerson, bpy.types.Operator):
    """Let the active person look like their avatar again."""

    bl_idname = "dressform.reset_person_look"
    bl_label = "Own Look"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        worn_looks.wear(rig_of(context), None)
        redraw(context)
        return {"FINISHED"}


class DRESSFORM_OT_key_person_look(OnPerson, bpy.types.Operator):
    """Key everything that this person's look depends on, at this frame; seeds hold."""

    bl_idname = "dressform.key_person_look"
    bl_label = "Key Look"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        frame = context.scene.frame_current
        count = worn_looks.key_worn_look(rig_of(context), frame)
        self.report({"INFO"}, f"{count} properties keyed at frame {frame}")
        redraw(context)
        return {"FINISHED"}


class DRESSFORM_OT_save_person(OnPerson, Waiting):
    """Keep the active person, as they look and are shaped at this frame, as an avatar."""

    bl_idname = "dressform.save_person"
    bl_label = "Save as Avatar"
    bl_options = {"REGISTER"}

    name: bpy.props.StringProperty(
        name="Name", description="Of the avatar; empty: the rig's name", options={"SKIP_SAVE"}
    )
    replace: bpy.props.BoolProperty(
        name="Replace", description="An avatar of this name", options={"SKIP_SAVE"}
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Outcome:
        self.name = self.name or rig_of(context).name
        return context.window_manager.invoke_props_dialog(self)  # pyright: ignore[reportReturnType]

    def work(self) -> Callable[[Callable[[], bool]], Any]:
        rig = rig_of(bpy.context)
        wanted = AvatarSave(
            avatar=rig.dressform.avatar,
            name=self.name or rig.name,
            look=worn_looks.read_look(rig) or AvatarLook(),
            betas=betas_of(rig).astype("float32"),
            replace=self.replace,
        )
        return lambda stop: wardrobe_service.save(watching.server(stop), wanted)

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        gallery.show(context.scene.name, "avatar", result.id)
        self.report({"INFO"}, f"{result.name} is in the gallery")


CLASSES = (
    DRESSFORM_OT_mix_person,
    DRESSFORM_OT_unmix_person,
    DRESSFORM_OT_reset_person_look,
    DRESSFORM_OT_key_person_look,
    DRESSFORM_OT_save_person,
)
