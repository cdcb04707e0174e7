"""What an object remembers of its portrait: `object.dressform_portrait`.

Everything that a look depends on is a property, so that it can be keyed on the timeline and lies
in the file. Codes and styles that came from samples or photographs are number arrays beside the
properties (`STORED`): a file needs nobody else's object or seed to show the same face.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from typing import Any

import bpy

from ..contract.labels import LABEL_COUNT, LABEL_GROUPS, LABEL_NAMES
from . import look_fields

STORED = "stored"
"""Property of a head source: its code (C,); of a style: its row (W,)."""

PAINTED_CAMERA = "painted_camera"
"""Property of the portrait group: K, R and t (21 numbers) of the painted label map's camera."""


class DressformHeadSource(bpy.types.PropertyGroup):
    """One head that the portrait's head is blended from."""

    kind: bpy.props.EnumProperty(
        name="Source",
        description="Where this head comes from",
        items=[
            ("OWN", "Own", "The head of the portrait's package"),
            ("SEED", "Seed", "Drawn by chance; equal seeds give equal heads"),
            ("HEAD", "Basis Head", "A head that the network learned from"),
            ("STORED", "Stored", "Kept with this object"),
        ],
        default="OWN",
        update=look_fields.touch,
    )
    seed: look_fields.seed()
    head: bpy.props.StringProperty(
        name="Head",
        description="Id of a head of the basis",
        update=look_fields.touch,
    )
    weight: look_fields.share(
        "Weight", "How much of this head is in the portrait; only the weights' ratios count", 1.0
    )


class DressformStyle(bpy.types.PropertyGroup):
    """One style of a region."""

    kind: bpy.props.EnumProperty(
        name="Style",
        description="Where this style comes from",
        items=[
            ("OWN", "Own", "The style of the portrait's package"),
            ("SEED", "Seed", "Drawn by chance; equal seeds give equal styles"),
            ("STORED", "Stored", "Kept with this object"),
        ],
        default="OWN",
        update=look_fields.touch,
    )
    seed: look_fields.seed()


class DressformRegion(bpy.types.PropertyGroup):
    """How one of the 17 regions is styled; stands at its label's number."""

    first: bpy.props.PointerProperty(type=DressformStyle, name="Style")
    second: bpy.props.PointerProperty(type=DressformStyle, name="Second Style")
    mix: look_fields.share("Mix", "0 shows the style, 1 the second style", 0.0)
    truncation: look_fields.truncation(
        "Strength", "1 leaves the style as it is, 0 is the mean of all styles of this region", 1.0
    )
    lock: bpy.props.BoolProperty(name="Lock", description="Randomise leaves this region as it is")


def _on_link(group: DressformStyleGroup, _context: bpy.types.Context) -> None:
    """Let regions that go their own way from now on begin with what they showed."""
    group.id_data.update_tag()
    if group.linked or group.name not in LABEL_GROUPS:
        return
    regions = group.id_data.dressform_portrait.regions
    lead, *others = (regions[int(label)] for label in LABEL_GROUPS[group.name])
    for region in others:
        copy_region(lead, region)


class DressformStyleGroup(bpy.types.PropertyGroup):
    """One of the groups of `labels.LABEL_GROUPS`; its first region leads the linked ones."""

    linked: bpy.props.BoolProperty(
        name="Linked",
        description="One style for the whole group, or one for each region",
        default=True,
        update=_on_link,
    )
    expanded: bpy.props.BoolProperty(
        name="Expanded", description="Show all settings of this group", options=set()
    )


class DressformPortrait(bpy.types.PropertyGroup):
    """Whose head and styles an object shows: `object.dressform_portrait`."""

    portrait: bpy.props.StringProperty(
        name="Portrait",
        description="Id of the portrait's package",
        default="",
        update=look_fields.touch,
    )
    sources: bpy.props.CollectionProperty(type=DressformHeadSource)
    active_source: bpy.props.IntProperty(options=set())
    directions: look_fields.directions(
        "How far the head is moved along what heads differ in most, in standard deviations"
    )
    direction_names: bpy.props.StringProperty(
        name="Direction Names", description="One a line", options=set()
    )
    regions: bpy.props.CollectionProperty(type=DressformRegion)
    groups: bpy.props.CollectionProperty(type=DressformStyleGroup)
    backdrop: bpy.props.BoolProperty(
        name="Backdrop",
        description="Show the painted background behind the head, too",
        update=look_fields.touch,
    )
    painted: bpy.props.PointerProperty(
        name="Labels",
        description="The label map painted by hand",
        type=bpy.types.Image,
        update=look_fields.touch,
    )
    use_painted: bpy.props.BoolProperty(
        name="Use Painted Labels",
        description="Render the painted label map in views from where it was painted",
        update=look_fields.touch,
    )
    baked: bpy.props.StringProperty(
        name="Baked", description="Digest of the head that the stand-in shows", options=set()
    )


def set_up(state: DressformPortrait, portrait: str) -> None:
    """Fill the settings of a new portrait: its package's own head and styles."""
    state.portrait = portrait
    state.sources.clear()
    own = state.sources.add()
    own.name, own.kind = "Own", "OWN"
    state.regions.clear()
    for label in range(LABEL_COUNT):
        state.regions.add().name = LABEL_NAMES[label]
    state.groups.clear()
    for name in LABEL_GROUPS:
        state.groups.add().name = name


def copy_region(source: DressformRegion, target: DressformRegion) -> None:
    """Copy the settings of a region but for its lock; rows only where the target has some."""
    for part in ("first", "second"):
        given, taken = getattr(source, part), getattr(target, part)
        if given.kind != "STORED" or STORED in taken:
            taken.kind, taken.seed = given.kind, given.seed
    target.mix, target.truncation = source.mix, source.truncation


def stored(item: Any) -> list[float] | None:
    """Return the numbers that are stored with a source or style, None without."""
    values = item.get(STORED)
    return None if values is None else list(values)


CLASSES = (
    DressformHeadSource,
    DressformStyle,
    DressformRegion,
    DressformStyleGroup,
    DressformPortrait,
)


def register() -> None:
    """Register the groups and attach them to objects."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Object.dressform_portrait = bpy.props.PointerProperty(type=DressformPortrait)


def unregister() -> None:
    """Undo `register`."""
    del bpy.types.Object.dressform_portrait
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
