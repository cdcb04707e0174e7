"""The panels of portraits: gallery, head, styles, painted labels."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import library
from ..contract.errors import DressformError
from ..contract.labels import LABEL_GROUPS, LABEL_NAMES
from ..scene import portraits
from ..scene.cameras import scene_camera
from ..scene.portrait_properties import STORED
from . import choices, portrait_photo, portrait_pictures, portrait_styles, watching
from .portraits import bake_key
from .sidebar import Sidebar, directions, how_to_see, paragraph

if TYPE_CHECKING:
    import bpy

_KIND_ICONS = {"OWN": "USER", "SEED": "RNDCURVE", "HEAD": "OUTLINER_OB_META", "STORED": "PACKAGE"}
_GROUP_ICONS = {
    "Background": "IMAGE_BACKGROUND",
    "Complexion": "MATSHADERBALL",
    "Hair": "STRANDS",
    "Eyes & mouth": "HIDE_OFF",
    "Wearings": "MATCLOTH",
}


class DRESSFORM_PT_portraits(Sidebar):
    """Portraits to choose from."""

    bl_idname = "DRESSFORM_PT_portraits"
    bl_label = "Portraits"

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        settings = context.scene.dressform
        if library.known.portraits:
            layout.template_icon_view(settings, "portrait", show_labels=True, scale=6.0)
            layout.prop(settings, "portrait", text="")
        elif library.known.avatars:
            layout.label(text="The library has no portraits", icon="INFO")
        else:
            layout.label(text=how_to_see("portraits"), icon="INFO")
        row = layout.row()
        row.scale_y = 1.4
        add = row.operator("dressform.add_portrait", icon="USER")
        add.portrait = settings.portrait if library.known.portraits else ""
        portrait_photo.draw(layout)


class DRESSFORM_PT_portrait(Sidebar):
    """The active portrait."""

    bl_idname = "DRESSFORM_PT_portrait"
    bl_label = "Portrait"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return portraits.is_portrait(context.object)

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        ob: Any = context.object
        state = ob.dressform_portrait
        layout.label(text=ob.name, icon="USER")
        icon = portrait_pictures.icon_of(ob)
        if icon:
            picture = layout.column()
            picture.template_icon(icon_value=icon, scale=6.0)
            picture.enabled = portrait_pictures.is_current(ob)
        layout.prop(state, "portrait", text="", icon="PACKAGE")
        row = layout.row(align=True)
        row.operator("dressform.key_look", icon="KEY_HLT")
        if watching.is_running(bake_key(ob)):
            row.label(text="Baking…", icon="SORTTIME")
        else:
            row.operator("dressform.bake_portrait", icon="MESH_MONKEY")
        layout.prop(state, "backdrop")


class DRESSFORM_PT_portrait_head(Sidebar):
    """What the head is blended from."""

    bl_idname = "DRESSFORM_PT_portrait_head"
    bl_parent_id = "DRESSFORM_PT_portrait"
    bl_label = "Head"

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        ob: Any = context.object
        state = ob.dressform_portrait
        for index, source in enumerate(state.sources):
            _draw_source(layout, source, index, removable=len(state.sources) > 1)
        if all(source.weight <= 0.0 for source in state.sources):
            layout.label(text="All weights are 0: raise one", icon="ERROR")
        row = layout.row(align=True)
        row.operator("dressform.add_seed_head", text="Seed", icon="ADD").seed = -1
        row.operator_menu_enum("dressform.add_basis_head", "head", text="Basis", icon="ADD")
        row.operator_menu_enum("dressform.add_portrait_head", "source", text="From", icon="ADD")
        row = layout.row(align=True)
        row.operator("dressform.randomise_head", text="Randomise", icon="FILE_REFRESH")
        row.operator("dressform.interpolate_heads", icon="IPO_EASE_IN_OUT")
        _draw_choices(layout, ob, portrait_styles.HEAD)
        names = [name for name in state.direction_names.split("\n") if name]
        directions(layout, state, names)
        layout.operator("dressform.reset_directions", icon="LOOP_BACK")


def _draw_source(layout: Any, source: Any, index: int, *, removable: bool) -> None:
    row = layout.row(align=True)
    row.label(text="", icon=_KIND_ICONS[source.kind])
    if source.kind == "SEED":
        row.prop(source, "seed", text="")
    else:
        row.label(text=source.name)
    row.prop(source, "weight", text="")
    if removable:
        row.operator("dressform.remove_head", text="", icon="X").index = index


class DRESSFORM_PT_portrait_styles(Sidebar):
    """A style for each group of regions, or for each region."""

    bl_idname = "DRESSFORM_PT_portrait_styles"
    bl_parent_id = "DRESSFORM_PT_portrait"
    bl_label = "Styles"

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        ob: Any = context.object
        state = ob.dressform_portrait
        row = layout.row(align=True)
        row.operator("dressform.randomise_styles", icon="FILE_REFRESH").group = ""
        row.operator("dressform.copy_styles", text="Copy…", icon="COPYDOWN")
        _draw_choices(layout, ob, "")
        for name, labels in LABEL_GROUPS.items():
            group = state.groups.get(name)
            if group is None:
                continue
            box = layout.box()
            lead = state.regions[int(labels[0])]
            _draw_group_head(box, group, lead)
            if not group.expanded:
                continue
            if len(labels) > 1:
                box.prop(group, "linked", text="One Style for All", toggle=True)
            for label in labels[:1] if group.linked else labels:
                title = "" if group.linked else LABEL_NAMES[label].replace("-", " ").capitalize()
                _draw_region(box, state.regions[int(label)], title)
            _draw_group_tools(box, name)


def _draw_group_head(box: Any, group: Any, lead: Any) -> None:
    row = box.row(align=True)
    row.prop(
        group,
        "expanded",
        text="",
        icon="DISCLOSURE_TRI_DOWN" if group.expanded else "DISCLOSURE_TRI_RIGHT",
        emboss=False,
    )
    row.label(text=group.name, icon=_GROUP_ICONS.get(group.name, "DOT"))
    row.prop(lead, "lock", text="", icon="LOCKED" if lead.lock else "UNLOCKED")
    row.operator("dressform.randomise_styles", text="", icon="FILE_REFRESH").group = group.name


def _draw_region(box: Any, region: Any, title: str) -> None:
    column = box.column(align=True)
    if title:
        row = column.row(align=True)
        row.label(text=title)
        row.prop(region, "lock", text="", icon="LOCKED" if region.lock else "UNLOCKED")
    _draw_style(column, region.first)
    column.prop(region, "mix", text="Mix", slider=True)
    if region.mix > 0.0 or region.second.kind != "OWN":
        _draw_style(column, region.second)
    column.prop(region, "truncation", slider=True)


def _draw_style(column: Any, style: Any) -> None:
    row = column.row(align=True)
    row.prop(style, "kind", text="")
    if style.kind == "SEED":
        row.prop(style, "seed", text="")
    elif style.kind == "STORED" and STORED not in style:
        row.label(text="nothing stored", icon="ERROR")


def _draw_group_tools(box: Any, name: str) -> None:
    row = box.row(align=True)
    row.operator("dressform.more_like_this", text="More", icon="IMGDISPLAY").what = name
    row.operator("dressform.swap_styles", text="Swap", icon="ARROW_LEFTRIGHT").group = name
    row.operator("dressform.reset_styles", text="Own", icon="LOOP_BACK").group = name


def _draw_choices(layout: Any, ob: bpy.types.Object, what: str) -> None:
    """Draw the button that asks for variations, and those that came."""
    head = what == portrait_styles.HEAD
    if watching.is_running(portrait_styles.more_key(ob.session_uid)):
        layout.label(text="Drawing variations…", icon="SORTTIME")
    else:
        layout.operator("dressform.more_like_this", icon="IMGDISPLAY").what = what
    found = portrait_styles.choices_for(ob, head)
    if found is None:
        return
    for index, cell in enumerate(choices.draw_grid(layout, found, found.what or "All regions")):
        cell.operator("dressform.take_choice").index = index


class DRESSFORM_PT_portrait_labels(Sidebar):
    """The label map, painted by hand."""

    bl_idname = "DRESSFORM_PT_portrait_labels"
    bl_parent_id = "DRESSFORM_PT_portrait"
    bl_label = "Paint Labels"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        ob: Any = context.object
        state = ob.dressform_portrait
        row = layout.row(align=True)
        camera = row.row(align=True)
        camera.enabled = context.scene.camera is not None
        camera.operator(
            "dressform.paint_labels", text="From Camera", icon="CAMERA_DATA"
        ).view = "CAMERA"
        row.operator("dressform.paint_labels", text="From View", icon="VIEW3D").view = "VIEWPORT"
        if state.painted is None:
            paragraph(layout, "Draws the regions of this view as an image that you paint on")
            return
        layout.template_ID(state, "painted")
        layout.prop(state, "use_painted")
        note = _paint_note(context, ob) if state.use_painted else ""
        if note:
            paragraph(layout.box(), note)
        layout.operator("dressform.clear_painted", icon="X")


def _paint_note(context: bpy.types.Context, ob: bpy.types.Object) -> str:
    """Return what an artist should know of the painted labels in the camera's view."""
    if context.scene.camera is None:
        return ""
    try:
        depsgraph = context.evaluated_depsgraph_get()
        return portraits.read_portrait(ob.evaluated_get(depsgraph)).note(scene_camera(depsgraph))
    except DressformError:
        return ""


CLASSES = (
    DRESSFORM_PT_portraits,
    DRESSFORM_PT_portrait,
    DRESSFORM_PT_portrait_head,
    DRESSFORM_PT_portrait_styles,
    DRESSFORM_PT_portrait_labels,
)
