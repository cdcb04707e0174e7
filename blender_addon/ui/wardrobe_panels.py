"""The panels of the wardrobe: people to choose from, mixing, parts, directions."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import library
from ..contract.avatar_look import PARTS
from ..scene.people import person_of
from . import choices, photo_options, wardrobe, wardrobe_photo, watching
from .sidebar import Sidebar, directions, how_to_see, paragraph

if TYPE_CHECKING:
    import bpy


class DRESSFORM_PT_wardrobe(Sidebar):
    """People drawn by chance, and people of photographs."""

    bl_idname = "DRESSFORM_PT_wardrobe"
    bl_label = "Wardrobe"

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        settings = context.scene.dressform
        known = library.known
        if not known.wardrobes:
            listed = known.avatars or known.portraits
            text = "The library has no wardrobe" if listed else how_to_see("wardrobe")
            layout.label(text=text, icon="INFO")
            return
        if len(known.wardrobes) > 1:
            layout.prop(settings, "wardrobe", text="")
        _draw_choices(layout, context)


def _draw_choices(layout: Any, context: bpy.types.Context) -> None:
    settings, rig = context.scene.dressform, person_of(context.object)
    if watching.is_running(wardrobe.DRAW_KEY):
        layout.label(text="Drawing people…", icon="SORTTIME")
    else:
        row = layout.row(align=True)
        row.scale_y = 1.4
        anew = row.operator("dressform.draw_people", icon="FILE_REFRESH")
        anew.near, anew.vary = 0.0, settings.draw_part
        if rig is not None and wardrobe.fitting_wardrobe(rig):
            like = row.operator("dressform.draw_people", text="More Like This", icon="IMGDISPLAY")
            like.near, like.vary = wardrobe.NEAR, settings.draw_part
    layout.prop(settings, "draw_part")
    found = wardrobe.drawn_for(context)
    if found is None:
        return
    title = f"For {rig.name}" if rig is not None else "New people"
    if found.what:
        title += f": {found.what}"
    for index, cell in enumerate(choices.draw_grid(layout, found, title)):
        if rig is not None:
            cell.operator("dressform.wear_drawn").index = index
        row = cell.row(align=True)
        row.operator("dressform.add_drawn", text="", icon="ADD").index = index
        row.operator("dressform.more_like_drawn", text="", icon="IMGDISPLAY").index = index
        locked = index in found.samples.locked
        icon = "LOCKED" if locked else "UNLOCKED"
        lock = row.operator("dressform.lock_drawn", text="", icon=icon, depress=locked)
        lock.index = index


class DRESSFORM_PT_wardrobe_photo(Sidebar):
    """People made of photographs."""

    bl_idname = "DRESSFORM_PT_wardrobe_photo"
    bl_label = "From Photo"
    bl_parent_id = "DRESSFORM_PT_wardrobe"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return bool(library.known.wardrobes)

    def draw(self, context: bpy.types.Context) -> None:
        wardrobe_photo.draw(self.layout, context)


class DRESSFORM_PT_wardrobe_photo_options(Sidebar):
    """What can be said about a photograph before its person is made."""

    bl_idname = "DRESSFORM_PT_wardrobe_photo_options"
    bl_label = "Options"
    bl_parent_id = "DRESSFORM_PT_wardrobe_photo"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        photo_options.draw(self.layout, context.scene.dressform.photo_options)


class _OfPerson(Sidebar):
    """A panel for the active person's look."""

    bl_parent_id = "DRESSFORM_PT_wardrobe"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return person_of(context.object) is not None


class DRESSFORM_PT_wardrobe_mix(_OfPerson):
    """Whom the active person goes towards, and whose parts they wear."""

    bl_idname = "DRESSFORM_PT_wardrobe_mix"
    bl_label = "Mix"

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        rig = wardrobe.rig_of(context)
        state = rig.dressform_look
        row = layout.row(align=True)
        row.operator("dressform.key_person_look", icon="KEY_HLT")
        row.operator("dressform.save_person", text="Save…", icon="FILE_TICK")
        row.operator("dressform.reset_person_look", text="", icon="LOOP_BACK")
        for index, person in enumerate(state.people):
            row = layout.row(align=True)
            _draw_source(row, person)
            row.prop(person, "amount", text="")
            row.operator("dressform.unmix_person", text="", icon="X").index = index
        layout.operator_menu_enum("dressform.mix_person", "other", icon="ADD")
        column = layout.column(align=True)
        for part in PARTS:
            settings = getattr(state, part)
            row = column.row(align=True)
            row.prop(settings, "kind", text=part.capitalize())
            if settings.kind == "NONE":
                continue
            row = column.row(align=True)
            _draw_source(row, settings)
            row.prop(settings, "amount", text="")
        layout.prop(state, "truncation", slider=True)


def _draw_source(row: Any, settings: Any) -> None:
    if settings.kind == "SEED":
        row.prop(settings, "seed", text="")
    elif settings.kind == "AVATAR":
        row.prop(settings, "avatar", text="")


class DRESSFORM_PT_wardrobe_directions(_OfPerson):
    """Sliders along what people differ in most."""

    bl_idname = "DRESSFORM_PT_wardrobe_directions"
    bl_label = "Directions"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        rig = person_of(context.object)
        return rig is not None and bool(wardrobe.fitting_wardrobe(rig))

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        state = wardrobe.rig_of(context).dressform_look
        names = library.known.directions.get(wardrobe.wardrobe_of(context), ())
        directions(layout, state, names)
        if not names:
            paragraph(layout, "What they do is known once people were drawn")


CLASSES = (
    DRESSFORM_PT_wardrobe,
    DRESSFORM_PT_wardrobe_photo,
    DRESSFORM_PT_wardrobe_photo_options,
    DRESSFORM_PT_wardrobe_mix,
    DRESSFORM_PT_wardrobe_directions,
)
