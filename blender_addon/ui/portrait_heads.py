"""Operators for the head of a portrait: what it is blended from, and along which directions."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy

from .. import library, portrait_service
from ..contract.errors import BadParameter, DressformError
from ..contract.fields import MAX_SEED
from ..contract.portraits import PortraitLook
from ..scene import portrait_edits, portrait_keys, portraits
from ..scene.looks import DIRECTIONS
from . import watching
from .portraits import OnPortrait, portrait_of
from .waiting import Outcome, Waiting, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

Items = list[tuple[str, str, str]]

_kept: dict[str, Items] = {}
"""Blender keeps pointers to the texts of enum items: every list that it was ever shown."""


def keep_items(items: Items) -> Items:
    """Return items that Blender may keep pointers to."""
    return _kept.setdefault(repr(items), items)


def basis_heads(_self: Any, context: bpy.types.Context | None) -> Items:
    """Return the heads that the active portrait's network learned from."""
    ob = context.object if context is not None else None
    if not portraits.is_portrait(ob):
        return keep_items([("", "None", "No portrait is selected")])
    facts = library.known.facts.get(ob.dressform_portrait.portrait)
    heads = facts.heads if facts is not None else ()
    return keep_items([(head, head, "") for head in heads] or [("", "None known", "Refresh first")])


def other_portraits(_self: Any, context: bpy.types.Context | None) -> Items:
    """Return the other portraits of the scene, then those of the library."""
    if context is None:
        return keep_items([("", "None", "")])
    objects = [
        (f"object:{ob.name}", ob.name, "A portrait of this scene, as it looks now")
        for ob in context.scene.objects
        if portraits.is_portrait(ob) and ob != context.object
    ]
    packages = [
        (f"package:{entry.id}", entry.name, "A portrait of the library")
        for entry in library.known.portraits
    ]
    return keep_items([*objects, *packages] or [("", "None", "There is no other portrait")])


def look_of_choice(context: bpy.types.Context, choice: str) -> tuple[PortraitLook, str]:
    """Return the look and the name of an entry of `other_portraits`.

    Raises:
        BadParameter: it is none of them.
    """
    kind, _, name = choice.partition(":")
    if kind == "object":
        ob = context.scene.objects.get(name)
        if portraits.is_portrait(ob):
            return portraits.read_look(ob), name  # pyright: ignore[reportArgumentType]
    elif kind == "package" and name:
        return PortraitLook(portrait=name), name
    raise BadParameter("there is no other portrait to copy from", "choose a portrait")


class FromPortrait(OnPortrait, Waiting):
    """Takes the codes and styles of another portrait, its `source`, as it looks now."""

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            self._look, self._name = look_of_choice(context, self.source)
        except DressformError as error:
            return refuse(self, error)
        self._uid = portrait_of(context).session_uid
        return super().execute(context)

    def work(self) -> Callable[[Callable[[], bool]], Any]:
        look = self._look
        return lambda stop: portrait_service.itself(watching.server(stop), look)


class DRESSFORM_OT_add_seed_head(OnPortrait, bpy.types.Operator):
    """Add a head drawn by chance to what this portrait is blended from."""

    bl_idname = "dressform.add_seed_head"
    bl_label = "From Seed"
    bl_options = {"REGISTER", "UNDO"}

    seed: bpy.props.IntProperty(
        name="Seed", description="−1: by chance", default=-1, min=-1, max=MAX_SEED
    )

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            source = portrait_edits.add_seed_head(
                portrait_of(context), None if self.seed < 0 else self.seed
            )
        except DressformError as error:
            return refuse(self, error)
        self.seed = source.seed
        return {"FINISHED"}


class DRESSFORM_OT_add_basis_head(OnPortrait, bpy.types.Operator):
    """Add a head that the network learned from to what this portrait is blended from."""

    bl_idname = "dressform.add_basis_head"
    bl_label = "Basis Head"
    bl_options = {"REGISTER", "UNDO"}

    head: bpy.props.EnumProperty(name="Head", items=basis_heads)

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            if not self.head:
                raise BadParameter("no head of the basis is known", "press Refresh first")
            portrait_edits.add_basis_head(portrait_of(context), self.head)
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_add_portrait_head(FromPortrait):
    """Add the head of another portrait, as it is now; it is kept with this object."""

    bl_idname = "dressform.add_portrait_head"
    bl_label = "From Portrait"
    bl_options = {"REGISTER", "UNDO"}

    source: bpy.props.EnumProperty(name="Portrait", items=other_portraits)

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        ob = watching.object_of(self._uid)
        if ob is not None:
            portrait_edits.add_stored_head(ob, result.codes[0], self._name)


class DRESSFORM_OT_remove_head(OnPortrait, bpy.types.Operator):
    """Take a head out of the blend."""

    bl_idname = "dressform.remove_head"
    bl_label = "Remove Head"
    bl_options = {"REGISTER", "UNDO"}

    index: bpy.props.IntProperty(default=-1)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if len(portrait_of(context).dressform_portrait.sources) > 1:
            return True
        cls.poll_message_set("A portrait needs at least one head")
        return False

    def execute(self, context: bpy.types.Context) -> Outcome:
        ob = portrait_of(context)
        index = self.index if self.index >= 0 else ob.dressform_portrait.active_source
        try:
            portrait_edits.remove_head(ob, index)
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_randomise_head(OnPortrait, bpy.types.Operator):
    """Draw this portrait's head by chance: new seeds for the heads that come from seeds."""

    bl_idname = "dressform.randomise_head"
    bl_label = "Randomise Head"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            portrait_edits.randomise_head(portrait_of(context))
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_interpolate_heads(OnPortrait, bpy.types.Operator):
    """Key the weights so that the first chosen head becomes the second over some frames."""

    bl_idname = "dressform.interpolate_heads"
    bl_label = "Interpolate"
    bl_options = {"REGISTER", "UNDO"}

    first: bpy.props.IntProperty(name="From Head", min=1, default=1)
    second: bpy.props.IntProperty(name="To Head", min=1, default=2)
    frames: bpy.props.IntProperty(
        name="Frames", description="Counted from the current frame", min=1, default=48
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if len(portrait_of(context).dressform_portrait.sources) > 1:
            return True
        cls.poll_message_set("Add another head first: a change needs two")
        return False

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Outcome:
        return context.window_manager.invoke_props_dialog(self)  # pyright: ignore[reportReturnType]

    def execute(self, context: bpy.types.Context) -> Outcome:
        now = context.scene.frame_current
        try:
            portrait_keys.key_blend(
                portrait_of(context), self.first - 1, self.second - 1, (now, now + self.frames)
            )
        except DressformError as error:
            return refuse(self, error)
        context.scene.frame_set(now)  # keying went through the last frame's weights
        return {"FINISHED"}


class DRESSFORM_OT_reset_directions(OnPortrait, bpy.types.Operator):
    """Set the direction sliders to 0."""

    bl_idname = "dressform.reset_directions"
    bl_label = "Reset Directions"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        portrait_of(context).dressform_portrait.directions = (0.0,) * DIRECTIONS
        return {"FINISHED"}


CLASSES = (
    DRESSFORM_OT_add_seed_head,
    DRESSFORM_OT_add_basis_head,
    DRESSFORM_OT_add_portrait_head,
    DRESSFORM_OT_remove_head,
    DRESSFORM_OT_randomise_head,
    DRESSFORM_OT_interpolate_heads,
    DRESSFORM_OT_reset_directions,
)
