"""What a rig remembers of whom its person looks like: `object.dressform_look`.

Sources are names (of an avatar, or a seed), not arrays: a file shows the same person on any server
that has the same packages. Amounts, seeds, directions and truncation can be keyed.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from typing import Any

import bpy

from .. import library
from ..contract.avatar_look import DEFAULT_TRUNCATION, PARTS
from . import look_fields

_AVATAR = ("AVATAR", "Avatar", "An avatar of the library that shares body and dresser")
_SEED = ("SEED", "Seed", "A person whom the wardrobe draws; equal seeds give equal people")


def _on_change(group: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """Let a look that is touched name the wardrobe that fits its avatar: seeds need one."""
    rig: Any = group.id_data
    found = library.known.wardrobe_for(rig.dressform.avatar)
    if found is not None and not rig.dressform_look.wardrobe:
        rig.dressform_look.wardrobe = found.id
    look_fields.touch(group, context)


def _avatars_like(group: Any, _context: bpy.types.Context, text: str) -> list[str]:
    """Return the ids that the text field of an avatar offers."""
    found = library.known.like(group.id_data.dressform.avatar)
    return [avatar.id for avatar in found if text.lower() in avatar.id.lower()]


def _avatar() -> Any:
    return bpy.props.StringProperty(
        name="Avatar",
        description="Id of an avatar that shares body and dresser with this one",
        search=_avatars_like,  # pyright: ignore[reportArgumentType]
        update=_on_change,
    )


def _seed() -> Any:
    return look_fields.seed("Of a person whom the wardrobe draws", _on_change)


class DressformLookSource(bpy.types.PropertyGroup):
    """Somebody whom a person goes towards."""

    kind: bpy.props.EnumProperty(
        name="Who", items=[_AVATAR, _SEED], default="SEED", update=_on_change
    )
    avatar: _avatar()
    seed: _seed()
    amount: look_fields.share(
        "Amount", "0 leaves the person as they are, 1 is the other one", 0.5, _on_change
    )


class DressformLookPart(bpy.types.PropertyGroup):
    """Whose part of the body replaces the person's."""

    kind: bpy.props.EnumProperty(
        name="From",
        items=[
            ("NONE", "As the Rest", "Like the rest of the person"),
            ("OWN", "Own", "As the avatar itself has it, whomever the rest goes towards"),
            _AVATAR,
            _SEED,
        ],
        default="NONE",
        update=_on_change,
    )
    avatar: _avatar()
    seed: _seed()
    amount: look_fields.share(
        "Amount", "0 leaves this part as it is, 1 replaces it", 1.0, _on_change
    )


class DressformLook(bpy.types.PropertyGroup):
    """Whom a person looks like: `object.dressform_look`."""

    wardrobe: bpy.props.StringProperty(
        name="Wardrobe",
        description="Id of the package that draws seeds and knows directions; empty: the avatar's",
        update=look_fields.touch,
    )
    people: bpy.props.CollectionProperty(type=DressformLookSource)
    directions: look_fields.directions(
        "How far the person is moved along what people differ in most, in standard deviations",
        _on_change,
    )
    truncation: look_fields.truncation(
        "Variety",
        "1 leaves people as they were drawn, 0 makes all of them the mean person",
        DEFAULT_TRUNCATION,
        _on_change,
    )


for _part in PARTS:
    DressformLook.__annotations__[_part] = bpy.props.PointerProperty(
        type=DressformLookPart, name=_part.capitalize()
    )


CLASSES = (DressformLookSource, DressformLookPart, DressformLook)


def register() -> None:
    """Register the groups and attach them to objects."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Object.dressform_look = bpy.props.PointerProperty(type=DressformLook)


def unregister() -> None:
    """Undo `register`."""
    del bpy.types.Object.dressform_look
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
