"""Operators of the wardrobe: people drawn by chance, to wear, to add, to vary: thin."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from .. import library, wardrobe_service
from ..contract.avatar_look import AvatarLook
from ..contract.errors import BadParameter, DressformError
from ..contract.wardrobe import AvatarSample, PersonView
from ..scene import worn_looks
from ..scene.people import person_of
from ..scene.portrait_edits import SEEDS_SHOWN
from . import choices, watching
from .operators import add_to_scene, to_add
from .settings import PART_ITEMS
from .waiting import Outcome, Waiting, redraw, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CHOICES = 6
"""How many people are drawn at once."""

THUMBNAIL = 128
DRAW_KEY = "draw people"

NEAR = 0.6
"""How much of a person stays in "More Like This"."""


@dataclass
class Drawn:
    """People to choose from.

    Attributes:
        avatar: id of what wears their looks: the active person's avatar, or the wardrobe.
        looks: one for each picture.
        locked: pictures that stay when others are drawn.
    """

    avatar: str
    looks: list[AvatarLook]
    locked: set[int] = field(default_factory=set[int])


shelf: choices.Shelf[Drawn] = choices.Shelf()
"""The people that are on show."""


def no_wardrobe(operator: type[bpy.types.Operator]) -> bool:
    """Tell whether the library is known to have no wardrobe; the poll's message says so."""
    known = library.known
    if known.wardrobes or not (known.avatars or known.portraits):
        return False  # there is one, or nobody has looked yet
    operator.poll_message_set(
        f"{library.NO_WARDROBE[0].upper()}{library.NO_WARDROBE[1:]}: {library.WITHOUT_WARDROBE}"
    )
    return True


def needs_person(operator: type[bpy.types.Operator], context: bpy.types.Context) -> bool:
    """Tell whether a person is active; the poll's message says what is missing."""
    if person_of(context.object) is not None:
        return True
    operator.poll_message_set("Select a person first (Add Person makes one)")
    return False


class OnPerson:
    """What operators on the active person share."""

    @classmethod
    def poll(cls: Any, context: bpy.types.Context) -> bool:
        return needs_person(cls, context)


def rig_of(context: bpy.types.Context) -> bpy.types.Object:
    """Return the active person's rig; operators' polls have made sure of it."""
    return person_of(context.object)  # pyright: ignore[reportReturnType]


def fitting_wardrobe(rig: bpy.types.Object) -> str:
    """Return the id of the wardrobe that a person's look can be changed with; "" without one."""
    found = library.known.wardrobe_for(rig.dressform.avatar)
    return rig.dressform_look.wardrobe or (found.id if found is not None else "")


def wardrobe_of(context: bpy.types.Context) -> str:
    """Return the id of the wardrobe that fits the active person, or else the chosen one.

    "" stands for the first of the library.
    """
    rig = person_of(context.object)
    fitting = "" if rig is None else fitting_wardrobe(rig)
    return fitting or (context.scene.dressform.wardrobe if len(library.known.wardrobes) > 1 else "")


class _OfDrawn:
    """What the operators below the pictures share."""

    index: bpy.props.IntProperty(min=0, max=CHOICES - 1, options={"SKIP_SAVE"})

    @classmethod
    def poll(cls: Any, context: bpy.types.Context) -> bool:
        if drawn_for(context) is not None:
            return True
        cls.poll_message_set("Press Draw People first")
        return False


def drawn_for(context: bpy.types.Context) -> choices.Choices[Drawn] | None:
    """Return the people on show for the active person, or for nobody if nobody is active."""
    return shelf.of(person_of(context.object))


def _drawn(context: bpy.types.Context) -> Drawn:
    """Return the people on show; operators' polls have made sure of them."""
    return drawn_for(context).samples  # pyright: ignore[reportReturnType]


class DRESSFORM_OT_draw_people(bpy.types.Operator):
    """Show six people whom the wardrobe draws; locked ones stay."""

    bl_idname = "dressform.draw_people"
    bl_label = "Draw People"
    bl_options = {"REGISTER"}

    near: bpy.props.FloatProperty(
        name="Likeness",
        description="How much of the active person stays: 0 draws anew",
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        options={"SKIP_SAVE"},
    )
    vary: bpy.props.EnumProperty(
        name="Draw",
        description="Draw whole people, or only this part of them",
        items=PART_ITEMS,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return not no_wardrobe(cls)

    def execute(self, context: bpy.types.Context) -> Outcome:
        rig = person_of(context.object)
        look = None if rig is None else worn_looks.read_look(rig)
        try:
            _draw(context, look or AvatarLook(), self.near, self.vary)
        except DressformError as error:
            return refuse(self, error)
        redraw(context)
        return {"FINISHED"}


class DRESSFORM_OT_more_like_drawn(_OfDrawn, bpy.types.Operator):
    """Draw people who are like this one; locked ones stay."""

    bl_idname = "dressform.more_like_drawn"
    bl_label = "More Like This"
    bl_options = {"REGISTER"}

    near: bpy.props.FloatProperty(
        name="Likeness", description="How much of this person stays", min=0.0, max=1.0,
        default=NEAR, subtype="FACTOR",
    )  # fmt: skip

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            _draw(context, _drawn(context).looks[self.index], self.near, "ALL")
        except DressformError as error:
            return refuse(self, error)
        redraw(context)
        return {"FINISHED"}


class DRESSFORM_OT_lock_drawn(_OfDrawn, bpy.types.Operator):
    """Keep this person when others are drawn."""

    bl_idname = "dressform.lock_drawn"
    bl_label = "Lock"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        _drawn(context).locked ^= {self.index}
        return {"FINISHED"}


class DRESSFORM_OT_wear_drawn(_OfDrawn, bpy.types.Operator):
    """Let the active person look like this one; pose, shape and motion stay."""

    bl_idname = "dressform.wear_drawn"
    bl_label = "Wear"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return needs_person(cls, context) and super().poll(context)

    def execute(self, context: bpy.types.Context) -> Outcome:
        rig, drawn = rig_of(context), _drawn(context)
        try:
            worn_looks.wear(rig, drawn.looks[self.index])
        except DressformError as error:
            return refuse(self, error)
        rig.dressform.avatar = drawn.avatar
        redraw(context)
        return {"FINISHED"}


class DRESSFORM_OT_add_drawn(_OfDrawn, Waiting):
    """Add this person to the scene: a rig of their own."""

    bl_idname = "dressform.add_drawn"
    bl_label = "Add"
    bl_options = {"REGISTER", "UNDO"}

    def work(self) -> Callable[[Callable[[], bool]], Any]:
        drawn = _drawn(bpy.context)
        self._look = drawn.looks[self.index]
        return to_add(drawn.avatar)

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        before = drawn_for(context)
        added = add_to_scene(self, context, result)
        worn_looks.wear(added, self._look)
        if before is not None:  # go on choosing, for the new person
            before.uid = added.session_uid


def _draw(context: bpy.types.Context, look: AvatarLook, near: float, part: str) -> None:
    """Draw people in a job; they are on show when they are there.

    A person of another dresser cannot go towards them: then they are people of their own.

    Raises:
        BadParameter: all people on show are locked.
    """
    rig = person_of(context.object)
    uid = 0 if rig is None else rig.session_uid
    before = shelf.of(rig)
    kept = sorted(before.samples.locked) if before is not None else []
    if len(kept) == CHOICES:
        raise BadParameter("all people on show are locked", "unlock one of them")
    seeds = tuple(random.sample(range(SEEDS_SHOWN), CHOICES - len(kept)))
    chosen, worn = wardrobe_of(context), "" if rig is None else rig.dressform.avatar
    varied = "" if part == "ALL" else part

    def work(stop: Callable[[], bool]) -> tuple[AvatarSample, NDArray[np.uint8]]:
        server = watching.server(stop)
        found = wardrobe_service.find(server, look.wardrobe or chosen)
        fits = library.known.wardrobe_for(worn) is not None
        known = fits or bool(look.wardrobe)
        asked = AvatarSample(
            avatar=worn if fits else found.id,
            look=replace(look if known else AvatarLook(), wardrobe=found.id),
            seeds=seeds,
            near=near if known else 0.0,
            vary=varied,
            view=PersonView(size=THUMBNAIL, part=varied),
        )
        return asked, wardrobe_service.draw(server, asked)

    def show(result: tuple[AvatarSample, NDArray[np.uint8]]) -> None:
        asked, images = result
        looks = asked.looks()
        pictures = list(images)
        if before is not None and before.images is not None:
            for index in kept:
                looks.insert(index, before.samples.looks[index])
                pictures.insert(index, before.images[index])
        shelf.show(
            choices.Choices(
                uid=uid,
                what=asked.vary,
                samples=Drawn(avatar=asked.avatar, looks=looks, locked=set(kept)),
                images=np.stack(pictures),
            )
        )

    watching.watch("Draw People", DRAW_KEY, work, show)


CLASSES = (
    DRESSFORM_OT_draw_people,
    DRESSFORM_OT_more_like_drawn,
    DRESSFORM_OT_lock_drawn,
    DRESSFORM_OT_wear_drawn,
    DRESSFORM_OT_add_drawn,
)
