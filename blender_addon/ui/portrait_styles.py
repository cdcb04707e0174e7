"""Operators for the styles of a portrait's regions, and the samples that they choose from."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bpy

from .. import portrait_service
from ..contract.errors import BadParameter, DressformError
from ..contract.labels import LABEL_GROUPS
from ..contract.portraits import PortraitSample
from ..scene import portrait_edits, portraits
from . import choices, portrait_pictures, watching
from .portrait_heads import FromPortrait, other_portraits
from .portraits import OnPortrait, portrait_of
from .waiting import Outcome, redraw, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..portrait_service import Samples

CHOICES = 6
"""How many samples "More Like This" shows."""

HEAD = "Head"
"""What varies when it is not a group of regions."""

THUMBNAIL = 128

_GROUPS = [("", "All", "All regions")] + [(name, name, "") for name in LABEL_GROUPS]
_SLOTS = [
    ("first", "Style", "The style that shows at mix 0"),
    ("second", "Second Style", "The style that shows at mix 1"),
]


@dataclass(frozen=True)
class Variations:
    """Heads or styles to choose from, and the regions that vary in them."""

    samples: Samples
    labels: list[int]


shelf: choices.Shelf[Variations] = choices.Shelf()
"""The samples that are on show; one portrait at a time."""


def choices_for(ob: bpy.types.Object, head: bool) -> choices.Choices[Variations] | None:
    """Return the samples that are on show for a portrait's head, or for its styles."""
    found = shelf.of(ob)
    return found if found is not None and (found.what == HEAD) == head else None


class _OnGroup(OnPortrait):
    """What operators on a group of the active portrait's regions share."""

    group: bpy.props.StringProperty(name="Group", description="Empty: all regions")


class DRESSFORM_OT_randomise_styles(_OnGroup, bpy.types.Operator):
    """Give the regions that are not locked styles drawn by chance."""

    bl_idname = "dressform.randomise_styles"
    bl_label = "Randomise"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            labels = portrait_edits.labels_of(self.group)
            if not portrait_edits.randomise_styles(portrait_of(context), labels):
                raise BadParameter("all these regions are locked", "unlock one of them")
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_reset_styles(_OnGroup, bpy.types.Operator):
    """Show the package's own styles again."""

    bl_idname = "dressform.reset_styles"
    bl_label = "Own Styles"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            portrait_edits.reset_styles(portrait_of(context), portrait_edits.labels_of(self.group))
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_swap_styles(_OnGroup, bpy.types.Operator):
    """Exchange style and second style, so that the other one can be worked on."""

    bl_idname = "dressform.swap_styles"
    bl_label = "Swap Styles"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        portrait_edits.swap_styles(portrait_of(context), portrait_edits.labels_of(self.group))
        return {"FINISHED"}


class DRESSFORM_OT_more_like_this(OnPortrait, bpy.types.Operator):
    """Show six variations of this head or of these styles; click one to take it."""

    bl_idname = "dressform.more_like_this"
    bl_label = "More Like This"
    bl_options = {"REGISTER"}

    what: bpy.props.StringProperty(
        name="What", description="Head, a group of regions, or empty for all regions"
    )
    near: bpy.props.FloatProperty(
        name="Difference", description="How far they lie from this one", min=0.0, max=1.0,
        default=0.35, subtype="FACTOR",
    )  # fmt: skip

    def execute(self, context: bpy.types.Context) -> Outcome:
        ob = portrait_of(context)
        try:
            wanted = _variations(ob, self.what, self.near)
            _show_when_there(ob.session_uid, self.what, wanted)
        except DressformError as error:
            return refuse(self, error)
        redraw(context)
        return {"FINISHED"}


def _variations(ob: bpy.types.Object, what: str, near: float) -> PortraitSample:
    shape = what == HEAD
    labels = portrait_edits.labels_of("" if shape else what)
    varied = portrait_edits.unlocked(ob.dressform_portrait, labels)
    if not shape and not varied:
        raise BadParameter("all these regions are locked", "unlock one of them")
    return PortraitSample(
        look=portraits.read_look(ob),
        seeds=tuple(random.sample(range(portrait_edits.SEEDS_SHOWN), CHOICES)),
        vary=("shape",) if shape else ("styles",),
        labels=tuple(varied) if not shape else (0,),
        near=near,
        size=THUMBNAIL,
    )


def more_key(uid: int) -> str:
    """Return the key of the job that draws variations (`watching`)."""
    return f"more {uid}"


def _show_when_there(uid: int, what: str, wanted: PortraitSample) -> None:
    def show(samples: Samples) -> None:
        shelf.show(
            choices.Choices(
                uid=uid,
                what=what,
                samples=Variations(samples=samples, labels=list(wanted.labels)),
                images=samples.images,
            )
        )

    def work(stop: Callable[[], bool]) -> Samples:
        return portrait_service.sample(watching.server(stop), wanted)

    watching.watch("More Like This", more_key(uid), work, show)


class DRESSFORM_OT_take_choice(OnPortrait, bpy.types.Operator):
    """Take this variation; it is kept with the object."""

    bl_idname = "dressform.take_choice"
    bl_label = "Take"
    bl_options = {"REGISTER", "UNDO"}

    index: bpy.props.IntProperty(min=0, max=CHOICES - 1)
    slot: bpy.props.EnumProperty(name="Into", items=_SLOTS)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if shelf.of(portrait_of(context)) is not None:
            return True
        cls.poll_message_set("Press More Like This first")
        return False

    def execute(self, context: bpy.types.Context) -> Outcome:
        ob = portrait_of(context)
        found = shelf.of(ob)
        if found is None:
            return {"CANCELLED"}
        variations = found.samples
        try:
            if found.what == HEAD:
                source = portrait_edits.add_stored_head(
                    ob, variations.samples.codes[self.index], f"Variation {self.index + 1}"
                )
                portrait_edits.show_only(ob, source)
                ob.dressform_portrait.directions = (0.0,) * len(ob.dressform_portrait.directions)
            else:
                portrait_edits.store_styles(
                    ob, variations.samples.styles[self.index], variations.labels, self.slot
                )
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_copy_styles(FromPortrait):
    """Copy styles from another portrait of the scene or the library; they are kept here."""

    bl_idname = "dressform.copy_styles"
    bl_label = "Copy Styles"
    bl_options = {"REGISTER", "UNDO"}
    bl_property = "source"

    source: bpy.props.EnumProperty(name="From", items=other_portraits)
    group: bpy.props.EnumProperty(name="Regions", items=_GROUPS)
    slot: bpy.props.EnumProperty(name="Into", items=_SLOTS)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Outcome:
        return context.window_manager.invoke_props_dialog(self)  # pyright: ignore[reportReturnType]

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        ob = watching.object_of(self._uid)
        if ob is not None:
            labels = [int(label) for label in portrait_edits.labels_of(self.group)]
            portrait_edits.store_styles(ob, result.styles[0], labels, self.slot)
            portrait_pictures.want(ob)


CLASSES = (
    DRESSFORM_OT_randomise_styles,
    DRESSFORM_OT_reset_styles,
    DRESSFORM_OT_swap_styles,
    DRESSFORM_OT_more_like_this,
    DRESSFORM_OT_take_choice,
    DRESSFORM_OT_copy_styles,
)
