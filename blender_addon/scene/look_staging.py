"""Looks of people from options' words, set and keyed over a shot by a script."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract.avatar_look import OWN, PARTS, LookSource
from ..contract.errors import BadParameter
from ..contract.fields import is_model_id
from .portrait_staging import seed_of
from .worn_looks import add_source, key_worn, set_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import bpy

_AMOUNTS = re.compile(r"(?P<who>.+?):(?P<first>[0-9.]+)(-(?P<last>[0-9.]+))?")


@dataclass(frozen=True)
class Towards:
    """Somebody whom a person goes towards in a shot.

    Attributes:
        source: who.
        amounts: 0…1, where the change begins and where it ends.
    """

    source: LookSource
    amounts: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class LookChange:
    """How a person looks in a shot.

    Attributes:
        seed: of the person whom the wardrobe draws to begin with; None for the avatar's own.
        blend: whom the person goes towards, as `parse_towards` reads it.
        redress: whose parts they wear, as `parse_parts` reads it.
        directions: amounts along the principal directions.
        second_directions: that they change to; none for no change.
        truncation: of seeds; None for the usual one.
        wardrobe: id; "" for the one that fits the avatar.
        frames: first and last frame of all changes.
    """

    seed: int | None
    blend: str
    redress: str
    directions: tuple[float, ...]
    second_directions: tuple[float, ...]
    truncation: float | None
    wardrobe: str
    frames: tuple[int, int]


def parse_towards(text: str) -> Towards:
    """Read "ben", "ben:0.3", "seed:7:0-1" or "own:0.5"; without an amount it is 1.

    Raises:
        BadParameter: it names nobody, or an amount is outside 0…1.
    """
    found = _AMOUNTS.fullmatch(text)
    if found is None or found["who"] == "seed":
        return Towards(_who(text, text), (1.0, 1.0))
    first = _amount(found["first"], text)
    last = _amount(found["last"], text) if found["last"] is not None else first
    return Towards(_who(found["who"], text), (first, last))


def parse_parts(text: str) -> dict[str, Towards]:
    """Read "head=ben,feet=seed:7:0-1".

    Raises:
        BadParameter: there is no such part, or nobody is named.
    """
    found: dict[str, Towards] = {}
    for words in filter(None, (words.strip() for words in text.split(","))):
        part, _, who = words.partition("=")
        if part not in PARTS:
            raise BadParameter(f"{part!r} is no part", f"choose of {', '.join(PARTS)}")
        found[part] = parse_towards(who)
    return found


def stage_look(rig: bpy.types.Object, change: LookChange) -> None:
    """Set a person's look, and key what changes.

    Raises:
        BadParameter: an option cannot be read.
    """
    state = rig.dressform_look
    if change.wardrobe:
        state.wardrobe = change.wardrobe
    if change.truncation is not None:
        state.truncation = change.truncation
    if change.seed is not None:
        add_source(rig, LookSource(seed=change.seed), 1.0)
    for words in filter(None, (words.strip() for words in change.blend.split(","))):
        other = parse_towards(words)
        person = add_source(rig, other.source)
        path = f"people[{len(state.people) - 1}].amount"
        _key_change(rig, person, "amount", path, other.amounts, change.frames)
    for part, other in parse_parts(change.redress).items():
        worn = set_part(rig, part, other.source)
        _key_change(rig, worn, "amount", f"{part}.amount", other.amounts, change.frames)
    first = _all_directions(change.directions, len(state.directions))
    last = _all_directions(change.second_directions or change.directions, len(state.directions))
    _key_change(rig, state, "directions", "directions", (first, last), change.frames)


def _key_change(
    rig: bpy.types.Object,
    settings: Any,
    name: str,
    path: str,
    values: tuple[Any, Any],
    frames: tuple[int, int],
) -> None:
    if values[0] == values[1]:
        setattr(settings, name, values[0])
        return
    for value, frame in zip(values, frames, strict=True):
        setattr(settings, name, value)
        key_worn(rig, path, frame)


def _all_directions(amounts: Sequence[float], count: int) -> tuple[float, ...]:
    return (*amounts, *(0.0,) * (count - len(amounts)))


def _who(text: str, whole: str) -> LookSource:
    kind, _, value = text.partition(":")
    if text == "own":
        return OWN
    if kind == "seed":
        return LookSource(seed=seed_of(value, whole))
    if not is_model_id(text):
        raise BadParameter(f"{whole!r} names nobody", "write an avatar's id, seed:7 or own")
    return LookSource(avatar=text)


def _amount(text: str, whole: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0.0 <= amount <= 1.0:
        raise BadParameter(f"{whole!r} has no amount within 0…1", "write ben:0.3 or ben:0-1")
    return amount
