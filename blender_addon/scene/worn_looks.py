"""The look that a rig wears: read for requests, set by operators and scripts, keyed."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..contract.avatar_look import OWN, PARTS, LookSource
from ..contract.errors import BadParameter
from .avatar_looks import MAX_PEOPLE, look_of, people_of
from .keying import key_path
from .looks import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import bpy

    from ..contract.avatar_look import AvatarLook

LOOK_GROUP = "dressform_look"
"""Property of the rig that holds the look."""


def read_look(rig: bpy.types.Object) -> AvatarLook | None:
    """Return whom a rig's person looks like; None for the avatar's own look."""
    # A capture registers what it needs of the extension, and looks are not of that.
    state = getattr(rig, LOOK_GROUP, None)
    if state is None:
        return None
    return look_of(
        [(_source(person), float(person.amount)) for person in state.people],
        {
            part: (_source(getattr(state, part)), float(getattr(state, part).amount))
            for part in PARTS
            if getattr(state, part).kind != "NONE"
        },
        list(state.directions),
        float(state.truncation),
        state.wardrobe,
    )


def wear(rig: bpy.types.Object, look: AvatarLook | None) -> None:
    """Set a rig's look; None for the avatar's own.

    Raises:
        BadParameter: it is made of more people, or of further directions, than a rig has room for.
    """
    state = rig.dressform_look
    people = [] if look is None else people_of(look)
    directions = {} if look is None else dict(look.directions)
    if len(people) > MAX_PEOPLE or any(index >= DIRECTIONS for index in directions):
        raise BadParameter(
            f"this look is made of more than {MAX_PEOPLE} people",
            "save the person as an avatar, and go on from there",
        )
    state.people.clear()
    for source, amount in people:
        add_source(rig, source, amount)
    for part in PARTS:
        source, amount = (None, 1.0) if look is None else look.parts.get(part, (None, 1.0))
        set_part(rig, part, source, amount)
    state.directions = tuple(directions.get(index, 0.0) for index in range(DIRECTIONS))
    if look is None:
        state.wardrobe = ""
    else:
        state.truncation = look.truncation
        state.wardrobe = look.wardrobe or state.wardrobe


def add_source(rig: bpy.types.Object, source: LookSource, amount: float = 0.5) -> Any:
    """Let a person go towards somebody; return the settings.

    Raises:
        BadParameter: they go towards too many people already.
    """
    people = rig.dressform_look.people
    if len(people) >= MAX_PEOPLE:
        raise BadParameter(
            f"a person goes towards at most {MAX_PEOPLE} others", "remove one of them first"
        )
    person = people.add()
    _set_source(person, source)
    person.amount = amount
    return person


def remove_source(rig: bpy.types.Object, index: int) -> None:
    """Take somebody out of the mix.

    Raises:
        BadParameter: there is none of that index.
    """
    people = rig.dressform_look.people
    if not 0 <= index < len(people):
        raise BadParameter(f"{rig.name} does not go towards so many people")
    people.remove(index)
    rig.update_tag()


def set_part(
    rig: bpy.types.Object, part: str, source: LookSource | None, amount: float = 1.0
) -> Any:
    """Replace a part by somebody's; None leaves it as the rest. Returns the settings."""
    settings = getattr(rig.dressform_look, part)
    settings.kind = "NONE"
    if source is not None:
        _set_source(settings, source)
    settings.amount = amount
    return settings


def key_worn_look(rig: bpy.types.Object, frame: float) -> int:
    """Key all that the look depends on; return how many properties were keyed.

    Seeds hold until their next key: a seed between two others is another person.
    """
    paths = list(_paths(rig))
    for path in paths:
        key_worn(rig, path, frame)
    return len(paths)


def key_worn(rig: bpy.types.Object, path: str, frame: float) -> None:
    """Key one property of the look ("people[0].amount", "head.amount") at a frame."""
    key_path(rig, f"{LOOK_GROUP}.{path}", frame)


def _paths(rig: bpy.types.Object) -> Iterator[str]:
    state = rig.dressform_look
    groups = [f"people[{index}]" for index in range(len(state.people))]
    groups += [part for part in PARTS if getattr(state, part).kind != "NONE"]
    for group in groups:
        yield f"{group}.amount"
        if state.path_resolve(group).kind == "SEED":
            yield f"{group}.seed"
    yield "directions"
    yield "truncation"


def _source(settings: Any) -> LookSource:
    if settings.kind == "SEED":
        return LookSource(seed=int(settings.seed))
    if settings.kind == "AVATAR":
        return LookSource(avatar=settings.avatar)
    return OWN


def _set_source(settings: Any, source: LookSource) -> None:
    if source.seed is not None:
        settings.kind, settings.seed = "SEED", source.seed
    elif source.avatar:
        settings.kind, settings.avatar = "AVATAR", source.avatar
    else:
        settings.kind = "OWN"
