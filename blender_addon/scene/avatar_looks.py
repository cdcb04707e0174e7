"""From what an artist set on a person to the look that requests carry, and back. No bpy.

A person goes towards others one after the other, each by an amount of 0…1: so each amount alone
can be animated, and nothing has to add up to 1. What is neutral is left out: a person whose look
was not touched sends what they always sent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..contract.avatar_look import DEFAULT_TRUNCATION, OWN, AvatarLook, blended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..contract.avatar_look import LookSource

MAX_PEOPLE = 12
"""Most people that somebody goes towards; looks may name 16 sources."""

_LEAST = 1e-4
"""Amounts below it change nothing that 8 bits show."""

Towards = tuple["LookSource", float]
"""Somebody to go towards, and how far: 0…1."""


def look_of(
    people: Sequence[Towards],
    parts: Mapping[str, Towards],
    directions: Sequence[float],
    truncation: float = DEFAULT_TRUNCATION,
    wardrobe: str = "",
) -> AvatarLook | None:
    """Return the look that a person's settings mean; None for the avatar's own.

    Args:
        people: whom the look goes towards, one after the other.
        parts: by `avatar_look.PARTS`: whose part replaces this one.
        directions: amounts, in standard deviations.
        truncation: of seeds.
        wardrobe: id of the package that draws seeds and knows directions.
    """
    look = AvatarLook(wardrobe=wardrobe)
    for source, amount in people:
        if amount >= _LEAST:
            look = blended(look, source, _amount(amount))
    look = replace(
        look,
        directions=tuple((index, _plain(far)) for index, far in enumerate(directions) if far),
        parts={
            part: (source, _amount(amount))
            for part, (source, amount) in parts.items()
            if amount >= _LEAST
        },
    )
    if look == AvatarLook(wardrobe=wardrobe):
        return None
    drawn = any(source.seed is not None for source in look.named())
    return replace(look, truncation=_plain(truncation)) if drawn else look


def _amount(value: float) -> float:
    return min(_plain(value), 1.0)


def _plain(value: float) -> float:
    """Return what was meant: Blender keeps 0.7 in 32 bits, and equal looks should be equal."""
    return round(value, 6)


def people_of(look: AvatarLook) -> list[Towards]:
    """Return whom a look goes towards, in the form that `look_of` takes."""
    weights: dict[LookSource, float] = {OWN: 0.0}
    for source, weight in look.sources:
        weights[source] = weights.get(source, 0.0) + weight
    total = weights.pop(OWN)
    found: list[Towards] = []
    for source, weight in weights.items():
        total += weight
        found.append((source, min(max(weight / total, 0.0), 1.0) if total > 0.0 else 1.0))
    return found
